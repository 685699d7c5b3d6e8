// Random ops. Every element draws from the Philox block whose counter is its linear index, so that the numbers do not
// depend on how the work is split; (seed, offset) is the hidden operand, advanced once a call.
#include <cmath>

#include "ops/complex.h"
#include "ops/composite.h"
#include "ops/random.h"

namespace phlox {

static void samples(SampleBuilder& s);

// [0, 1): 24 random bits for f32 and narrower, 53 for f64.
Val uniform_values(Val state, const Dims& shape, DType d, int word) {
  const Val bits = random_bits(state, shape, word);
  if (d == DType::f64) {
    const Val high = map(Scalar::shr, bits, fill_like(bits, 5)), low = map(Scalar::shr, random_bits(state, shape, word + 1), fill_like(bits, 6));
    return (cast(high, d) * 67108864.0 + cast(low, d)) * 0x1p-53;
  }
  const int keep = d == DType::f16 ? 11 : d == DType::bf16 ? 8 : 24;
  const Val top = map(Scalar::shr, bits, fill_like(bits, 32 - keep));
  return cast(cast(top, DType::f32) * std::ldexp(1.0, -keep), d);
}
// Box-Muller from two uniform numbers, the first one in (0, 1].
Val normal_values(Val state, const Dims& shape, DType d) {
  const DType w = compute_dtype(d);
  const Val u = like(uniform_values(state, shape, w, 0), 1) - uniform_values(state, shape, w, 0), v = uniform_values(state, shape, w, 2);
  const Val radius = sqrt_val(log_val(u) * -2.0);
  return cast(radius * map(Scalar::cos, v * (2 * M_PI)), d);
}

static void check_spread(const Args& a, int arg, bool zero) {
  const double v = a.f(arg);
  if (!(zero ? v >= 0 : v > 0))
    a.error(cat("'", a.op().schema.params[size_t(arg)].name, "' is out of range"), cat(v), zero ? "0 or more" : "above 0");
}
static void check_probability(const Args& a, double p) {
  if (!(p >= 0 && p <= 1)) a.error("a probability must lie between 0 and 1", cat(p), "0 to 1");
}

// The factors of dropout: 0 with probability p, else 1 / (1 - p).
static Val dropout_factors(const Args& a, const Dims& shape, DType d, double p) {
  const Val kept = random_keep(a.random_state(), shape, 1 - p);
  return cast(kept, d) * (p == 1 ? 0 : 1 / (1 - p));
}
Val drop(const Args& a, Val x, double p) {
  check_probability(a, p);
  return p == 0 ? x : x * dropout_factors(a, x.shape(), x.dtype(), p);
}

static constexpr Op op_dropout{{
    .schema = "dropout(Tensor input, float p, bool train) -> Tensor",
    .doc = "In training: each element becomes 0 with probability p, and is divided by 1 - p otherwise.",
    .expand = [](const Args& a) -> Vals {
      check_probability(a, a.f(1));
      return {a.b(2) ? drop(a, a[0], a.f(1)) : a[0]};
    },
    .forms = Forms::in_place,
    .effects = Effects::random,
    .sample = samples,
}};
static constexpr Op op_native_dropout{{
    .schema = "native_dropout(Tensor input, float p, bool? train) -> (Tensor, Tensor)",
    .doc = "dropout that also gives the mask of elements that stay.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0];
      const double p = a.f(1);
      check_probability(a, p);
      if (!a.b(2, true)) return {x, full_int(a.builder(), x.shape(), DType::boolean, 1)};
      const Val kept = random_keep(a.random_state(), x.shape(), 1 - p);
      return {x * (cast(kept, x.dtype()) * (p == 1 ? 0 : 1 / (1 - p))), kept};
    },
    .effects = Effects::random,
    .sample = samples,
}};
static constexpr Op op_native_dropout_backward{{
    .schema = "native_dropout_backward(Tensor grad_output, Tensor mask, float scale) -> Tensor",
    .doc = "grad_output * mask * scale.",
    .expand = [](const Args& a) -> Vals { return {a[0] * (cast(a[1], to_floating(a[0].dtype())) * a.f(2))}; },
    .sample = samples,
}};

