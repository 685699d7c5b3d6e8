// KernelBuilder: writes a Kernel. Kv is a value of it and models the ScalarValue concept of loop/math_base.h, so the
// scalar functions expand into kernel instructions.
//
// Blocks open and close like the loops they stand for. Code can also be put before an open loop (At), which is how
// invariant work leaves loops without a pass. Scalars meet vectors by an implicit splat.
#pragma once
#include <unordered_map>

#include "kernel/kernel.h"
#include "loop/math_tables.h"

namespace phlox {

class KernelBuilder;

struct Kv {
  KernelBuilder* b = nullptr;
  KValue id = no_kvalue;
  explicit operator bool() const { return b != nullptr; }
  KType type() const;
  DType dtype() const { return type().dtype; }
  int lanes() const { return type().lanes; }
};

class KernelBuilder {
 public:
  KernelBuilder();
  KernelBuilder(const KernelBuilder&) = delete;

  // Leaves. Constants and words are made once, at the start of the kernel.
  Kv bits(DType d, int64_t bits, int lanes = 1);
  Kv constant(DType d, double v, int lanes = 1) { return bits(d, constant_bits(d, v), lanes); }
  Kv constant_int(DType d, int64_t v, int lanes = 1) { return bits(d, constant_bits_int(d, v), lanes); }
  Kv index(int64_t v) { return bits(DType::i64, v); }
  Kv dim(Dim d);
  Kv number(uint32_t param, DType d) { return word({.kind = Word::Kind::number, .param = param}, d); }
  uint32_t buffer(uint32_t param, DType d, bool written);  // index into Kernel::params
  uint32_t scratch(DType d);                           // the scratch memory as a buffer of this type
  int64_t status_word();
  Kv pointer_bits(uint32_t p) { return word(kernel_.words[kernel_.params[p].word], DType::i64); }
  Kv thread_id() { return leaf(KOp::thread_id); }
  Kv shuffle_xor(Kv a, int lane_mask) { return shuffle(KOp::shuffle_xor, a, lane_mask); }
  Kv shuffle(KOp kind, Kv a, int imm);
  Kv power2(Kv a);
  void barrier(int of = 0) { add({.op = KOp::barrier, .imm = of}); }  // of the block; 1: warp, 3: cluster
  Kv item_begin() { return leaf(KOp::item_begin); }
  Kv item_end() { return leaf(KOp::item_end); }

  // Lane-wise arithmetic on values of types that kernels compute in; folds what is constant or neutral in integers.
  Kv op(Scalar s, Kv a, Kv b = {}, Kv c = {});
  Kv cast(Kv a, DType d);
  Kv bitcast(Kv a, DType d);
  Kv select(Kv c, Kv a, Kv b) { return op(Scalar::select, c, a, b); }
  Kv combine(Combine c, Kv a, Kv b);
  Kv splat(Kv a, int lanes);
  Kv iota(int lanes);  // i64
  Kv extract(Kv a, int lane);
  Kv lane_fold(Combine c, Kv a);
  Kv any(Kv a);
  Kv lookup(math::Table t, Kv index);
  Kv scale_exponent(Kv a, Kv n, Kv shifted);
  Kv interleave(Kv a, Kv b);
  Kv every_other(Kv a, int first);  // 0 or 1

  Kv load(uint32_t p, Kv address, int lanes);
  Kv load_partial(uint32_t p, Kv address, Kv count, int lanes);
  Kv load_masked(uint32_t p, Kv address, Kv mask);
  Kv load_strided(uint32_t p, Kv address, Kv stride, int lanes);
  Kv load_gather(uint32_t p, Kv addresses, Kv mask = {});
  void store(uint32_t p, Kv address, Kv value, Kv array_bytes = {});
  void store_partial(uint32_t p, Kv address, Kv value, Kv count);
  void store_masked(uint32_t p, Kv address, Kv value, Kv mask);
  void store_strided(uint32_t p, Kv address, Kv value, Kv stride);
  void store_scatter(uint32_t p, Kv addresses, Kv value, Kv mask = {});

  Kv local(DType d, int64_t count, Space space = Space::stack);
  Kv local_load(Kv array, Kv index, int lanes, Kv block = {});  // `block`: of the cluster
  void local_store(Kv array, Kv index, Kv value);
  Kv var(Kv initial);
  Kv get(Kv var);
  void set(Kv var, Kv value);
  void report(Kv bad, Kv index);
  void prefetch(uint32_t p, Kv index);
  Kv address(uint32_t p, Kv index);
  void tile(KTile t);

  Kv begin_for(Kv from, Kv to, Kv step, LoopHint hint = LoopHint::none);
  void begin_if(Kv condition);
  void begin_else();
  void end();                       // closes the innermost for or if
  int depth() const { return int(open_.size()) - 1; }

  // While alive, instructions go to the open block of this depth, before the block that is open inside it.
  class At {
   public:
    At(KernelBuilder& b, int depth);
    ~At();

   private:
    KernelBuilder& b_;
    int saved_;
  };

  Kv add(KInst i);  // any instruction, checked by verify_kernel only
  const KInst& inst(Kv v) const { return kernel_.insts[v.id]; }
  Kernel& kernel() { return kernel_; }
  Kernel finish();                  // removes what is unused; verifies
  static bool is_const(Kv v, int64_t bits);
  // Where tables are no registers and exponents have no instruction (GPUs), functions use their texts without.
  void forbid_tables() { tables_ = false; }
  bool has_tables() const { return tables_; }

