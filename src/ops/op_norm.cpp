// Normalisations. Forward and dX are each one chain of maps and reductions over the same dims, so that each becomes one
// row kernel; the statistics are results, which the gradient reads again.
#include "ops/composite.h"
#include "ops/staged.h"

namespace phlox {

static void samples(SampleBuilder& s);

namespace {
struct Standard { Val mean, rstd, hat; };  // statistics keep the reduced dims with size 1
}  // namespace

static Standard standardize(Val x, const Ints& dims, double eps) {
  const Val n = count_of(x, dims);
  const Val mu = sum(x, dims, true) / n, centred = x - mu;
  const Val rstd = map(Scalar::rsqrt, sum(centred * centred, dims, true) / n + eps);
  return {mu, rstd, centred * rstd};
}

// The gradient through standardize: g is that of hat.
static Val standardize_vjp(Val g, Val hat, Val rstd, const Ints& dims) {
  const Val n = count_of(hat, dims);
  return rstd * (g - (sum(g, dims, true) + hat * sum(g * hat, dims, true)) / n);
}

// The gradients of the statistics, where there are any: gradients of gradients ask for them. In the reduced dims' shape.
static Val add_statistics_vjp(Val dx, Val mean_grad, Val rstd_grad, Val hat, Val rstd, const Ints& dims) {
  const Val n = count_of(hat, dims);
  if (mean_grad) dx = dx + mean_grad / n;
  if (rstd_grad) dx = dx - rstd * rstd * hat * rstd_grad / n;
  return dx;
}
// The gradient of result i in float32 or wider, in another shape of as many elements; null where there is none.
static Val grad_as(const Vjp& v, int i, const Dims& shape) { return v.grad(i) ? reshape(widen(v.grad(i)), shape) : Val{}; }
static Val grad_or_zeros(const Vjp& v) { return v.grad() ? v.grad() : broadcast_to(like(v.out(), 0), v.out().shape()); }

static Val scale_shift(Val hat, Val weight, Val bias) {
  Val y = hat;
  if (weight) y = y * widen(weight);
  if (bias) y = y + widen(bias);
  return y;
}

// --- layer norm: input, normalized_shape, weight, bias, eps

static Ints normalized_dims(const Args& a) {
  const Val x = a[0];
  const Dims shape = a.dims(1);
  const int n = int(shape.size());
  require(a, n >= 1 && n <= x.rank(), "normalized_shape must name the last dimensions of the input", shape_text(shape), shape_of(x));
  Ints dims;
  for (int d = x.rank() - n; d < x.rank(); ++d) {
    if (!dim_eq(shape[d - (x.rank() - n)], x.shape()[d]))
      a.error("normalized_shape does not fit the input", cat(shape_text(shape), " for ", shape_of(x)), "the input's last sizes");
    dims.push_back(d);
  }
  return dims;
}

static constexpr Op op_native_layer_norm{{
    .schema = "native_layer_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight, Tensor? bias, float eps) -> (Tensor, Tensor, Tensor)",
    .doc = "(input - mean) * rstd * weight + bias over the last dimensions; also gives mean and rstd.",
    .type = type_by_expand,
    .expand = [](const Args& a) -> Vals {
      require_real(a, a[0], "input");
      const Standard s = standardize(widen(a[0]), normalized_dims(a), a.f(4));
      return {cast_like(scale_shift(s.hat, a.optional(2), a.optional(3)), a[0]), cast_like(s.mean, a[0]), cast_like(s.rstd, a[0])};
    },
    .vjp = [](Vjp& v) {
      const Args a = v.args();
      const Val x = widen(v.in(0)), g = widen(grad_or_zeros(v)), rstd = widen(v.out(2)), w = a.optional(2);
      const Ints dims = normalized_dims(a), outer = other_dims(x.rank(), dims);
      const Val hat = (x - widen(v.out(1))) * rstd;
      if (v.needs(0)) {
        const Val dx = standardize_vjp(w ? g * widen(w) : g, hat, rstd, dims);
        v.set(0, cast_like(add_statistics_vjp(dx, grad_as(v, 1, rstd.shape()), grad_as(v, 2, rstd.shape()), hat, rstd, dims), v.in(0)));
      }
      if (v.needs(2)) v.set(2, cast_like(sum(g * hat, outer), w));
      if (v.needs(3)) v.set(3, cast_like(sum(g, outer), v.in(3)));
    },
    .autocast = Autocast::f32,
    .sample = samples,
}};
static constexpr Op op_layer_norm{{
    .schema = "layer_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight=None, Tensor? bias=None, float eps=1e-05, "
              "bool cudnn_enable=True) -> Tensor",
    .doc = "Mean 0 and variance 1 over the last dimensions, then * weight + bias.",
    .expand = [](const Args& a) -> Vals {
      return {call(a.builder(), "native_layer_norm", {a.raw(0), a.raw(1), a.raw(2), a.raw(3), a.raw(4)})[0]};
    },
    .autocast = Autocast::f32,
    .sample = samples,
}};

// --- rms norm: input, normalized_shape, weight, eps

static double epsilon_of(DType d) {
  switch (d) {
    case DType::f64: return 2.220446049250313e-16;
    case DType::f16: return 0.0009765625;
    case DType::bf16: return 0.0078125;
    default: return 1.1920928955078125e-07;
  }
}
static constexpr Op op_fused_rms_norm{{
    .schema = "_fused_rms_norm(Tensor input, int[] normalized_shape, Tensor? weight, float? eps) -> (Tensor, Tensor)",
    .doc = "input * rstd * weight where rstd = 1 / sqrt(mean(input^2) + eps) over the last dimensions; also gives rstd.",
    .type = type_by_expand,
    .expand = [](const Args& a) -> Vals {
      require_real(a, a[0], "input");
      const Val x = widen(a[0]);
      const Ints dims = normalized_dims(a);
      const double eps = a.has(3) ? a.f(3) : epsilon_of(a[0].dtype());
      const Val rstd = map(Scalar::rsqrt, mean(x * x, dims, true) + eps);
      return {cast_like(scale_shift(x * rstd, a.optional(2), {}), a[0]), rstd};
    },
    .vjp = [](Vjp& v) {
      const Args a = v.args();
      const Val g = widen(grad_or_zeros(v)), rstd = v.out(1), hat = widen(v.in(0)) * rstd, w = a.optional(2);
      const Ints dims = normalized_dims(a);
      const Val gw = w ? g * widen(w) : g;
      if (v.needs(0)) {
        const Val dx = rstd * (gw - hat * mean(gw * hat, dims, true));
        v.set(0, cast_like(add_statistics_vjp(dx, {}, grad_as(v, 1, rstd.shape()), hat, rstd, dims), v.in(0)));
      }
      if (v.needs(2)) v.set(2, cast_like(sum(g * hat, other_dims(g.rank(), dims)), w));
    },
    .autocast = Autocast::f32,
    .sample = samples,
}};
static constexpr Op op_rms_norm{{
    .schema = "rms_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight=None, float? eps=None) -> Tensor",
    .doc = "input / sqrt(mean(input^2) + eps) over the last dimensions, then * weight; eps defaults to the dtype's epsilon.",
    .expand = [](const Args& a) -> Vals {
      if (is_complex(a[0].dtype())) {  // of input^2, not |input|^2
        const Val x = a[0];
        const double eps = a.has(3) ? a.f(3) : x.dtype() == DType::c128 ? epsilon_of(DType::f64) : epsilon_of(DType::f32);
        const Val y = x * map(Scalar::rsqrt, mean(x * x, normalized_dims(a), true) + eps);
        return {a.has(2) ? y * a[2] : y};
      }
      return {call(a.builder(), "_fused_rms_norm", {a.raw(0), a.raw(1), a.raw(2), a.raw(3)})[0]};
    },
    .autocast = Autocast::f32,
    .sample = samples,
}};

// --- batch norm: input, weight, bias, running_mean, running_var, training, momentum, eps

static Ints batch_dims(Val x) { return other_dims(x.rank(), {1}); }

static Val channel(Val v, Val x) { return along(widen(v), x.rank(), 1); }

static void check_channels(const Args& a, int count) {
  const Val x = a[0];
  require_real(a, x, "input");
  require(a, x.rank() >= 2, "input needs a batch and a channel dimension", shape_of(x));
  for (int i = 1; i <= count; ++i)
    if (a.has(i) && (a[i].rank() != 1 || !dim_eq(a[i].size(0), x.size(1))))
      a.error(cat("'", a.op().schema.params[size_t(i)].name, "' needs one number per channel"), shape_of(a[i]), cat("[", x.size(1), "]"));
}

// In training the running statistics that were given take those of the batch in. The first `count` results are the op's.
static bool update_running(StagedCall& c, int training, int count) {
  const auto& a = c.args;
  if (!a[size_t(training)].bits || a[3].is_none() || a[4].is_none() || c.sizes(a[0]).size() < 2) return false;
  const Arg args[] = {a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]};
  const std::vector<Arg> r = c.call("_native_batch_norm_legit_functional", args);
  c.assign(a[3], r[3]);
  c.assign(a[4], r[4]);
  c.results.assign(r.begin(), r.begin() + count);
  return true;
}
static constexpr Op op_native_batch_norm{{
    .schema = "native_batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, "
              "bool training, float momentum, float eps) -> (Tensor, Tensor, Tensor)",
    .doc = "Normalises each channel: by the statistics of the batch in training, which are also given (mean and rstd), and "
           "otherwise by the running ones, which training changes.",
    .type = type_by_expand,
    .expand = [](const Args& a) -> Vals {
      check_channels(a, 4);
      const Val x = widen(a[0]), w = a.optional(1), b = a.optional(2);
      // Statistics have the dtype of the input, or that of wider weights.
      const DType stats = w && !is_reduced_float(w.dtype()) ? x.dtype() : a[0].dtype();
      Val hat, mean, rstd;
      if (a.b(5)) {
        const Standard s = standardize(x, batch_dims(x), a.f(7));
        mean = cast(reshape(s.mean, {x.size(1)}), stats);
        rstd = cast(reshape(s.rstd, {x.size(1)}), stats);
        // As in ATen and in the gradient, 16-bit statistics count as they are given.
        hat = stats == x.dtype() ? s.hat : (x - channel(mean, x)) * channel(rstd, x);
      } else {
        require(a, a.has(3) && a.has(4), "running statistics are needed when not training", "None");
        hat = (x - channel(a[3], x)) * map(Scalar::rsqrt, channel(a[4], x) + a.f(7));
        mean = rstd = full(a.builder(), {0}, stats, 0);
      }
      if (w) hat = hat * channel(w, x);
      if (b) hat = hat + channel(b, x);
      return {cast_like(hat, a[0]), mean, rstd};
    },
    .staged = [](StagedCall& c) { return update_running(c, 5, 3); },
    .vjp = [](Vjp& v) {
      const Args a = v.args();
      const Val x = widen(v.in(0)), g = widen(grad_or_zeros(v)), w = a.optional(1);
      const bool training = a.b(5);
      const Val rstd = training ? channel(v.out(2), x) : map(Scalar::rsqrt, channel(a[4], x) + a.f(7));
      const Val hat = (x - channel(training ? v.out(1) : a[3], x)) * rstd;
      const Ints dims = batch_dims(x);
      if (v.needs(0)) {
        const Val gw = w ? g * channel(w, x) : g;
        Val dx = gw * rstd;
        if (training)
          dx = add_statistics_vjp(standardize_vjp(gw, hat, rstd, dims), v.grad(1) ? channel(v.grad(1), x) : Val{},
                                  v.grad(2) ? channel(v.grad(2), x) : Val{}, hat, rstd, dims);
        v.set(0, cast_like(dx, v.in(0)));
      }
      if (v.needs(1)) v.set(1, cast_like(sum(g * hat, dims), w));
      if (v.needs(2)) v.set(2, cast_like(sum(g, dims), v.in(2)));
    },
    .sample = samples,
}};