// One draw for each sample and channel.
static Dims feature_shape(const Args& a, Val x) {
  require(a, x.rank() >= 2, "input needs a batch and a channel dimension", shape_of(x));
  Dims s(size_t(x.rank()), Dim(1));
  s[0] = x.size(0);
  s[1] = x.size(1);
  return s;
}
static constexpr Op op_feature_dropout{{
    .schema = "feature_dropout(Tensor input, float p, bool train) -> Tensor",
    .doc = "dropout of whole channels.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0];
      check_probability(a, a.f(1));
      if (!a.b(2) || a.f(1) == 0) return {x};
      return {x * dropout_factors(a, feature_shape(a, x), x.dtype(), a.f(1))};
    },
    .forms = Forms::in_place,
    .effects = Effects::random,
    .sample = samples,
}};

// Dropped elements take the negative saturation value of selu; the result keeps mean and variance.
static Val alpha_drop(const Args& a, Val x, const Dims& shape, double p) {
  check_probability(a, p);
  if (p == 0 || !a.b(2)) return x;
  if (p == 1) return x * 0.0;
  constexpr double saturation = -1.7580993408473766;
  const double scale = 1 / std::sqrt((saturation * saturation * p + 1) * (1 - p));
  const Val kept = random_keep(a.random_state(), shape, 1 - p);
  const Val low = like(x, saturation * scale + -scale * saturation * p), shift = like(x, -scale * saturation * p);
  return where(kept, x * scale + shift, low);
}
static constexpr Op op_alpha_dropout{{
    .schema = "alpha_dropout(Tensor input, float p, bool train) -> Tensor",
    .doc = "dropout for selu networks: keeps mean and variance.",
    .expand = [](const Args& a) -> Vals { return {alpha_drop(a, a[0], a[0].shape(), a.f(1))}; },
    .forms = Forms::in_place,
    .effects = Effects::random,
    .sample = samples,
}};
static constexpr Op op_feature_alpha_dropout{{
    .schema = "feature_alpha_dropout(Tensor input, float p, bool train) -> Tensor",
    .doc = "alpha_dropout of whole channels.",
    .expand = [](const Args& a) -> Vals {
      const bool drops = a.b(2) && a.f(1) != 0 && a.f(1) != 1;
      return {alpha_drop(a, a[0], drops ? feature_shape(a, a[0]) : a[0].shape(), a.f(1))};
    },
    .forms = Forms::in_place,
    .effects = Effects::random,
    .sample = samples,
}};

static constexpr Op op_uniform_like{{
    .schema = "prim::uniform(Tensor like) -> Tensor",
    .doc = "Uniform numbers in [0, 1) in the shape and dtype of a tensor.",
    .expand = [](const Args& a) -> Vals { return {uniform_values(a.random_state(), a[0].shape(), a[0].dtype(), 0)}; },
    .effects = Effects::random,
    .sample = samples,
}};

// --- new tensors: size, dtype, layout, device, pin_memory

#define OPTIONS "ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor"
#define LIKE_OPTIONS \
  "ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None, MemoryFormat? memory_format=None) -> Tensor"