 private:
  struct Open { BlockId block; KValue owner; };
  Kv leaf(KOp op);
  Kv word(Word w, DType d);
  Kv fold(Scalar s, Kv a, Kv b);
  KInst memory(KOp op, uint32_t p, KType t, Kv a, Kv b = {}, Kv c = {});
  Kernel kernel_;
  std::vector<Open> open_;
  int at_ = 0;                      // the depth that instructions go to
  bool tables_ = true;
  size_t prefix_ = 0;               // leaves at the start of block 0
  std::unordered_map<uint64_t, std::vector<KValue>> leaves_;
};

// --- operators and the vocabulary of the scalar functions

inline Kv operator+(Kv a, Kv b) { return a.b->op(Scalar::add, a, b); }
inline Kv operator-(Kv a, Kv b) { return a.b->op(Scalar::sub, a, b); }
inline Kv operator*(Kv a, Kv b) { return a.b->op(Scalar::mul, a, b); }
inline Kv operator/(Kv a, Kv b) { return a.b->op(Scalar::div, a, b); }
inline Kv operator-(Kv a) { return a.b->op(Scalar::neg, a); }
inline Kv operator&(Kv a, Kv b) { return a.b->op(Scalar::band, a, b); }
inline Kv operator|(Kv a, Kv b) { return a.b->op(Scalar::bor, a, b); }
inline Kv operator^(Kv a, Kv b) { return a.b->op(Scalar::bxor, a, b); }
inline Kv operator~(Kv a) { return a.b->op(Scalar::bnot, a); }
inline Kv constant_int(Kv like, int64_t v) { return like.b->constant_int(like.dtype(), v, like.lanes()); }
inline Kv constant(Kv like, double v) { return like.b->constant(like.dtype(), v, like.lanes()); }
inline Kv operator<<(Kv a, int n) { return a.b->op(Scalar::shl, a, constant_int(a, n)); }
inline bool is_f64(Kv a) { return a.dtype() == DType::f64; }
inline Kv fma(Kv a, Kv b, Kv c) { return a.b->op(Scalar::fma, a, b, c); }
inline Kv sqrt(Kv a) { return a.b->op(Scalar::sqrt, a); }
inline Kv abs(Kv a) { return a.b->op(Scalar::abs, a); }
inline Kv floor(Kv a) { return a.b->op(Scalar::floor, a); }
inline Kv ceil(Kv a) { return a.b->op(Scalar::ceil, a); }
inline Kv trunc(Kv a) { return a.b->op(Scalar::trunc, a); }
inline Kv round_even(Kv a) { return a.b->op(Scalar::round, a); }
inline Kv lt(Kv a, Kv b) { return a.b->op(Scalar::lt, a, b); }
inline Kv le(Kv a, Kv b) { return a.b->op(Scalar::le, a, b); }
inline Kv gt(Kv a, Kv b) { return lt(b, a); }
inline Kv ge(Kv a, Kv b) { return le(b, a); }
inline Kv eq(Kv a, Kv b) { return a.b->op(Scalar::eq, a, b); }
inline Kv ne(Kv a, Kv b) { return a.b->op(Scalar::ne, a, b); }
inline Kv is_nan(Kv a) { return ne(a, a); }
inline Kv select(Kv c, Kv a, Kv b) { return a.b->select(c, a, b); }
inline Kv logical_and(Kv a, Kv b) { return a & b; }
inline Kv logical_or(Kv a, Kv b) { return a | b; }
inline Kv logical_not(Kv a) { return ~a; }
inline Kv bits(Kv a) { return a.b->bitcast(a, is_f64(a) ? DType::i64 : DType::i32); }
inline Kv from_bits(Kv like, Kv i) { return like.b->bitcast(i, like.dtype()); }
inline Kv to_int(Kv a) { return a.b->cast(a, is_f64(a) ? DType::i64 : DType::i32); }
inline Kv to_float(Kv like, Kv i) { return like.b->cast(i, like.dtype()); }
inline bool has_tables(Kv a) { return a.b->has_tables(); }
inline Kv lookup(Kv, math::Table t, Kv i) { return i.b->lookup(t, i); }
inline Kv scale_exponent(Kv a, Kv n, Kv shifted) { return a.b->scale_exponent(a, n, shifted); }
inline Kv to_f64(Kv a) { return a.b->cast(a, DType::f64); }
inline Kv to_f32(Kv a) { return a.b->cast(a, DType::f32); }
inline Kv lshr(Kv a, int n) {
  const bool wide = dtype_bytes(a.dtype()) == 8;
  Kv u = a.b->bitcast(a, wide ? DType::u64 : DType::u32);
  return a.b->bitcast(a.b->op(Scalar::shr, u, constant_int(u, n)), a.dtype());
}
inline Kv ashr(Kv a, int n) { return a.b->op(Scalar::shr, a, constant_int(a, n)); }

// Integer division with the meanings of scalar_ops.def (zero divisors, wrap-around), from unguarded division.
Kv safe_int_division(Scalar op, Kv a, Kv b);

}  // namespace phlox
