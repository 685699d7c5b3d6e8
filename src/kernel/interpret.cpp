#include "kernel/interpret.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "base/small_float.h"
#include "loop/block_ops.h"
#include "loop/math_tables.h"

namespace phlox {

namespace {

// How a value is held: 16-bit floats as f32, bool as a byte.
Rep rep_of(DType d) {
  switch (d) {
    case DType::boolean: case DType::u8: return Rep::u8;
    case DType::i8: return Rep::i8;
    case DType::i16: return Rep::i16;
    case DType::u16: return Rep::u16;
    case DType::i32: return Rep::i32;
    case DType::u32: return Rep::u32;
    case DType::i64: return Rep::i64;
    case DType::u64: return Rep::u64;
    case DType::f64: return Rep::f64;
    default: return Rep::f32;
  }
}

class Machine {
 public:
  Machine(const Kernel& k, const uint64_t* words, int64_t begin, int64_t end)
      : k_(k), ops_(block_ops()), words_(words), begin_(begin), end_(end), at_(k.insts.size()) {
    size_t bytes = 0;
    for (size_t v = 0; v < k.insts.size(); ++v) {
      const KInst& i = k.insts[v];
      at_[v] = bytes;
      const int64_t n = i.op == KOp::local ? i.imm : i.type.lanes;
      bytes += (size_t(n * rep_bytes(rep_of(i.type.dtype))) + 63) / 64 * 64;
    }
    memory_ = std::make_unique<std::byte[]>(bytes + 64);
    base_ = memory_.get() + (-reinterpret_cast<uintptr_t>(memory_.get()) & 63);
    for (KValue v : k.blocks[0].insts)
      if (k.insts[v].op == KOp::constant) constant(v);
  }
  void run() { block(0); }

 private:
  std::byte* at(KValue v) const { return base_ + at_[v]; }
  const std::byte* operand(const KInst& i, int n) const { return at(i.operand[n]); }
  int64_t scalar(const KInst& i, int n) const { return *reinterpret_cast<const int64_t*>(operand(i, n)); }
  bool truth(const KInst& i, int n) const { return operand(i, n)[0] != std::byte(0); }
  size_t bytes_of(const KInst& i) const { return size_t(i.type.lanes) * size_t(rep_bytes(rep_of(i.type.dtype))); }
  const KInst& inst_of(const KInst& i, int n) const { return k_.insts[i.operand[n]]; }

  [[noreturn]] static void refuse(const KInst& i) {
    fail(ErrorCode::not_implemented, {.op = "interpret_kernel", .fact = cat("no meaning for ", kernel_op_info(i.op).name,
                                                                           i.op == KOp::scalar ? cat(".", scalar_info(i.scalar).name) : std::string())});
  }

  void put(KValue v, int64_t bits) {  // on every lane
    const KInst& i = k_.insts[v];
    if (is_reduced_float(i.type.dtype)) {
      const float f = float(constant_value({.op = Scalar::constant, .dtype = i.type.dtype, .imm = bits}));
      bits = std::bit_cast<int32_t>(f);
    }
    ops_.fill(rep_bytes(rep_of(i.type.dtype)))(at(v), &bits, nullptr, nullptr, i.type.lanes);
  }
  void constant(KValue v) { put(v, k_.insts[v].imm); }

  void block(BlockId b) {
    for (KValue v : k_.blocks[b].insts) inst(v);
  }

