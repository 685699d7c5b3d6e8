// Elementwise primitives: one record per scalar op, and constants, casts, index ramps and random bits.
#include <cmath>

#include "ops/arith.h"
#include "ops/checks.h"
#include "ops/complex.h"
#include "ops/element.h"
#include "ops/prims.h"

namespace phlox {

static void samples(SampleBuilder& s);

// --- type and element rules

static void map_type(const Args& a, SmallVector<TensorType, 2>& out) {
  TensorType t = a[int(a.size()) - 1].type();
  for (int i = 0; i < int(a.size()); ++i)
    need(a, may_equal(a[i].shape(), t.shape), "operands of different shapes");
  t.strides.clear();
  t.weak = false;
  out.push_back(t);
}

// Operands of one dtype; a condition is bool; truth values are not divided.
template <Scalar op>
static void scalar_type(const Args& a, SmallVector<TensorType, 2>& out) {
  map_type(a, out);
  const DType d = out[0].dtype;
  for (int i = 0; i < int(a.size()); ++i) {
    if (op == Scalar::select && i == 0) need(a, is_bool(a[0].dtype()), "the condition is no bool");
    else need(a, compute_dtype(a[i].dtype()) == compute_dtype(d), "operands of different dtypes");
  }
  const bool divides = op == Scalar::div || op == Scalar::floordiv || op == Scalar::floormod || op == Scalar::fmod;
  if (divides && is_bool(d)) a.error("not defined for this dtype", cat(d), "numbers", "cast the operands first");
}

template <Scalar op>
static void test_type(const Args& a, SmallVector<TensorType, 2>& out) {
  scalar_type<op>(a, out);
  out[0].dtype = DType::boolean;
}

template <Scalar op>
static Sv map_element(ElementContext& c, std::span<const Sv> index) {
  Sv v[3];
  for (int i = 0; i < scalar_info(op).operands; ++i) v[i] = c.in(i, index);
  return c.loop.op(op, v[0], v[1], v[2]);
}

// --- gradients of the scalar ops

static Val filled(Val a, double v) { return full(*a.g, a.shape(), a.dtype(), v); }
static Val add(Val a, Val b) { return map(Scalar::add, a, b); }
static Val sub(Val a, Val b) { return map(Scalar::sub, a, b); }
static Val mul(Val a, Val b) { return map(Scalar::mul, a, b); }
static Val div(Val a, Val b) { return map(Scalar::div, a, b); }
static Val neg(Val a) { return map(Scalar::neg, a); }
static Val zero_where(Val cond, Val a) { return map(Scalar::select, cond, filled(a, 0), a); }

// The derivative of a one-operand op at x with result y.
static Val derivative(Scalar op, Val x, Val y) {
  const Val one = filled(x, 1);
  switch (op) {
    case Scalar::neg: return filled(x, -1);
    case Scalar::abs:  // sign(x)
      return sub(cast(map(Scalar::lt, filled(x, 0), x), x.dtype()), cast(map(Scalar::lt, x, filled(x, 0)), x.dtype()));
    case Scalar::sqrt: return div(filled(x, 0.5), y);
    case Scalar::rsqrt: return mul(filled(x, -0.5), mul(y, mul(y, y)));
    case Scalar::exp: return y;
    case Scalar::exp2: return mul(y, filled(x, M_LN2));
    case Scalar::expm1: return add(y, one);
    case Scalar::log: return div(one, x);
    case Scalar::log2: return div(filled(x, 1 / M_LN2), x);
    case Scalar::log10: return div(filled(x, 1 / M_LN10), x);
    case Scalar::log1p: return div(one, add(x, one));
    case Scalar::sigmoid: return mul(y, sub(one, y));
    case Scalar::tanh: return sub(one, mul(y, y));
    case Scalar::erf: return mul(filled(x, 2 / std::sqrt(M_PI)), map(Scalar::exp, neg(mul(x, x))));
    case Scalar::erfc: return mul(filled(x, -2 / std::sqrt(M_PI)), map(Scalar::exp, neg(mul(x, x))));
    case Scalar::erfinv: return mul(filled(x, std::sqrt(M_PI) / 2), map(Scalar::exp, mul(y, y)));
    case Scalar::normal_cdf:
      return mul(filled(x, 1 / std::sqrt(2 * M_PI)), map(Scalar::exp, mul(filled(x, -0.5), mul(x, x))));
    case Scalar::sin: return map(Scalar::cos, x);
    case Scalar::cos: return neg(map(Scalar::sin, x));
    case Scalar::tan: return add(one, mul(y, y));
    case Scalar::asin: return map(Scalar::rsqrt, sub(one, mul(x, x)));
    case Scalar::acos: return neg(map(Scalar::rsqrt, sub(one, mul(x, x))));
    case Scalar::atan: return div(one, add(one, mul(x, x)));
    case Scalar::sinh: return map(Scalar::cosh, x);
    case Scalar::cosh: return map(Scalar::sinh, x);
    case Scalar::asinh: return map(Scalar::rsqrt, add(mul(x, x), one));
    case Scalar::acosh: return map(Scalar::rsqrt, sub(mul(x, x), one));
    case Scalar::atanh: return div(one, sub(one, mul(x, x)));
    case Scalar::lgamma: return map(Scalar::digamma, x);
    case Scalar::digamma: return map(Scalar::trigamma, x);
    case Scalar::trigamma:
      fail(ErrorCode::not_implemented, {.op = "trigamma", .fact = "this function has no gradient here", .remedy = "use polygamma"});
    default: return {};  // floor, ceil, trunc, round, ...: zero almost everywhere
  }
}

template <Scalar op>
static void map_vjp(Vjp& v) {
  const Val g = v.grad(), x = v.in(0);
  if constexpr (op == Scalar::add) {
    v.set(0, g);
    v.set(1, g);
  } else if constexpr (op == Scalar::sub) {
    v.set(0, g);
    if (v.needs(1)) v.set(1, neg(g));
  } else if constexpr (op == Scalar::mul) {
    if (v.needs(0)) v.set(0, mul(g, conj(v.in(1))));
    if (v.needs(1)) v.set(1, mul(g, conj(x)));
  } else if constexpr (op == Scalar::div) {
    if (v.needs(0)) v.set(0, div(g, conj(v.in(1))));
    if (v.needs(1)) v.set(1, neg(mul(g, conj(div(div(x, v.in(1)), v.in(1))))));
  } else if constexpr (op == Scalar::fma) {
    if (v.needs(0)) v.set(0, mul(g, v.in(1)));
    if (v.needs(1)) v.set(1, mul(g, x));
    v.set(2, g);
  } else if constexpr (op == Scalar::min || op == Scalar::max) {
    // Equal operands share the gradient evenly, as ATen does.
    const Val b = v.in(1), lo = op == Scalar::max ? b : x, hi = op == Scalar::max ? x : b;
    const Val half = map(Scalar::select, map(Scalar::eq, x, b), mul(g, filled(g, 0.5)), g);
    if (v.needs(0)) v.set(0, zero_where(map(Scalar::lt, hi, lo), half));
    if (v.needs(1)) v.set(1, zero_where(map(Scalar::lt, lo, hi), half));
  } else if constexpr (op == Scalar::fmod) {
    v.set(0, g);
    if (v.needs(1)) v.set(1, neg(mul(g, map(Scalar::trunc, div(x, v.in(1))))));
  } else if constexpr (op == Scalar::select) {
    if (v.needs(1)) v.set(1, map(Scalar::select, x, g, filled(g, 0)));
    if (v.needs(2)) v.set(2, map(Scalar::select, x, filled(g, 0), g));
  } else if constexpr (op == Scalar::pow) {
    const Val b = v.in(1), y = v.out();
    if (v.needs(0)) {
      const Val d = mul(b, map(Scalar::pow, x, sub(b, filled(b, 1))));
      v.set(0, mul(g, conj(zero_where(map(Scalar::eq, b, filled(b, 0)), d))));
    }
    if (v.needs(1)) {
      // 0^b has derivative 0 for b >= 0, where log(0) would give NaN.
      const Val exponent = real_part(b);
      const Val at_zero = map(Scalar::band, map(Scalar::eq, x, filled(x, 0)), map(Scalar::le, filled(exponent, 0), exponent));
      v.set(1, mul(g, conj(zero_where(at_zero, mul(y, map(Scalar::log, x))))));
    }
  } else if constexpr (op == Scalar::atan2) {
    const Val b = v.in(1), r = add(mul(x, x), mul(b, b));
    if (v.needs(0)) v.set(0, mul(g, div(b, r)));
    if (v.needs(1)) v.set(1, neg(mul(g, div(x, r))));
  } else if constexpr (op == Scalar::hypot) {
    if (v.needs(0)) v.set(0, mul(g, div(x, v.out())));
    if (v.needs(1)) v.set(1, mul(g, div(v.in(1), v.out())));
  } else {
    if (const Val d = derivative(op, x, v.out())) v.set(0, mul(g, conj(d)));
    else v.set(0, filled(x, 0));
  }
}

// --- records

#define OPERANDS1 "(Tensor a) -> Tensor"
#define OPERANDS2 "(Tensor a, Tensor b) -> Tensor"
#define OPERANDS3 "(Tensor a, Tensor b, Tensor c) -> Tensor"

#define MAP(name, n) \
  static constexpr Op op_##name{{.schema = "prim::" #name OPERANDS##n, .type = scalar_type<Scalar::name>, \
                                 .loop = map_element<Scalar::name>, .vjp = map_vjp<Scalar::name>, .sample = samples}};
