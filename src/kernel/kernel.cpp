#include "kernel/kernel.h"

#include <limits>

#include "base/error.h"

namespace phlox {

static constexpr KOpInfo op_infos[] = {
#define KERNEL_OP(name, least, most, result) {#name, least, most, std::string_view(#result) == "value"},
    PHLOX_KERNEL_OPS(KERNEL_OP)
#undef KERNEL_OP
};
const KOpInfo& kernel_op_info(KOp op) { return op_infos[int(op)]; }

static constexpr struct { const char* name; int operands; } tile_infos[] = {
    {"multiply", 13}, {"pack_rows", 6}, {"pack_columns", 6}, {"pack_any", 7}, {"pack_windows", 9}, {"copy_rows", 6}, {"row_dot", 8}, {"row_sweep", 11}, {"skinny", 8}};
const char* tile_name(KTile::Kind k) { return tile_infos[int(k)].name; }
int tile_operands(KTile::Kind k) { return tile_infos[int(k)].operands; }

void append(std::string& s, KType t) {
  append(s, t.dtype);
  if (t.lanes != 1) {
    s += 'x';
    append_int(s, t.lanes);
  }
}

// Liveness runs backwards from the effects; a variable's writes count only if some live get reads it, so the pass
// repeats until nothing new comes alive.
namespace {
struct Liveness {
  Kernel& k;
  std::vector<char> live;
  bool changed = false;

  void use(KValue v) {
    if (v == no_kvalue || live[v]) return;
    live[v] = 1;
    changed = true;
    for (KValue o : k.insts[v].operand) use(o);
    if (k.insts[v].op == KOp::tile)
      for (KValue o : k.tiles[size_t(k.insts[v].imm)].operands) use(o);
  }
  bool needed(const KInst& i) const {
    if (i.op == KOp::set || i.op == KOp::local_store) return live[i.operand[0]];
    return has_effect(i.op);
  }
  // True when something in the block is alive.
  bool walk(BlockId b) {
    bool any = false;
    for (size_t n = k.blocks[b].insts.size(); n-- > 0;) {
      const KValue v = k.blocks[b].insts[n];
      const KInst& i = k.insts[v];
      bool keep = needed(i);
      if (i.body != no_block) keep |= walk(i.body);
      if (i.other != no_block) keep |= walk(i.other);
      if (keep) use(v);
      any |= bool(live[v]);
    }
    return any;
  }
};
}  // namespace

void remove_dead(Kernel& k) {
  Liveness l{k, std::vector<char>(k.insts.size())};
  // A variable is alive only through a get, an array through a load: their writes alone do not keep them.
  do {
    l.changed = false;
    l.walk(0);
  } while (l.changed);
  for (KBlock& b : k.blocks) std::erase_if(b.insts, [&](KValue v) { return !l.live[v]; });
}

int64_t combine_identity(Combine c, DType d) {
  const double inf = std::numeric_limits<double>::infinity();
  const auto extreme = [&](bool high) -> int64_t {
    if (is_float(d)) return constant_bits(d, high ? inf : -inf);
    if (is_bool(d)) return high;
    const int bits = int(dtype_bytes(d)) * 8;
    if (is_unsigned(d)) return high ? (bits == 64 ? -1 : (int64_t(1) << bits) - 1) : 0;
    const int64_t top = bits == 64 ? INT64_MAX : (int64_t(1) << (bits - 1)) - 1;
    return high ? top : -top - 1;
  };
  switch (c) {
    case Combine::add: return constant_bits_int(d, 0);
    case Combine::mul: return constant_bits_int(d, 1);
    case Combine::min: return extreme(true);
    case Combine::max: return extreme(false);
    case Combine::band: return constant_bits_int(d, is_bool(d) ? 1 : -1);
    case Combine::bor: return 0;
  }
  return 0;
}

}  // namespace phlox