static Vals batch_norm_of(const Args& a, Arg running_mean, Arg running_var, int training) {
  return call(a.builder(), "native_batch_norm", {a.raw(0), a.raw(1), a.raw(2), running_mean, running_var, a.raw(training),
                                                 a.raw(training + 1), a.raw(training + 2)});
}
static constexpr Op op_batch_norm_legit{{
    .schema = "_native_batch_norm_legit(Tensor input, Tensor? weight, Tensor? bias, Tensor running_mean, Tensor running_var, "
              "bool training, float momentum, float eps) -> (Tensor, Tensor, Tensor)",
    .doc = "As native_batch_norm, with running statistics.",
    .expand = [](const Args& a) { return batch_norm_of(a, a.raw(3), a.raw(4), 5); },
    .staged = [](StagedCall& c) { return update_running(c, 5, 3); },
    .sample = samples,
}};
static constexpr Op op_batch_norm_no_stats{{
    .schema = "_native_batch_norm_legit.no_stats(Tensor input, Tensor? weight, Tensor? bias, bool training, float momentum, "
              "float eps) -> (Tensor, Tensor, Tensor)",
    .doc = "As native_batch_norm, without running statistics.",
    .expand = [](const Args& a) { return batch_norm_of(a, {}, {}, 3); },
    .sample = samples,
}};
static constexpr Op op_batch_norm_no_training{{
    .schema = "_native_batch_norm_legit_no_training(Tensor input, Tensor? weight, Tensor? bias, Tensor running_mean, "
              "Tensor running_var, float momentum, float eps) -> (Tensor, Tensor, Tensor)",
    .doc = "native_batch_norm by the running statistics.",
    .expand = [](const Args& a) {
      return call(a.builder(), "native_batch_norm",
                  {a.raw(0), a.raw(1), a.raw(2), a.raw(3), a.raw(4), Arg::of_bool(false), a.raw(5), a.raw(6)});
    },
    .sample = samples,
}};
static constexpr Op op_batch_norm_functional{{
    .schema = "_native_batch_norm_legit_functional(Tensor input, Tensor? weight, Tensor? bias, Tensor running_mean, "
              "Tensor running_var, bool training, float momentum, float eps) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    .doc = "native_batch_norm that also gives the new running statistics: (1 - momentum) * old + momentum * batch, with the "
           "unbiased variance.",
    .expand = [](const Args& a) -> Vals {
      Vals r = batch_norm_of(a, a.raw(3), a.raw(4), 5);
      if (!a.b(5)) {
        r.push_back(copy(a[3]));
        r.push_back(copy(a[4]));
        return r;
      }
      const Val x = stop_gradient(widen(a[0]));
      const Ints dims = batch_dims(x);
      const Val n = count_of(x, dims), mu = sum(x, dims, true) / n, centred = x - mu;
      const Val var = sum(centred * centred, dims) / (n - 1.0);
      const double m = a.f(6);
      auto blend = [&](Val old, Val now) { return cast_like(widen(old) * (1 - m) + now * m, old); };
      r.push_back(blend(a[3], reshape(mu, {x.size(1)})));
      r.push_back(blend(a[4], var));
      return r;
    },
    .sample = samples,
}};
static constexpr Op op_batch_norm{{
    .schema = "batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, bool training, "
              "float momentum, float eps, bool cudnn_enabled) -> Tensor",
    .doc = "Normalises each channel by the statistics of the batch in training, and otherwise by the running ones.",
    .expand = [](const Args& a) -> Vals {
      // Nothing to normalise; ATen lets such input have any rank.
      if (a[0].rank() < 2 && dim_eq(a[0].numel(), 0)) return {copy(a[0])};
      return {batch_norm_of(a, a.raw(3), a.raw(4), 5)[0]};
    },
    .staged = [](StagedCall& c) { return update_running(c, 5, 1); },
    .sample = samples,
}};
static constexpr Op op_batch_norm_with_update{{
    .schema = "_batch_norm_with_update(Tensor input, Tensor? weight, Tensor? bias, Tensor running_mean, Tensor running_var, "
              "float momentum, float eps) -> (Tensor, Tensor, Tensor, Tensor)",
    .doc = "native_batch_norm in training, with an empty last result.",
    .expand = [](const Args& a) -> Vals {
      Vals r = call(a.builder(), "native_batch_norm",
                    {a.raw(0), a.raw(1), a.raw(2), a.raw(3), a.raw(4), Arg::of_bool(true), a.raw(5), a.raw(6)});
      r.push_back(full(a.builder(), {0}, DType::u8, 0));
      return r;
    },
    .sample = samples,
}};