#define TEST(name) \
  static constexpr Op op_##name{{.schema = "prim::" #name OPERANDS2, .type = test_type<Scalar::name>, .loop = map_element<Scalar::name>, .sample = samples}};
#define EACH_MAP(X) \
  X(add, 2) X(sub, 2) X(mul, 2) X(div, 2) X(floordiv, 2) X(floormod, 2) X(fmod, 2) X(neg, 1) X(abs, 1) X(min, 2) \
  X(max, 2) X(fma, 3) X(sqrt, 1) X(floor, 1) X(ceil, 1) X(trunc, 1) X(round, 1) X(band, 2) X(bor, 2) X(bxor, 2) \
  X(bnot, 1) X(shl, 2) X(shr, 2) X(select, 3) X(exp, 1) X(exp2, 1) X(expm1, 1) X(log, 1) X(log2, 1) X(log10, 1) \
  X(log1p, 1) X(sigmoid, 1) X(tanh, 1) X(erf, 1) X(erfc, 1) X(erfinv, 1) X(normal_cdf, 1) X(sin, 1) X(cos, 1) \
  X(tan, 1) X(asin, 1) X(acos, 1) X(atan, 1) X(atan2, 2) X(sinh, 1) X(cosh, 1) X(asinh, 1) X(acosh, 1) X(atanh, 1) \
  X(pow, 2) X(rsqrt, 1) X(hypot, 2) X(lgamma, 1) X(digamma, 1) X(trigamma, 1) X(nextafter, 2)