static DType float_type(const Args& a, int arg, DType otherwise) {
  const DType d = a.dtype(arg).value_or(otherwise);
  require(a, is_float(d) || is_complex(d), "random numbers need a float dtype", cat(d), "a float or complex dtype");
  return d;
}
// Complex numbers draw both parts; normal ones have a variance of 1 in all.
static Val uniform_of(const Args& a, const Dims& shape, DType d) {
  if (!is_complex(d)) return uniform_values(a.random_state(), shape, d, 0);
  Dims pairs = shape;
  pairs.push_back(2);
  return from_pairs(uniform_values(a.random_state(), pairs, real_dtype(d), 0));
}
static Val normal_of_shape(const Args& a, const Dims& shape, DType d) {
  if (!is_complex(d)) return normal_values(a.random_state(), shape, d);
  Dims pairs = shape;
  pairs.push_back(2);
  return from_pairs(normal_values(a.random_state(), pairs, real_dtype(d)) * M_SQRT1_2);
}
static constexpr Op op_rand{{
    .schema = "rand(SymInt[] size, *, " OPTIONS,
    .doc = "Uniform numbers in [0, 1).",
    .expand = [](const Args& a) -> Vals { return {uniform_of(a, a.dims(0), float_type(a, 1, default_float))}; },
    .forms = Forms::out,
    .effects = Effects::random,
    .sample = samples,
}};
static constexpr Op op_randn{{
    .schema = "randn(SymInt[] size, *, " OPTIONS,
    .doc = "Normal numbers of mean 0 and variance 1.",
    .expand = [](const Args& a) -> Vals { return {normal_of_shape(a, a.dims(0), float_type(a, 1, default_float))}; },
    .forms = Forms::out,
    .effects = Effects::random,
    .sample = samples,
}};
static constexpr Op op_rand_like{{
    .schema = "rand_like(Tensor self, *, " LIKE_OPTIONS,
    .doc = "Uniform numbers in [0, 1) in the shape of self.",
    .expand = [](const Args& a) -> Vals { return {uniform_of(a, a[0].shape(), float_type(a, 1, a[0].dtype()))}; },
    .effects = Effects::random,
    .sample = samples,
}};
static constexpr Op op_randn_like{{
    .schema = "randn_like(Tensor self, *, " LIKE_OPTIONS,
    .doc = "Normal numbers in the shape of self.",
    .expand = [](const Args& a) -> Vals { return {normal_of_shape(a, a[0].shape(), float_type(a, 1, a[0].dtype()))}; },
    .effects = Effects::random,
    .sample = samples,
}};

// Integers in [low, high): one word where the range fits it, else two.
static Val integers(const Args& a, const Dims& shape, int64_t low, int64_t high, DType d) {
  if (high <= low) a.error("the range of integers is empty", cat("[", low, ", ", high, ")"), "low < high");
  const uint64_t range = uint64_t(high) - uint64_t(low);
  const Val state = a.random_state(), word = random_bits(state, shape, 0);
  Val r;
  if (range <= uint64_t(1) << 31) {
    r = map(Scalar::shr, map(Scalar::mul, word, broadcast_to(full_int(a.builder(), {}, DType::i64, int64_t(range)), shape)), fill_like(word, 32));
  } else {
    const Val wide = map(Scalar::bor, map(Scalar::shl, word, fill_like(word, 31)), random_bits(state, shape, 1));
    const Val positive = map(Scalar::band, wide, broadcast_to(full_int(a.builder(), {}, DType::i64, INT64_MAX), shape));
    r = map(Scalar::floormod, positive, broadcast_to(full_int(a.builder(), {}, DType::i64, int64_t(range)), shape));
  }
  return cast(map(Scalar::add, r, broadcast_to(full_int(a.builder(), {}, DType::i64, low), shape)), d);
}
static constexpr Op op_randint{{
    .schema = "randint(SymInt high, SymInt[] size, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
    .doc = "Uniform integers in [0, high).",
    .expand = [](const Args& a) -> Vals { return {integers(a, a.dims(1), 0, a.i(0), a.dtype(2).value_or(DType::i64))}; },
    .effects = Effects::random,
    .sample = samples,
}};
static constexpr Op op_randint_low{{
    .schema = "randint.low(SymInt low, SymInt high, SymInt[] size, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
    .doc = "Uniform integers in [low, high).",
    .expand = [](const Args& a) -> Vals { return {integers(a, a.dims(2), a.i(0), a.i(1), a.dtype(3).value_or(DType::i64))}; },
    .effects = Effects::random,
    .sample = samples,
}};
static constexpr Op op_randint_like{{
    .schema = "randint_like(Tensor self, SymInt high, *, " LIKE_OPTIONS,
    .doc = "Uniform integers in [0, high) in the shape and dtype of self.",
    .expand = [](const Args& a) -> Vals { return {integers(a, a[0].shape(), 0, a.i(1), a.dtype(2).value_or(a[0].dtype()))}; },
    .effects = Effects::random,
    .sample = samples,
}};
static constexpr Op op_randint_like_low{{
    .schema = "randint_like.low_dtype(Tensor self, SymInt low, SymInt high, *, " LIKE_OPTIONS,
    .doc = "Uniform integers in [low, high) in the shape and dtype of self.",
    .expand = [](const Args& a) -> Vals { return {integers(a, a[0].shape(), a.i(1), a.i(2), a.dtype(3).value_or(a[0].dtype()))}; },
    .effects = Effects::random,
    .sample = samples,
}};

