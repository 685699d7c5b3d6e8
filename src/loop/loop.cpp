#include "loop/loop.h"

#include "base/hash.h"

namespace phlox {

static constexpr ScalarInfo scalar_infos[] = {
#define SCALAR_OP(name, operands, result) {#name, operands, ScalarResult::result},
#include "loop/scalar_ops.def"
#undef SCALAR_OP
};
const ScalarInfo& scalar_info(Scalar op) { return scalar_infos[int(op)]; }

const char* combine_name(Combine c) {
  static const char* const names[] = {"add", "mul", "min", "max", "and", "or"};
  return names[int(c)];
}
const char* order_name(Order o) {
  static const char* const names[] = {"tree32", "tree1", "chain"};
  return names[int(o)];
}
const char* conflict_name(Conflict c) {
  static const char* const names[] = {"unique", "last", "ordered_add", "ordered_mul", "ordered_min", "ordered_max"};
  return names[int(c)];
}

// At least 8192 points (64 for one lane) before a second block pays for itself; a multiple of the lanes so that lane
// numbers do not shift between blocks.
int64_t tree_block(int64_t n, int lanes) {
  const int64_t least = lanes == 1 ? 64 : 8192;
  const int64_t share = (n + 63) / 64;
  const int64_t block = (share + lanes - 1) / lanes * lanes;
  return block < least ? least : block;
}

Dim tree_block(Dim n, int lanes) {
  if (n.is_const()) return tree_block(n.value(), lanes);
  const Dim share = ceildiv(n, 64);
  return max(ceildiv(share, lanes) * lanes, lanes == 1 ? 64 : 8192);
}

AxisMask depends_of(const Loop& loop, const Inst& i) {
  AxisMask m = i.op == Scalar::axis ? AxisMask(1) << i.imm : 0;
  for (int k = 0; k < i.operand_count; ++k) m |= loop.depends[i.operand[k]];
  if (i.op == Scalar::reduce) m &= ~i.axes;
  if (i.op == Scalar::scan) m |= i.axes;  // a running sum of a constant varies
  return m;
}

uint64_t hash_of(const Loop& loop) {
  uint64_t h = loop.axes.size();
  for (const Axis& a : loop.axes) h = combine(h, uint64_t(a.extent.raw()));
  for (const Param& p : loop.params) h = combine(h, uint64_t(p.kind) << 8 | uint64_t(p.dtype));
  for (const Inst& i : loop.insts) {
    h = combine(h, uint64_t(i.op) | uint64_t(i.dtype) << 8 | uint64_t(i.combine) << 16 | uint64_t(i.order) << 24);
    for (ValueId v : i.operand) h = combine(h, v);
    h = combine(combine(h, uint64_t(i.imm)), i.axes);
  }
  for (const Store& s : loop.stores) {
    h = combine(h, s.param);
    h = combine(h, uint64_t(s.address) << 32 | s.value);
    h = combine(combine(h, s.predicate), s.domain);
    h = combine(h, uint64_t(s.conflict));
  }
  return h;
}

}  // namespace phlox