#define EACH_TEST(X) X(lt) X(le) X(eq) X(ne)
EACH_MAP(MAP)
EACH_TEST(TEST)

static const Op* map_record(Scalar s) {
  switch (s) {
#define CASE_MAP(name, n) case Scalar::name: return &op_##name;
#define CASE_TEST(name) case Scalar::name: return &op_##name;
    EACH_MAP(CASE_MAP)
    EACH_TEST(CASE_TEST)
    default: return nullptr;
  }
}

// Truth values have an order and logic, but no arithmetic beyond sums and products.
static bool takes_bools(Scalar op) {
  switch (op) {
    case Scalar::add: case Scalar::mul: case Scalar::min: case Scalar::max: case Scalar::band: case Scalar::bor: case Scalar::bxor:
    case Scalar::bnot: case Scalar::select: case Scalar::lt: case Scalar::le: case Scalar::eq: case Scalar::ne: return true;
    default: return false;
  }
}
static bool takes_floats_only(Scalar op) {
  switch (op) {
    case Scalar::sqrt: case Scalar::exp: case Scalar::exp2: case Scalar::expm1: case Scalar::log: case Scalar::log2: case Scalar::log10:
    case Scalar::log1p: case Scalar::sigmoid: case Scalar::tanh: case Scalar::erf: case Scalar::erfc: case Scalar::erfinv:
    case Scalar::normal_cdf: case Scalar::sin: case Scalar::cos: case Scalar::tan: case Scalar::asin: case Scalar::acos: case Scalar::atan:
    case Scalar::atan2: case Scalar::sinh: case Scalar::cosh: case Scalar::asinh: case Scalar::acosh: case Scalar::atanh:
    case Scalar::rsqrt: case Scalar::hypot: case Scalar::lgamma: case Scalar::digamma: case Scalar::trigamma: case Scalar::nextafter: return true;
    default: return false;
  }
}
// What a user asked for with dtypes that the scalar op is not defined on.
static void check_dtypes(Scalar op, std::span<const Val> operands) {
  const Val last = operands.back();
  const char* name = scalar_info(op).name;
  if (is_bool(last.dtype()) && !takes_bools(op))
    fail(ErrorCode::invalid_argument, {.op = name, .fact = "this is not defined for bool tensors", .got = cat(last.type()),
                                       .expected = "numbers", .remedy = "cast the tensor to a number type first"});
  if (takes_floats_only(op) && !is_float(last.dtype()) && !is_complex(last.dtype()))
    fail(ErrorCode::invalid_argument, {.op = name, .fact = "this needs floating tensors", .got = cat(last.type()),
                                       .expected = "a float dtype", .remedy = "cast the tensor first"});
  for (size_t k = op == Scalar::select ? 1 : 0; k < operands.size(); ++k)
    if (operands[k].dtype() != last.dtype())
      fail(ErrorCode::invalid_argument, {.op = name, .fact = "the operands have different dtypes",
                                         .got = cat(operands[k].type(), " and ", last.type()), .expected = "one dtype",
                                         .remedy = "cast one of them"});
}

