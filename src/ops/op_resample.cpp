// Resampling of images: nearest, linear and cubic interpolation, with and without antialiasing, dim by dim.
#include <cmath>

#include "ops/indexing.h"

namespace phlox {

static void samples(SampleBuilder& s);

namespace {
enum class Kind { nearest, nearest_exact, linear, cubic };
}  // namespace

// Input position of result place o, in the dtype of the weights.
static Val source(Val o, Dim in, Dim out, double scale, bool align) {
  const DType d = o.dtype();
  if (align) {
    if (dim_le(out, 1)) return o * 0.0;
    return o * (dim_value(*o.g, in - 1, d) / dim_value(*o.g, out - 1, d));
  }
  const Val ratio = scale > 0 ? like(o, 1 / scale) : dim_value(*o.g, in, d) / dim_value(*o.g, out, d);
  return (o + 0.5) * ratio - 0.5;
}

static Val limited(Val i, Dim n) {
  return minimum(maximum(i, full_int(*i.g, {}, DType::i64, 0)), dim_value(*i.g, n - 1, DType::i64));
}

// The cubic convolution kernel with a = -0.75 at distance t in [0, 1] and 1 + t.
static Val cubic_near(Val t) { return ((t * 1.25 - 2.25) * t) * t + 1.0; }
static Val cubic_far(Val t) {
  const Val u = t + 1.0;
  return ((u * -0.75 + 3.75) * u - 6.0) * u + 3.0;
}

// One dim of x resampled to `out` places. scale 0: from the sizes. `kept`: the dtype that weights are kept in.
static Val resample(Val x, int dim, Dim out, double scale, Kind kind, bool align, DType kept) {
  const Dim in = x.shape()[dim];
  const DType d = x.dtype();
  if (kind == Kind::nearest || kind == Kind::nearest_exact) {
    const Val o = iota_like({out}, 0, x, DType::f32);
    const Val ratio = scale > 0 ? like(o, 1 / scale) : dim_value(*x.g, in, DType::f32) / dim_value(*x.g, out, DType::f32);
    const Val at = (kind == Kind::nearest ? o : o + 0.5) * ratio;
    return pick(x, dim, limited(cast(map(Scalar::floor, at), DType::i64), in));
  }
  const Val o = iota_like({out}, 0, x, d);
  Val at = source(o, in, out, scale, align);
  if (kind == Kind::linear) at = maximum(at, like(at, 0));
  const Val base = map(Scalar::floor, at), i = cast(base, DType::i64);
  auto tap = [&](int64_t k) { return pick(x, dim, limited(i + double(k), in)); };
  auto weight = [&](Val w) { return along(rounded(w, kept), x.rank(), dim); };
  if (kind == Kind::linear) {
    const Val t = rounded(at - base, kept);
    return tap(0) * weight(1.0 - t) + tap(1) * weight(t);
  }
  const Val t = at - base, u = 1.0 - t;
  return tap(-1) * weight(cubic_far(t)) + tap(0) * weight(cubic_near(t)) + tap(1) * weight(cubic_near(u)) + tap(2) * weight(cubic_far(u));
}

// Antialiased: a matrix of weights, [out, in], normalised by row.
static Val antialiased(Val x, int dim, Dim out, double scale, bool cubic, bool align) {
  const Dim in = x.shape()[dim];
  const Dims shape{out, in};
  const DType d = x.dtype();
  const Val o = iota_like(shape, 0, x, d), i = iota_like(shape, 1, x, d);
  const Val n = dim_value(*x.g, in, d), m = dim_value(*x.g, out, d);
  Val ratio;
  if (align) ratio = dim_le(out, 1) ? like(x, 0) : (n - 1.0) / (m - 1.0);
  else ratio = scale > 0 ? like(x, 1 / scale) : n / m;
  const Val wide = maximum(ratio, like(x, 1)), center = ratio * (o + 0.5), reach = wide * (cubic ? 2.0 : 1.0);
  const Val first = maximum(map(Scalar::floor, center - reach + 0.5), like(x, 0));
  const Val last = minimum(map(Scalar::floor, center + reach + 0.5), n);
  const Val t = map(Scalar::abs, (i - center + 0.5) / wide);
  Val w;
  if (cubic) {  // a = -0.5
    const Val near = (t * 1.5 - 2.5) * t * t + 1.0, far = ((t * -0.5 + 2.5) * t - 4.0) * t + 2.0;
    w = where(t < like(t, 1), near, where(t < like(t, 2), far, like(t, 0)));
  } else {
    w = maximum(1.0 - t, like(t, 0));
  }
  w = where((i >= first) & (i < last), w, like(w, 0));
  w = w / sum(w, {1}, true);
  const Val r = contract(x, w, {}, {}, {dim}, {1});  // the new dim comes last
  Ints perm;
  for (int k = 0; k < x.rank(); ++k) perm.push_back(k < dim ? k : k == dim ? x.rank() - 1 : k - 1);
  return permute(r, perm);
}

namespace {
struct NewSize { Dims size; std::vector<double> scale; };
}  // namespace

static double real_at(const Arg& x) { return x.kind == ArgKind::real ? x.real : double(x.as_dim().value()); }

// output_size or scale_factors: exactly one is given.
static NewSize target_of(const Args& a, int n, int size_arg, int scale_arg) {
  const Val x = a[0];
  require(a, x.rank() == n + 2, "input must have a batch and a channel dimension", shape_of(x), cat("rank ", n + 2));
  require(a, a.has(size_arg) != a.has(scale_arg), "give either output_size or scale_factors");
  NewSize t;
  if (a.has(size_arg)) {
    t.size = a.dims(size_arg);
    t.scale.assign(size_t(n), 0);
  } else {
    for (const Arg& f : a.raw(scale_arg).items()) {
      t.scale.push_back(real_at(f));
      t.size.push_back(int64_t(std::floor(double(dim_int(x.size(2 + int(t.size.size())), a.name())) * t.scale.back())));
    }
  }
  require(a, int(t.size.size()) == n, "one number per spatial dimension is needed", cat(t.size.size()), cat(n));
  return t;
}
// output_size and one optional scale per dim from `scale_arg` on.
static NewSize sized_target(const Args& a, int n, int scale_arg) {
  NewSize t{a.dims(1), {}};
  require(a, a[0].rank() == n + 2, "input must have a batch and a channel dimension", shape_of(a[0]), cat("rank ", n + 2));
  require(a, int(t.size.size()) == n, "one number per spatial dimension is needed", cat(t.size.size()), cat(n));
  for (int s = 0; s < n; ++s) t.scale.push_back(a.has(scale_arg + s) ? a.f(scale_arg + s) : 0);
  return t;
}

static Vals resampled(const Args& a, int n, const NewSize& t, Kind kind, bool align, bool antialias = false) {
  for (int s = 0; s < n; ++s)
    if (!dim_lt(0, t.size[s]) || dim_eq(a[0].size(2 + s), 0))
      a.error("input and output need elements along every spatial dimension", cat(shape_of(a[0]), " to ", shape_text(t.size)), "sizes above 0");
  const bool exact = kind == Kind::nearest || kind == Kind::nearest_exact;
  if (!exact) require(a, is_float(a[0].dtype()) || a[0].dtype() == DType::u8, "interpolation needs a float dtype", cat(a[0].dtype()));
  const bool bytes = !exact && a[0].dtype() == DType::u8;
  Val x = bytes ? cast(a[0], DType::f32) : exact ? a[0] : widen(a[0]);
  // ATen keeps 16-bit weights, but for the linear interpolation of images.
  const DType kept = bytes || (kind == Kind::linear && n == 2) ? x.dtype() : a[0].dtype();
  for (int s = n; s-- > 0;) {
    const int d = 2 + s;
    if (antialias) x = antialiased(x, d, t.size[s], t.scale[s], kind == Kind::cubic, align);
    else x = resample(x, d, t.size[s], t.scale[s], kind, align, kept);
    if (bytes) x = clamp(map(Scalar::floor, x + 0.5), 0, 255);  // images of bytes are bytes after every dim
  }
  return {cast_like(x, a[0])};
}

#define UPSAMPLE_NEAREST(name, n, kind, scales, text)                                                                   \
  static constexpr Op op_##name##n##d_vec{{                                                                             \
      .schema = #name #n "d.vec(Tensor input, SymInt[]? output_size, float[]? scale_factors) -> Tensor",                \
      .doc = text,                                                                                                      \
      .expand = [](const Args& a) { return resampled(a, n, target_of(a, n, 1, 2), kind, false); }, .sample = samples}};                    \
  static constexpr Op op_##name##n##d{{                                                                                 \
      .schema = #name #n "d(Tensor self, SymInt[" #n "] output_size, " scales ") -> Tensor",                            \
      .doc = text,                                                                                                      \
      .expand = [](const Args& a) { return resampled(a, n, sized_target(a, n, 2), kind, false); }, .forms = Forms::out, .sample = samples}};