// --- distributions over a given tensor's shape

static Val unit(const Args& a) { return uniform_values(a.random_state(), a[0].shape(), compute_dtype(a[0].dtype()), 0); }
// In (0, 1]: logarithms stay finite.
static Val open_unit(const Args& a) {
  const Val u = unit(a);
  return like(u, 1) - u;
}
static constexpr Op op_uniform{{
    .schema = "uniform(Tensor self, float from=0, float to=1, *, Generator? generator=None) -> Tensor",
    .doc = "Uniform numbers in [from, to) in the shape of self.",
    .expand = [](const Args& a) -> Vals {
      require_float(a, a[0], "self");
      if (a.f(1) > a.f(2)) a.error("from must not exceed to", cat(a.f(1), " and ", a.f(2)));
      return {cast_like(unit(a) * (a.f(2) - a.f(1)) + a.f(1), a[0])};
    },
    .forms = Forms::both,
    .effects = Effects::random,
    .sample = samples,
}};
static constexpr Op op_normal{{
    .schema = "normal(Tensor self, float mean=0, float std=1, *, Generator? generator=None) -> Tensor",
    .doc = "Normal numbers in the shape of self.",
    .expand = [](const Args& a) -> Vals {
      check_spread(a, 2, true);
      require_float(a, a[0], "self");
      return {cast_like(normal_values(a.random_state(), a[0].shape(), compute_dtype(a[0].dtype())) * a.f(2) + a.f(1), a[0])};
    },
    .forms = Forms::in_place,
    .effects = Effects::random,
    .sample = samples,
}};
static Vals normal_of(const Args& a, Val mean, Val std) {
  const Val both[] = {mean, std};
  const Dims shape = broadcast_shapes(a.name(), mean.shape(), std.shape());
  const DType d = to_floating(result_dtype(both));
  return {cast(normal_values(a.random_state(), shape, compute_dtype(d)), d) * cast(std, d) + cast(mean, d)};
}
static constexpr Op op_normal_tt{{
    .schema = "normal.Tensor_Tensor(Tensor mean, Tensor std, *, Generator? generator=None) -> Tensor",
    .doc = "Normal numbers with a mean and a deviation for each element.",
    .expand = [](const Args& a) { return normal_of(a, a[0], a[1]); },
    .forms = Forms::out,
    .effects = Effects::random,
    .sample = samples,
}};
static constexpr Op op_normal_tf{{
    .schema = "normal.Tensor_float(Tensor mean, float std=1, *, Generator? generator=None) -> Tensor",
    .doc = "Normal numbers with a mean for each element.",
    .expand = [](const Args& a) {
      check_spread(a, 1, true); return normal_of(a, a[0], like(a[0], a.f(1))); },
    .forms = Forms::out,
    .effects = Effects::random,
    .sample = samples,
}};
static constexpr Op op_normal_ft{{
    .schema = "normal.float_Tensor(float mean, Tensor std, *, Generator? generator=None) -> Tensor",
    .doc = "Normal numbers with a deviation for each element.",
    .expand = [](const Args& a) { return normal_of(a, like(a[1], a.f(0)), a[1]); },
    .forms = Forms::out,
    .effects = Effects::random,
    .sample = samples,
}};
static constexpr Op op_normal_ff{{
    .schema = "normal.float_float(float mean, float std, SymInt[] size, *, Generator? generator=None, " OPTIONS,
    .doc = "Normal numbers.",
    .expand = [](const Args& a) -> Vals {
      check_spread(a, 1, true);
      const DType d = float_type(a, 4, default_float);
      require(a, is_float(d), "random numbers need a float dtype", cat(d), "a float dtype");
      return {cast(normal_values(a.random_state(), a.dims(2), compute_dtype(d)) * a.f(1) + a.f(0), d)};
    },
    .forms = Forms::out,
    .effects = Effects::random,
    .sample = samples,
}};
static constexpr Op op_exponential{{
    .schema = "exponential(Tensor self, float lambd=1, *, Generator? generator=None) -> Tensor",
    .doc = "Numbers of the exponential distribution with rate lambd.",
    .expand = [](const Args& a) -> Vals {
      check_spread(a, 1, false);
      require_float(a, a[0], "self");
      return {cast_like(log_val(open_unit(a)) * (-1 / a.f(1)), a[0])};
    },
    .forms = Forms::both,
    .effects = Effects::random,
    .sample = samples,
}};
static constexpr Op op_cauchy{{
    .schema = "cauchy(Tensor self, float median=0, float sigma=1, *, Generator? generator=None) -> Tensor",
    .doc = "Numbers of the Cauchy distribution.",
    .expand = [](const Args& a) -> Vals {
      check_spread(a, 2, false);
      require_float(a, a[0], "self");
      return {cast_like(map(Scalar::tan, (unit(a) - 0.5) * M_PI) * a.f(2) + a.f(1), a[0])};
    },
    .forms = Forms::both,
    .effects = Effects::random,
    .sample = samples,
}};
static constexpr Op op_log_normal{{
    .schema = "log_normal(Tensor self, float mean=1, float std=2, *, Generator? generator=None) -> Tensor",
    .doc = "Numbers whose logarithm is normal.",
    .expand = [](const Args& a) -> Vals {
      check_spread(a, 2, false);
      require_float(a, a[0], "self");
      return {cast_like(exp_val(normal_values(a.random_state(), a[0].shape(), compute_dtype(a[0].dtype())) * a.f(2) + a.f(1)), a[0])};
    },
    .forms = Forms::both,
    .effects = Effects::random,
    .sample = samples,
}};
static constexpr Op op_geometric{{
    .schema = "geometric(Tensor self, float p, *, Generator? generator=None) -> Tensor",
    .doc = "How many trials with success probability p it takes to succeed.",
    .expand = [](const Args& a) -> Vals {
      const double p = a.f(1);
      if (!(p > 0 && p < 1)) a.error("p must lie between 0 and 1", cat(p));
      const DType d = is_float(a[0].dtype()) ? compute_dtype(a[0].dtype()) : default_float;
      const Val u = uniform_values(a.random_state(), a[0].shape(), d, 0);
      return {cast_like(map(Scalar::ceil, log_val(like(u, 1) - u) / std::log1p(-p)), a[0])};
    },
    .forms = Forms::both,
    .effects = Effects::random,
    .sample = samples,
}};
static constexpr Op op_bernoulli{{
    .schema = "bernoulli(Tensor self, *, Generator? generator=None) -> Tensor",
    .doc = "1 with the probability that self says, else 0.",
    .expand = [](const Args& a) -> Vals {
      require_float(a, a[0], "self");
      return {cast_like(unit(a) < widen(a[0]), a[0])};
    },
    .forms = Forms::out,
    .effects = Effects::random,
    .sample = samples,
}};
static constexpr Op op_bernoulli_p{{
    .schema = "bernoulli.p(Tensor self, float p, *, Generator? generator=None) -> Tensor",
    .doc = "1 with probability p, else 0, in the shape of self.",
    .expand = [](const Args& a) -> Vals {
      check_probability(a, a.f(1));
      return {cast_like(random_keep(a.random_state(), a[0].shape(), a.f(1)), a[0])};
    },
    .effects = Effects::random,
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.of("dropout feature_dropout alpha_dropout feature_alpha_dropout", {"[3,4], 0.5, True", "[3,4], 0.3, False", "[2,3,4], 0, True"}).of("native_dropout", {"[3,4], 0.5, True", "[3,4], 0.5, False"}).of("native_dropout_backward", {"[3,4], bool[3,4], 2"})
      .refuses("dropout feature_dropout alpha_dropout feature_alpha_dropout native_dropout", {"[3,4], 1.5, True", "[3,4], -0.1, True"})
      .of("rand randn", {"[3,4]", "[], dtype=float64"}).refuses("rand randn", {"[-1]"}).of("randint", {"5, [3,4]", "3, [2], dtype=float32"}).refuses("randint", {"0, [3]", "-2, [3]"}).of("randint.low", {"2, 5, [3,4]"}).refuses("randint.low", {"5, 2, [3]"})
      .of("randint_like", {"[3,4], 5"}).of("randint_like.low_dtype", {"[3,4], 2, 5"}).refuses("randint_like", {"[3], 0"}).refuses("randint_like.low_dtype", {"[3], 5, 2"})
      .of("uniform", {"[3,4], 0, 2"}).refuses("uniform", {"[3], 2, 1"}).of("normal", {"[3,4], 1, 2"}).refuses("normal", {"[3], 0, -1"}).of("normal.Tensor_Tensor", {"[3,4], [4]:0.5..2"}).of("normal.Tensor_float", {"[3,4], 2"}).of("normal.float_Tensor", {"1, [3]:0.5..2"}).of("normal.float_float", {"1, 2, [3,4]"})
      .refuses("normal.Tensor_float", {"[3,4], -1"}).refuses("normal.float_float", {"0, -1, [3]"}).of("exponential", {"[3,4], 2"}).refuses("exponential", {"[3], -1"}).of("cauchy", {"[3,4], 1, 2"}).refuses("cauchy", {"[3], 0, -1"}).of("log_normal", {"[3,4], 0, 1"}).refuses("log_normal", {"[3], 0, -1"})
      .of("geometric", {"[3,4], 0.5"}).refuses("geometric", {"[3], 0", "[3], 1.5"}).of("bernoulli", {"[3,4]:0..1"}).of("bernoulli.p", {"[3,4], 0.3"}).refuses("bernoulli.p", {"[3], 1.5"}).of("prim::uniform", {"f32[3,4]"})
      .of("rrelu", {"[3,4]", "[3,4], 0.1, 0.3, True"});
}

static const Op* const random_ops[] = {
    &op_dropout, &op_native_dropout, &op_native_dropout_backward, &op_feature_dropout, &op_alpha_dropout, &op_feature_alpha_dropout,
    &op_uniform_like, &op_rand, &op_randn, &op_rand_like, &op_randn_like, &op_randint, &op_randint_low, &op_randint_like,
    &op_randint_like_low, &op_uniform, &op_normal, &op_normal_tt, &op_normal_tf, &op_normal_ft, &op_normal_ff, &op_exponential,
    &op_cauchy, &op_log_normal, &op_geometric, &op_bernoulli, &op_bernoulli_p};
OpFamily random_family() { return random_ops; }

}  // namespace phlox