Val map(Scalar op, Val a, Val b, Val c) {
  const Op* record = map_record(op);
  PHLOX_CHECK(record, "no elementwise op ", scalar_info(op).name);
  const Val operands[3] = {a, b, c};
  check_dtypes(op, std::span(operands, size_t(scalar_info(op).operands)));
  const Arg args[3] = {Arg::of_value(a.id), Arg::of_value(b.id), Arg::of_value(c.id)};
  return a.g->call(op_info(*record), std::span(args, size_t(scalar_info(op).operands)))[0];
}

static void need_computed(const Args& a, DType d) {
  if (d == DType::f8e4m3 || d == DType::f8e5m2)
    a.error("this dtype is only stored, not computed with", cat(d), "a dtype of at least 16 bits, or an integer", "use float16 or bfloat16");
}
static void cast_type(const Args& a, SmallVector<TensorType, 2>& out) {
  TensorType t = a[0].type();
  t.strides.clear();
  t.weak = false;
  t.dtype = *a.dtype(1);
  out.push_back(t);
}
static Sv round_to(LoopBuilder& b, Sv v, DType d) { return b.cast(b.cast(v, d), compute_dtype(d)); }
static constexpr Op op_cast{{
    .schema = "prim::cast(Tensor a, ScalarType dtype) -> Tensor",
    .type = cast_type,
    .loop = [](ElementContext& c, std::span<const Sv> index) { return round_to(c.loop, c.in(0, index), c.arg(1).as_dtype()); },
    .vjp = [](Vjp& v) {
      const DType d = v.in(0).dtype();
      if (is_float(d)) v.set(0, cast(real_part(v.grad()), d));
      else if (is_complex(d)) v.set(0, cast(v.grad(), d));
    },
    .sample = samples,
}};
static constexpr Op op_bitcast{{
    .schema = "prim::bitcast(Tensor a, ScalarType dtype) -> Tensor",
    .type = cast_type,
    .loop = [](ElementContext& c, std::span<const Sv> index) {
      // The compute type of a 16-bit float is f32: go through its storage type.
      const DType from = c.type(0).dtype, to = c.arg(1).as_dtype();
      // A bool is a mask while it is computed with and a byte in memory.
      const Sv bits = c.loop.cast(c.in(0, index), is_bool(from) ? DType::u8 : from);
      return c.loop.cast(c.loop.bitcast(bits, is_bool(to) ? DType::u8 : to), compute_dtype(to));
    },
    .sample = samples,
}};
static constexpr Op op_stop_gradient{{
    .schema = "prim::stop_gradient(Tensor a) -> Tensor",
    .type = map_type,
    .loop = [](ElementContext& c, std::span<const Sv> index) { return c.in(0, index); },
    .view = true,
    .sample = samples,
}};