#define UPSAMPLE_SMOOTH(name, n, kind, aa, scales, text)                                                                \
  static constexpr Op op_##name##_vec{{                                                                                 \
      .schema = #name ".vec(Tensor input, SymInt[]? output_size, bool align_corners, float[]? scale_factors) -> Tensor", \
      .doc = text,                                                                                                      \
      .expand = [](const Args& a) { return resampled(a, n, target_of(a, n, 1, 3), kind, a.b(2), aa); }, .sample = samples}};               \
  static constexpr Op op_##name{{                                                                                       \
      .schema = #name "(Tensor self, SymInt[" #n "] output_size, bool align_corners, " scales ") -> Tensor",            \
      .doc = text,                                                                                                      \
      .expand = [](const Args& a) { return resampled(a, n, sized_target(a, n, 3), kind, a.b(2), aa); }, .forms = Forms::out, .sample = samples}};
#define SCALES1 "float? scales=None"
#define SCALES2 "float? scales_h=None, float? scales_w=None"
#define SCALES3 "float? scales_d=None, float? scales_h=None, float? scales_w=None"
UPSAMPLE_NEAREST(upsample_nearest, 1, Kind::nearest, SCALES1, "The nearest input element, rounding its position down.")
UPSAMPLE_NEAREST(upsample_nearest, 2, Kind::nearest, SCALES2, "The nearest input element, rounding its position down.")
UPSAMPLE_NEAREST(upsample_nearest, 3, Kind::nearest, SCALES3, "The nearest input element, rounding its position down.")
UPSAMPLE_NEAREST(_upsample_nearest_exact, 1, Kind::nearest_exact, SCALES1, "The input element whose centre is nearest.")
UPSAMPLE_NEAREST(_upsample_nearest_exact, 2, Kind::nearest_exact, SCALES2, "The input element whose centre is nearest.")
UPSAMPLE_NEAREST(_upsample_nearest_exact, 3, Kind::nearest_exact, SCALES3, "The input element whose centre is nearest.")
UPSAMPLE_SMOOTH(upsample_linear1d, 1, Kind::linear, false, SCALES1, "Linear interpolation.")
UPSAMPLE_SMOOTH(upsample_bilinear2d, 2, Kind::linear, false, SCALES2, "Linear interpolation in both dimensions.")
UPSAMPLE_SMOOTH(upsample_trilinear3d, 3, Kind::linear, false, SCALES3, "Linear interpolation in three dimensions.")
UPSAMPLE_SMOOTH(upsample_bicubic2d, 2, Kind::cubic, false, SCALES2, "Cubic interpolation in both dimensions.")
UPSAMPLE_SMOOTH(_upsample_bilinear2d_aa, 2, Kind::linear, true, SCALES2, "Linear interpolation that averages when it shrinks.")
UPSAMPLE_SMOOTH(_upsample_bicubic2d_aa, 2, Kind::cubic, true, SCALES2, "Cubic interpolation that averages when it shrinks.")