  void inst(KValue v) {
    const KInst& i = k_.insts[v];
    const int n = i.type.lanes;
    switch (i.op) {
      case KOp::constant: return constant(v);
      case KOp::word: return put(v, constant_word(i));
      case KOp::item_begin: return put(v, begin_);
      case KOp::item_end: return put(v, end_);
      case KOp::scalar: return scalar_op(v);
      case KOp::splat:
        ops_.fill(rep_bytes(rep_of(i.type.dtype)))(at(v), operand(i, 0), nullptr, nullptr, n);
        return;
      case KOp::iota:
        for (int l = 0; l < n; ++l) {
          if (dtype_bytes(i.type.dtype) == 8) reinterpret_cast<int64_t*>(at(v))[l] = l;
          else reinterpret_cast<int32_t*>(at(v))[l] = l;
        }
        return;
      case KOp::extract:
        std::memcpy(at(v), operand(i, 0) + i.imm * int64_t(bytes_of(i)), bytes_of(i));
        return;
      case KOp::interleave: case KOp::every_other: {
        const size_t size = bytes_of(i) / size_t(n);
        for (int l = 0; l < n; ++l)
          std::memcpy(at(v) + size_t(l) * size,
                      i.op == KOp::interleave ? operand(i, l % 2) + size_t(l / 2) * size : operand(i, 0) + size_t(2 * l + i.imm) * size, size);
        return;
      }
      case KOp::lane_fold: return fold(v);
      case KOp::scale_exponent:
        if (i.type.dtype == DType::f64) scale_exponent<double>(i, v);
        else scale_exponent<float>(i, v);
        return;
      case KOp::lookup:
        for (int l = 0; l < n; ++l)
          reinterpret_cast<float*>(at(v))[l] = math::tables[i.imm][reinterpret_cast<const int32_t*>(operand(i, 0))[l] & (math::table_size - 1)];
        return;
      case KOp::any: {
        bool any = false;
        for (int l = 0; l < inst_of(i, 0).type.lanes; ++l) any |= operand(i, 0)[l] != std::byte(0);
        at(v)[0] = std::byte(any);
        return;
      }
      case KOp::var: case KOp::get: std::memcpy(at(v), operand(i, 0), bytes_of(i)); return;
      case KOp::set: std::memcpy(at(i.operand[0]), operand(i, 1), bytes_of(i)); return;
      case KOp::local: return;
      case KOp::local_load: std::memcpy(at(v), local(i), bytes_of(i)); return;
      case KOp::local_store: std::memcpy(local(i), operand(i, 2), bytes_of(i)); return;
      case KOp::for_range: {
        const int64_t to = scalar(i, 1), step = scalar(i, 2);
        for (int64_t p = scalar(i, 0); p < to; p += step) {
          put(v, p);
          block(i.body);
        }
        return;
      }
      case KOp::if_true:
        if (truth(i, 0)) block(i.body);
        else if (i.other != no_block) block(i.other);
        return;
      case KOp::report: {
        int64_t* status = reinterpret_cast<int64_t*>(words_[i.imm]);
        const int64_t index = scalar(i, 1);
        if (truth(i, 0) && status && !*status) *status = index < 0 ? index : index + 1;
        return;
      }
      case KOp::prefetch: return;
      case KOp::address:
        return put(v, int64_t(words_[k_.params[size_t(i.imm)].word]) + scalar(i, 0) * dtype_bytes(k_.params[size_t(i.imm)].dtype));
      case KOp::tile: {
        const KTile& t = k_.tiles[size_t(i.imm)];
        SmallVector<int64_t, 13> operands;
        for (KValue o : t.operands) operands.push_back(*reinterpret_cast<const int64_t*>(at(o)));
        return interpret_tile(t, operands);
      }
      default: break;
    }
    if (i.op >= KOp::load && i.op <= KOp::store_scatter) return access(v);
    refuse(i);
  }

  template <class F>
  void scale_exponent(const KInst& i, KValue v) {
    const F *a = reinterpret_cast<const F*>(operand(i, 0)), *n = reinterpret_cast<const F*>(operand(i, 1));
    for (int l = 0; l < i.type.lanes; ++l) reinterpret_cast<F*>(at(v))[l] = n[l] == n[l] ? std::ldexp(a[l], int(n[l])) : n[l];
  }

  int64_t constant_word(const KInst& i) const {
    const int64_t w = int64_t(words_[i.imm]);
    return is_float(i.type.dtype) ? (i.type.dtype == DType::f64 ? w : w & ((int64_t(1) << 8 * dtype_bytes(i.type.dtype)) - 1))
                                  : constant_bits_int(i.type.dtype, w);
  }
  std::byte* local(const KInst& i) const {
    return at(i.operand[0]) + scalar(i, 1) * rep_bytes(rep_of(i.type.dtype));
  }