// A new tensor with the same values.
static constexpr Op op_copy{{
    .schema = "prim::copy(Tensor a) -> Tensor",
    .type = map_type,
    .loop = [](ElementContext& c, std::span<const Sv> index) { return c.in(0, index); },
    .vjp = [](Vjp& v) { v.set(0, v.grad()); },
    .sample = samples,
}};
Val copy(Val a) {
  const Arg args[] = {Arg::of_value(a.id)};
  return a.g->call(op_info(op_copy), args)[0];
}
// The values of src in dst's shape, dtype and strides: what eager stores through a view.
static constexpr Op op_copy_to{{
    .schema = "prim::copy_to(Tensor dst, Tensor src) -> Tensor",
    .expand = [](const Args& a) -> Vals {
      const Val r = copy(cast(broadcast_to(a[1], a[0].shape(), "copy_"), a[0].dtype()));
      r.g->graph().set_strides(r.id, a[0].type().strides);
      return {r};
    },
    .sample = samples,
}};

static Dims arg_dims(const Args& a, int i) { return a.dims(i); }
static constexpr Op op_full{{
    .schema = "prim::full(SymInt[] shape, Scalar value, ScalarType dtype) -> Tensor",
    .type = [](const Args& a, SmallVector<TensorType, 2>& out) {
      TensorType t;
      need(a, a.raw(1).kind != ArgKind::value, "the value is no number");
      t.dtype = *a.dtype(2);
      need_computed(a, t.dtype);
      t.shape = arg_dims(a, 0);
      out.push_back(t);
    },
    .loop = [](ElementContext& c, std::span<const Sv>) {
      const DType d = c.arg(2).as_dtype();
      const Arg& v = c.arg(1);
      if (v.kind == ArgKind::real) {
        // Rounded to the declared type first, then carried in the compute type.
        return c.loop.cast(c.loop.constant(d, v.real), compute_dtype(d));
      }
      if (!v.as_dim().is_const()) return round_to(c.loop, c.loop.dim(v.as_dim()), d);
      return c.loop.cast(c.loop.constant_int(d, v.as_dim().value()), compute_dtype(d));
    },
    .static_args = 2,  // the value: a run-time number is broadcast instead
    .sample = samples,
}};
static constexpr Op op_iota{{
    .schema = "prim::iota(SymInt[] shape, int dim, ScalarType dtype) -> Tensor",
    .type = [](const Args& a, SmallVector<TensorType, 2>& out) {
      TensorType t;
      t.dtype = *a.dtype(2);
      t.shape = arg_dims(a, 0);
      need_dim(a, 1, t.rank());
      out.push_back(t);
    },
    .loop = [](ElementContext& c, std::span<const Sv> index) {
      return round_to(c.loop, index[size_t(c.integer(1))], c.arg(2).as_dtype());
    },
    .sample = samples,
}};
static void need_state(const Args& a) {
  need(a, a[0].dtype() == DType::i64 && may_equal(a[0].shape(), Dims{2}), "the state of a generator is i64[2]");
}
static constexpr Op op_random{{
    .schema = "prim::random(Tensor seed_offset, SymInt[] shape, int word) -> Tensor",
    .type = [](const Args& a, SmallVector<TensorType, 2>& out) {
      TensorType t;
      need_state(a);
      need(a, a.i(2) >= 0 && a.i(2) < 4, "a word that a draw does not have");
      t.dtype = DType::i64;
      t.shape = arg_dims(a, 1);
      out.push_back(t);
    },
    .loop = [](ElementContext& c, std::span<const Sv> index) {
      const Sv zero[1] = {c.loop.constant_int(DType::i64, 0)}, one[1] = {c.loop.constant_int(DType::i64, 1)};
      const Sv counter = c.loop.linear(index, contiguous_strides(c.out().shape));
      return c.loop.philox(c.in(0, zero), c.in(0, one), counter, int(c.integer(2)));
    },
    .effects = Effects::random,
    .sample = samples,
}};
// True with probability p: a kept mask costs a byte where kept bits would cost eight.
static constexpr Op op_random_keep{{
    .schema = "prim::random_keep(Tensor seed_offset, SymInt[] shape, float p) -> Tensor",
    .type = [](const Args& a, SmallVector<TensorType, 2>& out) {
      TensorType t;
      need_state(a);
      need(a, a.f(2) >= 0 && a.f(2) <= 1, "a probability outside of 0 to 1");
      t.dtype = DType::boolean;
      t.shape = arg_dims(a, 1);
      out.push_back(t);
    },
    .loop = [](ElementContext& c, std::span<const Sv> index) {
      const Sv zero[1] = {c.loop.constant_int(DType::i64, 0)}, one[1] = {c.loop.constant_int(DType::i64, 1)};
      const Sv counter = c.loop.linear(index, contiguous_strides(c.out().shape));
      const Sv word = c.loop.philox(c.in(0, zero), c.in(0, one), counter, 0);
      return word < c.loop.constant_int(DType::i64, int64_t(std::nearbyint(std::ldexp(c.arg(2).real, 32))));
    },
    .effects = Effects::random,
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.of("prim::add prim::sub prim::mul prim::div prim::fmod prim::min prim::max prim::lt prim::le prim::eq prim::ne", {"f32[3,4], f32[3,4]:0.5..3", "bf16[5], bf16[5]:0.5..3", "f64[], f64[]:1..2"})
      .of("prim::add prim::sub prim::mul prim::min prim::max prim::lt prim::le prim::eq prim::ne", {"i64[3,4], i64[3,4]", "u8[5], u8[5]"})
      .of("prim::floordiv prim::floormod", {"i64[3,4]:-9..9, i64[3,4]:1..4", "i32[5]:-9..9, i32[5]:-4..-1"})
      .of("prim::band prim::bor prim::bxor", {"i64[3,4], i64[3,4]", "bool[5], bool[5]"}).of("prim::bnot", {"i32[3,4]", "bool[5]"}).of("prim::shl prim::shr", {"i64[3,4], i64[3,4]:0..5", "i32[5], i32[5]:0..9"})
      .of("prim::atan2 prim::hypot prim::pow prim::nextafter", {"f32[3,4]:0.2..3, f32[3,4]:0.2..3", "f64[5]:0.2..3, f64[5]"})
      .of("prim::fma", {"f32[3,4], f32[3,4], f32[3,4]", "f64[5], f64[5], f64[5]"}).of("prim::select", {"bool[3,4], f32[3,4], f32[3,4]", "bool[5], i64[5], i64[5]"})
      .of("prim::neg prim::abs prim::copy prim::stop_gradient", {"f32[3,4]", "i64[5]", "f16[2,3]", "f64[]"})
      .of("prim::sqrt prim::floor prim::ceil prim::trunc prim::round prim::exp prim::exp2 prim::expm1 prim::log prim::log2 prim::log10 prim::log1p prim::sigmoid prim::tanh prim::erf prim::erfc prim::erfinv prim::normal_cdf prim::sin prim::cos prim::tan prim::asin prim::acos prim::atan prim::sinh prim::cosh prim::asinh prim::atanh prim::rsqrt prim::lgamma prim::digamma prim::trigamma", {"f32[3,4]:0.1..0.9", "f64[5]:0.1..0.9", "bf16[]:0.1..0.9"})
      .of("prim::acosh", {"f32[3,4]:1.1..4", "f64[5]:1.1..4"}).of("prim::cast", {"f32[3,4], float64", "i64[5], bfloat16", "f64[5], float16", "bool[3], float32"}).of("prim::bitcast", {"f32[3,4], int32", "i16[5], float16"})
      .of("prim::full", {"[2,3], 1.5, float32", "[], 3, int64"}).of("prim::iota", {"[2,3], 1, int64", "[4], 0, float32"}).of("prim::random", {"i64[2]=7|3, [2,3], 1"}).of("prim::random_keep", {"i64[2]=7|3, [8], 0.5"}).of("prim::copy_to", {"f32[2,3], f32[3]", "f64[4], i32[4]"})
      .dense_only("prim::copy_to").no_gradients("prim::nextafter prim::stop_gradient prim::trigamma prim::fmod");
}

static const Op* const map_ops[] = {
#define LIST_MAP(name, n) &op_##name,
#define LIST_TEST(name) &op_##name,
    EACH_MAP(LIST_MAP) EACH_TEST(LIST_TEST) &op_cast, &op_bitcast, &op_stop_gradient, &op_full, &op_iota, &op_random, &op_random_keep, &op_copy, &op_copy_to};
OpFamily map_family() { return map_ops; }

// --- builders

Val cast(Val a, DType d) {
  if (a.dtype() == d && !a.type().weak) return a;
  const Arg args[] = {Arg::of_value(a.id), Arg::of_dtype(d)};
  return a.g->call(op_info(op_cast), args)[0];
}
Val bitcast(Val a, DType d) {
  const Arg args[] = {Arg::of_value(a.id), Arg::of_dtype(d)};
  return a.g->call(op_info(op_bitcast), args)[0];
}
Val stop_gradient(Val a) {
  const Arg args[] = {Arg::of_value(a.id)};
  return a.g->call(op_info(op_stop_gradient), args)[0];
}

static Val call_shaped(GraphBuilder& g, const Op& op, const Dims& shape, std::span<const Arg> rest, int shape_at) {
  SmallVector<Arg, 6> list;
  for (Dim d : shape) list.push_back(Arg::of_dim(d));
  SmallVector<Arg, 4> args;
  args.append(rest.begin(), rest.end());
  args.insert(size_t(shape_at), Arg::of_list(list));
  return g.call(op_info(op), args)[0];
}
Val full(GraphBuilder& g, const Dims& shape, DType d, double v) {
  if (is_int(d) || is_bool(d)) {  // beyond int64: the nearest, and 0 for NaN
    const int64_t n = v >= -0x1p63 && v < 0x1p63 ? int64_t(v) : std::isnan(v) ? 0 : v < 0 ? INT64_MIN : INT64_MAX;
    return full_int(g, shape, d, is_bool(d) ? v != 0 : n);
  }
  const Arg rest[] = {Arg::of_real(v), Arg::of_dtype(d)};
  return call_shaped(g, op_full, shape, rest, 0);
}
Val full_int(GraphBuilder& g, const Dims& shape, DType d, int64_t v) {
  if (is_float(d)) return full(g, shape, d, double(v));
  // The lowest quarter of the numbers stands for symbolic sizes: such a number is a sum of two.
  if (!Dim::from_raw(v).is_const())
    return map(Scalar::add, full_int(g, shape, d, Dim::tag_limit), full_int(g, shape, d, v - Dim::tag_limit));
  const Arg rest[] = {Arg::of_dim(v), Arg::of_dtype(d)};
  return call_shaped(g, op_full, shape, rest, 0);
}
Val dim_value(GraphBuilder& g, Dim d, DType dtype) {
  const Arg rest[] = {Arg::of_dim(d), Arg::of_dtype(dtype)};
  return call_shaped(g, op_full, {}, rest, 0);
}
Val iota(GraphBuilder& g, const Dims& shape, int dim, DType d) {
  const Arg rest[] = {Arg::of_dim(dim), Arg::of_dtype(d)};
  return call_shaped(g, op_iota, shape, rest, 0);
}
Val random_bits(Val seed_offset, const Dims& shape, int word) {
  const Arg rest[] = {Arg::of_value(seed_offset.id), Arg::of_dim(word)};
  return call_shaped(*seed_offset.g, op_random, shape, rest, 1);
}
Val random_keep(Val seed_offset, const Dims& shape, double p) {
  const Arg rest[] = {Arg::of_value(seed_offset.id), Arg::of_real(p)};
  return call_shaped(*seed_offset.g, op_random_keep, shape, rest, 1);
}

void install_number_rule() {
  set_number_rule([](GraphBuilder& g, const TensorType& type, const Arg& a) -> Val {
    const Arg number = a.kind == ArgKind::boolean ? Arg::of_dim(int64_t(a.bits)) : a;
    const Arg rest[] = {number, Arg::of_dtype(type.dtype)};
    const Val v = call_shaped(g, op_full, {}, rest, 0);
    g.graph().set_weak(v.id);
    return v;
  });
}

}  // namespace phlox