// --- group norm: input, weight, bias, N, C, HxW, group, eps

// [N, C, rest...] as [N, groups, C / groups, rest]; a vector over channels likewise.
static Val grouped(Val x, int64_t groups) {
  Dim rest = 1;
  for (int d = 2; d < x.rank(); ++d) rest = rest * x.shape()[d];
  return reshape(x, {x.size(0), groups, floordiv(x.size(1), groups), rest});
}
static Val grouped_channels(Val w, int64_t groups) { return reshape(widen(w), {1, groups, floordiv(w.size(0), groups), 1}); }

static constexpr Op op_native_group_norm{{
    .schema = "native_group_norm(Tensor input, Tensor? weight, Tensor? bias, SymInt N, SymInt C, SymInt HxW, int group, float eps) "
              "-> (Tensor, Tensor, Tensor)",
    .doc = "Normalises groups of channels of each sample, then * weight + bias per channel; also gives mean and rstd.",
    .type = type_by_expand,
    .expand = [](const Args& a) -> Vals {
      check_channels(a, 2);
      const int64_t groups = a.i(6);
      require(a, groups > 0 && dim_eq(mod(a[0].size(1), groups), 0), "the groups must divide the channels", cat(groups),
              cat("a divisor of ", a[0].size(1)));
      const Val x = grouped(widen(a[0]), groups);
      const Standard s = standardize(x, {2, 3}, a.f(7));
      Val y = s.hat;
      if (a.has(1)) y = y * grouped_channels(a[1], groups);
      if (a.has(2)) y = y + grouped_channels(a[2], groups);
      const Dims stats{x.size(0), groups};
      return {cast_like(reshape(y, a[0].shape()), a[0]), cast_like(reshape(s.mean, stats), a[0]), cast_like(reshape(s.rstd, stats), a[0])};
    },
    .vjp = [](Vjp& v) {
      const Args a = v.args();
      const int64_t groups = a.i(6);
      const Val x = grouped(widen(v.in(0)), groups), g = grouped(widen(grad_or_zeros(v)), groups), w = a.optional(1);
      const Dims stats{x.size(0), groups, 1, 1};
      const Val rstd = reshape(widen(v.out(2)), stats), hat = (x - reshape(widen(v.out(1)), stats)) * rstd;
      if (v.needs(0)) {
        const Val gw = w ? g * grouped_channels(w, groups) : g;
        const Val dx = add_statistics_vjp(standardize_vjp(gw, hat, rstd, {2, 3}), grad_as(v, 1, stats), grad_as(v, 2, stats), hat, rstd, {2, 3});
        v.set(0, cast_like(reshape(dx, v.in(0).shape()), v.in(0)));
      }
      if (v.needs(1)) v.set(1, cast_like(reshape(sum(g * hat, {0, 3}), w.shape()), w));
      if (v.needs(2)) v.set(2, cast_like(reshape(sum(g, {0, 3}), v.in(2).shape()), v.in(2)));
    },
    .autocast = Autocast::f32,
    .sample = samples,
}};
static Val group_norm_of(const Args& a, Arg weight, Arg bias, int64_t groups, double eps) {
  const Val x = a[0];
  Dim rest = 1;
  for (int d = 2; d < x.rank(); ++d) rest = rest * x.shape()[d];
  return call(*x.g, "native_group_norm", {arg_of(x), weight, bias, Arg::of_dim(x.size(0)), Arg::of_dim(x.size(1)), Arg::of_dim(rest),
                                          Arg::of_dim(groups), Arg::of_real(eps)})[0];
}
static constexpr Op op_group_norm{{
    .schema = "group_norm(Tensor input, int num_groups, Tensor? weight=None, Tensor? bias=None, float eps=1e-05, "
              "bool cudnn_enabled=True) -> Tensor",
    .doc = "Mean 0 and variance 1 over groups of channels of each sample, then * weight + bias per channel.",
    .expand = [](const Args& a) -> Vals {
      require(a, a[0].rank() >= 2, "input needs a batch and a channel dimension", shape_of(a[0]));
      return {group_norm_of(a, a.raw(2), a.raw(3), a.i(1), a.f(4))};
    },
    .autocast = Autocast::f32,
    .sample = samples,
}};
// Like a batch norm of each sample, whose 16-bit statistics count as they are given.
static Val narrow_instance_norm(const Args& a) {
  check_channels(a, 2);
  const DType d = a[0].dtype();
  const Val x = widen(a[0]);
  Ints dims;
  for (int k = 2; k < x.rank(); ++k) dims.push_back(k);
  const Standard s = standardize(x, dims, a.f(7));
  Val y = (x - rounded(s.mean, d)) * rounded(s.rstd, d);
  if (a.has(1)) y = y * channel(a[1], x);
  if (a.has(2)) y = y + channel(a[2], x);
  return cast(y, d);
}
static constexpr Op op_instance_norm{{
    .schema = "instance_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, "
              "bool use_input_stats, float momentum, float eps, bool cudnn_enabled) -> Tensor",
    .doc = "Normalises every channel of every sample by its own statistics, or by the running ones.",
    .expand = [](const Args& a) -> Vals {
      require(a, a[0].rank() >= 2, "input needs a batch and a channel dimension", shape_of(a[0]));
      if (!a.b(5))
        return {call(a.builder(), "native_batch_norm",
                     {a.raw(0), a.raw(1), a.raw(2), a.raw(3), a.raw(4), Arg::of_bool(false), a.raw(6), a.raw(7)})[0]};
      if (is_reduced_float(a[0].dtype())) return {narrow_instance_norm(a)};
      return {group_norm_of(a, a.raw(1), a.raw(2), dim_int(a[0].size(1), a.name()), a.f(7))};
    },
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.of("native_layer_norm", {"[3,4], [4], [4], [4], 1e-5", "[2,3,4], [3,4], None, None, 1e-5"}).of("layer_norm", {"[3,4], [4], [4], [4]", "[2,3,4], [3,4]", "[2,5], [5], [5]"}).refuses("layer_norm", {"[3,4], [3]", "[3,4], [4], [3]", "[3,4], []"}).refuses("native_layer_norm", {"[3,4], [3], None, None, 1e-5"})
      .of("_fused_rms_norm", {"[3,4], [4], [4], 1e-5"}).of("rms_norm", {"[3,4], [4], [4]", "[2,3,4], [3,4], None, 1e-5"}).refuses("rms_norm", {"[3,4], [3]", "[3,4], [4], [3]"})
      .of("native_batch_norm", {"[4,3,2], [3], [3], [3]!, [3]:0.5..2!, True, 0.1, 1e-5", "[4,3], [3], [3], [3]!, [3]:0.5..2!, False, 0.1, 1e-5"}).of("_native_batch_norm_legit", {"[4,3,2], [3], [3], [3]!, [3]:0.5..2!, False, 0.1, 1e-5"})
      .of("_native_batch_norm_legit.no_stats", {"[4,3,2], [3], [3], True, 0.1, 1e-5"}).of("_native_batch_norm_legit_no_training", {"[4,3,2], [3], [3], [3]!, [3]:0.5..2!, 0.1, 1e-5"}).of("_native_batch_norm_legit_functional", {"[4,3,2], [3], [3], [3]!, [3]:0.5..2!, True, 0.1, 1e-5"})
      .of("batch_norm", {"[4,3,2], [3], [3], [3]!, [3]:0.5..2!, True, 0.1, 1e-5, False", "[4,3], None, None, [3]!, [3]:0.5..2!, False, 0.1, 1e-5, False", "[4,3,2,2], [3], [3], None, None, True, 0.1, 1e-5, False"}).of("_batch_norm_with_update", {"[4,3,2], [3], [3], [3]!, [3]:0.5..2!, 0.1, 1e-5"})
      .refuses("batch_norm", {"[4,3], None, None, None, None, False, 0.1, 1e-5, False", "[4,3,2], [2], [3], None, None, True, 0.1, 1e-5, False", "[4], None, None, None, None, True, 0.1, 1e-5, False"})
      .of("native_group_norm", {"[2,4,3], [4], [4], 2, 4, 3, 2, 1e-5"}).of("group_norm", {"[2,4,3], 2, [4], [4]", "[2,6], 3"}).refuses("group_norm", {"[2,4,3], 3", "[2], 1", "[2,4,3], 2, [3]", "[2,4,3], 0"})
      .of("instance_norm", {"[2,3,4], [3], [3], None, None, True, 0.1, 1e-5, False", "[2,3,4], None, None, [3]!, [3]:0.5..2!, False, 0.1, 1e-5, False"})
      .no_gradients("_native_batch_norm_legit_functional");
}

static const Op* const norm_ops[] = {
    &op_native_layer_norm, &op_layer_norm, &op_fused_rms_norm, &op_rms_norm, &op_native_batch_norm, &op_batch_norm_legit,
    &op_batch_norm_no_stats, &op_batch_norm_no_training, &op_batch_norm_functional, &op_batch_norm, &op_batch_norm_with_update, &op_native_group_norm,
    &op_group_norm, &op_instance_norm};
OpFamily norm_family() { return norm_ops; }

}  // namespace phlox