  void scalar_op(KValue v) {
    const KInst& i = k_.insts[v];
    const KInst& x = inst_of(i, i.operand_count - 1);
    const Rep from = rep_of(x.type.dtype), to = rep_of(i.type.dtype);
    const int n = i.type.lanes;
    if (i.scalar == Scalar::cast) {
      if (is_bool(i.type.dtype)) ops_.to_bool(from)(at(v), operand(i, 0), nullptr, nullptr, n);
      else if (from == to) std::memcpy(at(v), operand(i, 0), bytes_of(i));
      else ops_.cast(from, to)(at(v), operand(i, 0), nullptr, nullptr, n);
      if (is_reduced_float(i.type.dtype)) ops_.round(i.type.dtype)(at(v), at(v), nullptr, nullptr, n);
      return;
    }
    if (i.scalar == Scalar::bitcast) return bitcast(v);
    if (i.scalar == Scalar::bnot && is_bool(i.type.dtype)) {
      for (int l = 0; l < n; ++l) at(v)[l] = operand(i, 0)[l] ^ std::byte(1);
      return;
    }
    const BlockFn f = ops_.op(scalar_on(i.type.dtype, i.scalar), from);
    if (!f) refuse(i);
    f(at(v), operand(i, 0), i.operand_count > 1 ? operand(i, 1) : nullptr, i.operand_count > 2 ? operand(i, 2) : nullptr, n);
  }

  void bitcast(KValue v) {
    const KInst& i = k_.insts[v];
    const DType from = inst_of(i, 0).type.dtype, to = i.type.dtype;
    const int n = i.type.lanes;
    if (is_reduced_float(from) == is_reduced_float(to) && from != to && is_reduced_float(from)) refuse(i);
    for (int l = 0; l < n; ++l) {
      if (is_reduced_float(to)) {
        const uint16_t h = reinterpret_cast<const uint16_t*>(operand(i, 0))[l];
        reinterpret_cast<float*>(at(v))[l] = to == DType::bf16 ? float_from_bf16(h) : float_from_f16(h);
      } else if (is_reduced_float(from)) {
        const float f = reinterpret_cast<const float*>(operand(i, 0))[l];
        reinterpret_cast<uint16_t*>(at(v))[l] = from == DType::bf16 ? bf16_from_float(f) : f16_from_float(f);
      }
    }
    if (!is_reduced_float(from) && !is_reduced_float(to)) std::memcpy(at(v), operand(i, 0), bytes_of(i));
  }

  void fold(KValue v) {
    const KInst& i = k_.insts[v];
    const Rep r = rep_of(i.type.dtype);
    const size_t size = size_t(rep_bytes(r));
    alignas(64) std::byte lanes[block_points * 8];
    int n = inst_of(i, 0).type.lanes;
    std::memcpy(lanes, operand(i, 0), size_t(n) * size);
    const BlockFn f = ops_.op(combining_op(combine_on(i.type.dtype, i.combine)), r);
    if (!f) refuse(i);
    for (n /= 2; n >= 1; n /= 2) f(lanes, lanes, lanes + size_t(n) * size, nullptr, n);
    std::memcpy(at(v), lanes, size);
  }

  void access(KValue v) {
    const KInst& i = k_.insts[v];
    const int lanes = i.type.lanes;
    const DType d = i.type.dtype;
    const bool stores = i.op >= KOp::store;
    BlockAccess a{.base = reinterpret_cast<void*>(words_[k_.params[size_t(i.imm)].word])};
    int64_t n = lanes;
    const bool vector_address = i.op == KOp::load_gather || i.op == KOp::store_scatter;
    if (vector_address) a.index = reinterpret_cast<const int64_t*>(operand(i, 0));
    else a.first = scalar(i, 0);
    const int last = i.operand_count - 1;
    switch (i.op) {
      case KOp::load_partial: case KOp::store_partial: n = std::clamp<int64_t>(scalar(i, last), 0, lanes); break;
      case KOp::load_strided: case KOp::store_strided: a.step = scalar(i, last); break;
      case KOp::load_masked: case KOp::store_masked: a.predicate = reinterpret_cast<const uint8_t*>(operand(i, last)); break;
      case KOp::load_gather: if (last == 1) a.predicate = reinterpret_cast<const uint8_t*>(operand(i, 1)); break;
      case KOp::store_scatter: if (last == 2) a.predicate = reinterpret_cast<const uint8_t*>(operand(i, 2)); break;
      default: break;
    }
    if (stores) return ops_.store(d, false, Conflict::unique)(a, operand(i, 1), n);
    if (n < lanes) std::memset(at(v), 0, bytes_of(i));
    ops_.load(d, false)(at(v), a, n);
  }

  const Kernel& k_;
  const BlockOps& ops_;
  const uint64_t* words_;
  int64_t begin_, end_;
  std::vector<size_t> at_;
  std::unique_ptr<std::byte[]> memory_;
  std::byte* base_;
};

}  // namespace

void interpret_kernel(const Kernel& k, const uint64_t* words, int64_t begin, int64_t end) {
  Machine(k, words, begin, end).run();
}

}  // namespace phlox