// --- samples

static void samples(SampleBuilder& s) {
  s.of("upsample_nearest1d.vec _upsample_nearest_exact1d.vec", {"[1,2,4], [7], None", "[1,2,5], None, [1.5]"}).of("upsample_nearest1d _upsample_nearest_exact1d", {"[1,2,4], [7]", "[2,1,5], [3], 0.6"}).of("upsample_nearest2d.vec _upsample_nearest_exact2d.vec", {"[1,2,3,4], [5,3], None", "[1,2,3,4], None, [2,1.5]"}).of("upsample_nearest2d _upsample_nearest_exact2d", {"[1,2,3,4], [5,3]"})
      .of("upsample_nearest3d.vec _upsample_nearest_exact3d.vec", {"[1,1,2,3,3], [3,2,4], None"}).of("upsample_nearest3d _upsample_nearest_exact3d", {"[1,1,2,3,3], [3,2,4]"}).of("upsample_linear1d.vec", {"[1,2,4], [7], False, None", "[1,2,5], None, True, [1.5]"}).of("upsample_linear1d", {"[1,2,4], [7], False", "[2,1,5], [3], True"})
      .of("upsample_bilinear2d.vec upsample_bicubic2d.vec _upsample_bilinear2d_aa.vec _upsample_bicubic2d_aa.vec", {"[1,2,4,5], [6,3], False, None", "[1,2,4,4], None, True, [1.5,0.75]"}).of("upsample_bilinear2d upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa", {"[1,2,4,5], [6,3], False", "[1,2,4,4], [3,6], True"}).of("upsample_trilinear3d.vec", {"[1,1,2,3,4], [3,2,5], False, None"}).of("upsample_trilinear3d", {"[1,1,2,3,4], [3,2,5], True"})
      .refuses("upsample_nearest1d.vec upsample_nearest2d.vec upsample_nearest3d.vec _upsample_nearest_exact1d.vec _upsample_nearest_exact2d.vec _upsample_nearest_exact3d.vec", {"[1,2,4], None, None", "[4], [7], None", "[1,2,4], [0], None"}).refuses("upsample_nearest1d upsample_nearest2d upsample_nearest3d", {"[4], [7]", "[1,2,4], [-3]"})
      .refuses("upsample_bilinear2d upsample_bicubic2d upsample_linear1d upsample_trilinear3d", {"[4], [7], False", "[1,2,4,4], [0,3], False"});
}

static const Op* const resample_ops[] = {
    &op_upsample_nearest1d_vec, &op_upsample_nearest1d, &op_upsample_nearest2d_vec, &op_upsample_nearest2d, &op_upsample_nearest3d_vec,
    &op_upsample_nearest3d, &op__upsample_nearest_exact1d_vec, &op__upsample_nearest_exact1d, &op__upsample_nearest_exact2d_vec,
    &op__upsample_nearest_exact2d, &op__upsample_nearest_exact3d_vec, &op__upsample_nearest_exact3d, &op_upsample_linear1d_vec,
    &op_upsample_linear1d, &op_upsample_bilinear2d_vec, &op_upsample_bilinear2d, &op_upsample_trilinear3d_vec, &op_upsample_trilinear3d,
    &op_upsample_bicubic2d_vec, &op_upsample_bicubic2d, &op__upsample_bilinear2d_aa_vec, &op__upsample_bilinear2d_aa,
    &op__upsample_bicubic2d_aa_vec, &op__upsample_bicubic2d_aa};
OpFamily resample_family() { return resample_ops; }

}  // namespace phlox
