// Pooling whose windows follow from the size of the result, and its relatives: adaptive, fractional, unpooling.
#include "ops/indexing.h"
#include "ops/random.h"
#include "ops/windows.h"

namespace phlox {

static void samples(SampleBuilder& s);

namespace {
// The windows along one dim: result place o covers [start(o), start(o) + length(o)).
struct Spans {
  Val start, length;  // i64, [out]; or [lead..., out] where each sample and channel has windows of its own
  Dim most;           // no window is longer
};
}  // namespace

// From floor(o n / out) to ceil((o + 1) n / out).
static Spans adaptive_spans(Val x, Dim n, Dim out) {
  const Val o = iota_like({out}, 0, x), size = dim_value(*x.g, n, DType::i64);
  const Val start = floor_div(o * size, out);
  const Val end = floor_div((o + 1.0) * size + dim_value(*x.g, out - 1, DType::i64), out);
  return {start, end - start, dim_eq(mod(n, out), 0) ? floordiv(n, out) : floordiv(n, out) + 2};
}

static Dims target_size(const Args& a, Val x, int arg, int n) {
  require(a, x.rank() == n + 1 || x.rank() == n + 2, "input has the wrong rank", shape_of(x), cat("rank ", n + 1, " or ", n + 2));
  Dims out = a.dims(arg);
  if (out.size() == 1) out.resize(size_t(n), out[0]);
  require(a, int(out.size()) == n, "output_size needs one number per spatial dimension", cat(out.size()), cat(n));
  return out;
}

// x gathered at every window of its last n dims: [lead..., O..., K...], and which places are inside.
static Val at_spans(Val x, const std::vector<Spans>& spans, Val& inside, Val& flat) {
  const int n = int(spans.size()), lead = x.rank() - n, own = spans[0].start.rank() - 1;
  Dims shape;
  for (int d = 0; d < own; ++d) shape.push_back(x.shape()[d]);
  for (const Spans& s : spans) shape.push_back(s.start.size(-1));
  for (const Spans& s : spans) shape.push_back(s.most);
  std::vector<Val> index;
  Ints dims;
  for (int d = 0; d < own; ++d) {
    index.push_back(iota_like(shape, d, x));
    dims.push_back(d);
  }
  for (int s = 0; s < n; ++s) {
    auto placed = [&](Val v) {  // [own..., out] among all dims of the result
      Dims at(shape.size(), 1);
      for (int d = 0; d < own; ++d) at[size_t(d)] = shape[size_t(d)];
      at[size_t(own + s)] = v.size(-1);
      return reshape(v, at);
    };
    const Val k = iota_like(shape, own + n + s, x), start = placed(spans[s].start), length = placed(spans[s].length);
    const Val ok = broadcast_to(k < length, shape);
    inside = inside ? inside & ok : ok;
    // Places past the window repeat its start, which is always inside.
    const Val at = start + where(ok, k, full_int(*x.g, {}, DType::i64, 0));
    index.push_back(broadcast_to(at, shape));
    dims.push_back(lead + s);
    flat = flat ? flat * dim_value(*x.g, x.shape()[lead + s], DType::i64) + index.back() : index.back();
  }
  Val r = gather(x, index, dims);  // [O..., K..., lead...]
  if (own) return r;
  Ints perm;
  for (int d = 0; d < lead; ++d) perm.push_back(2 * n + d);
  for (int d = 0; d < 2 * n; ++d) perm.push_back(d);
  return permute(r, perm);
}

static Vals max_over(Val x, const std::vector<Spans>& spans) {
  const int n = int(spans.size()), lead = x.rank() - n;
  Val inside, flat;
  Val v = at_spans(stop_gradient(x), spans, inside, flat);
  const Val low = is_float(x.dtype()) ? like(x, -__builtin_inf()) : like(x, lowest_of(x.dtype()));
  v = where(inside, v, low);
  Ints k;
  for (int s = 0; s < n; ++s) k.push_back(lead + n + s);
  Val hit = equal(v, reduce(v, k, "max", true));
  if (is_float(x.dtype())) hit = hit | is_nan(v);
  const Val index = reduce(where(hit & inside, flat, full_int(*x.g, {}, DType::i64, INT64_MAX)), k, "min");
  // The values are read at the index, so that the gradient goes there.
  Dims merged;
  Dim all = 1, out = 1;
  for (int d = 0; d < lead; ++d) merged.push_back(x.shape()[d]);
  for (int s = 0; s < n; ++s) {
    all = all * x.shape()[lead + s];
    out = out * spans[s].start.size(-1);
  }
  Dims in = merged, flat_index = merged;
  in.push_back(all);
  flat_index.push_back(out);
  const Val best = gather_along(reshape(x, in), lead, reshape(index, flat_index));
  return {reshape(best, index.shape()), index};
}

template <int n>
static Vals adaptive_max(const Args& a) {
  const Val x = a[0];
  const Dims out = target_size(a, x, 1, n);
  std::vector<Spans> spans;
  for (int s = 0; s < n; ++s) spans.push_back(adaptive_spans(x, x.shape()[x.rank() - n + s], out[s]));
  return max_over(x, spans);
}
// As ATen does it for 16-bit volumes: each window is added up and divided in its own dtype, rounding at every step.
// Null where windows are so large that nobody wants that.
static Val narrow_averages(Val x, const Dims& out, DType d) {
  const int n = int(out.size()), lead = x.rank() - n;
  std::vector<Spans> spans;
  Dim taps = 1;
  for (int s = 0; s < n; ++s) {
    spans.push_back(adaptive_spans(x, x.size(lead + s), out[size_t(s)]));
    taps = taps * spans.back().most;
  }
  if (!dim_lt(taps, 65)) return {};
  Val inside, flat, total;
  Val windows = at_spans(x, spans, inside, flat);
  windows = where(inside, windows, like(windows, 0));
  Dims merged = windows.shape();
  merged.resize(size_t(lead + n));
  merged.push_back(taps);
  windows = reshape(windows, merged);
  for (int64_t k = 0, count = dim_int(taps, "adaptive_avg_pool3d"); k < count; ++k) {
    const Val v = select_index(windows, lead + n, k);
    total = total ? rounded(total + v, d) : v;
  }
  for (int s = 0; total && s < n; ++s) total = rounded(total / along(cast_like(spans[size_t(s)].length, total), lead + n, lead + s), d);
  return total;
}
template <int n>
static Vals adaptive_avg(const Args& a) {
  Val x = widen(a[0]);
  require_float(a, x, "self");
  const Dims out = target_size(a, x, 1, n);
  if (n == 3 && is_reduced_float(a[0].dtype())) if (const Val r = narrow_averages(x, out, a[0].dtype())) return {cast_like(r, a[0])};
  for (int s = 0; s < n; ++s) {
    const int d = x.rank() - n + s;
    const Dim size = x.shape()[d];
    if (out[s].is(1)) { x = mean(x, {d}, true); continue; }
    if (dim_eq(mod(size, out[s]), 0) && !dim_eq(size, 0)) {
      const Dim k = floordiv(size, out[s]);
      Dims split = x.shape();
      split[d] = out[s];
      split.insert(size_t(d) + 1, k);
      x = mean(reshape(x, split), {d + 1});
      continue;
    }
    Val inside, flat;
    const Spans spans = adaptive_spans(x, size, out[s]);
    Ints back;  // bring the pooled dim to the end and home again
    for (int k = 0; k < x.rank(); ++k) if (k != d) back.push_back(k);
    back.push_back(d);
    const Val windows = at_spans(permute(x, back), {spans}, inside, flat);
    const Val total = sum(where(inside, windows, like(x, 0)), {windows.rank() - 1}) / cast(spans.length, x.dtype());
    Ints home(back.size());
    for (size_t k = 0; k < back.size(); ++k) home[back[k]] = int64_t(k);
    x = permute(total, home);
  }
  return {cast_like(x, a[0])};
}

#define ADAPTIVE(n)                                                                                                      \
  static constexpr Op op_adaptive_max_pool##n##d{{                                                                       \
      .schema = "adaptive_max_pool" #n "d(Tensor self, int[" #n "] output_size) -> (Tensor, Tensor)",                    \
      .doc = "The maximum of each of output_size windows that cover the input, and its position.",                       \
      .expand = adaptive_max<n>, .sample = samples}};                                                                                       \
  static constexpr Op op_adaptive_avg_pool##n##d{{                                                                       \
      .schema = "adaptive_avg_pool" #n "d(Tensor self, SymInt[" #n "] output_size) -> Tensor",                           \
      .doc = "The mean of each of output_size windows that cover the input.",                                            \
      .expand = adaptive_avg<n>, .forms = Forms::out, .sample = samples}};
ADAPTIVE(1)
ADAPTIVE(2)
ADAPTIVE(3)
static constexpr Op op_adaptive_avg_pool2d_inner{{
    .schema = "_adaptive_avg_pool2d(Tensor self, SymInt[2] output_size) -> Tensor",
    .doc = "Same as adaptive_avg_pool2d.",
    .expand = adaptive_avg<2>,
    .sample = samples,
}};
static constexpr Op op_adaptive_avg_pool3d_inner{{
    .schema = "_adaptive_avg_pool3d(Tensor self, SymInt[3] output_size) -> Tensor",
    .doc = "Same as adaptive_avg_pool3d.",
    .expand = adaptive_avg<3>,
    .sample = samples,
}};

// --- fractional: windows of one size at starts that a random number shifts

template <int n>
static Vals fractional_max(const Args& a) {
  const Val x = a[0];
  const Ints k = per_dim(a, 1, n);
  const Dims out = target_size(a, x, 2, n);
  // random_samples[N, C, n]: a place for the windows of each sample and channel.
  const Val samples = a[3];
  const bool batch = x.rank() == n + 2;
  require(a, samples.rank() == 3 && dim_eq(samples.size(2), n) && dim_eq(samples.size(0), batch ? x.size(0) : 1) &&
          dim_eq(samples.size(1), x.size(batch ? 1 : 0)), "random_samples does not fit the input", shape_of(samples), "[samples, channels, dims]");
  const Val u = cast(batch ? samples : select_index(samples, 0, 0), widen(x).dtype());
  std::vector<Spans> spans;
  for (int s = 0; s < n; ++s) {
    const Dim size = x.shape()[x.rank() - n + s];
    if (dim_lt(size, out[s] + k[s] - 1)) a.error("the windows do not fit into the input", shape_of(x));
    Dims shape = x.shape();
    shape.resize(size_t(x.rank() - n));
    shape.push_back(out[s]);
    const Val o = iota_like(shape, int(shape.size()) - 1, x), length = broadcast_to(full_int(*x.g, {}, DType::i64, k[s]), shape);
    const Val last = dim_value(*x.g, size - k[s], DType::i64);
    Val start = broadcast_to(last, shape);
    if (!dim_eq(out[s], 1)) {
      const Val alpha = cast(last, u.dtype()) / cast(dim_value(*x.g, out[s] - 1, DType::i64), u.dtype());
      // The random numbers are in the order of the last dim first.
      const Val shift = broadcast_to(slice(u, u.rank() - 1, n - 1 - s, 1), shape);
      const Val place = map(Scalar::floor, (cast(o, u.dtype()) + shift) * alpha) - map(Scalar::floor, shift * alpha);
      start = where(equal(o, dim_value(*x.g, out[s] - 1, DType::i64)), last, cast(place, DType::i64));
    }
    spans.push_back({start, length, k[s]});
  }
  return max_over(x, spans);
}
static constexpr Op op_fractional_max_pool2d{{
    .schema = "fractional_max_pool2d(Tensor self, int[2] kernel_size, int[2] output_size, Tensor random_samples) -> (Tensor, Tensor)",
    .doc = "Maxima of windows at pseudo-random starts that cover the input, and their positions.",
    .expand = fractional_max<2>,
    .sample = samples,
}};
static constexpr Op op_fractional_max_pool3d{{
    .schema = "fractional_max_pool3d(Tensor self, int[3] kernel_size, int[3] output_size, Tensor random_samples) -> (Tensor, Tensor)",
    .doc = "Maxima of windows at pseudo-random starts that cover the input, and their positions.",
    .expand = fractional_max<3>,
    .sample = samples,
}};

// --- unpooling

static Val unpool(const Args& a, int n) {
  const Val x = a[0], index = index_values(a, 1);
  const Dims out = target_size(a, x, 2, n);
  require(a, x.shape() == index.shape(), "indices must have the shape of self", shape_of(index), shape_of(x));
  const int lead = x.rank() - n;
  Dims flat, base, shape;
  for (int d = 0; d < lead; ++d) for (Dims* s : {&flat, &base, &shape}) s->push_back(x.shape()[d]);
  Dim from = 1, to = 1;
  for (int s = 0; s < n; ++s) {
    from = from * x.shape()[lead + s];
    to = to * out[s];
    shape.push_back(out[s]);
  }
  flat.push_back(from);
  base.push_back(to);
  return reshape(scatter_along(full(*x.g, base, x.dtype(), 0), lead, reshape(index, flat), reshape(x, flat), ScatterMode::set), shape);
}
static constexpr Op op_max_unpool2d{{
    .schema = "max_unpool2d(Tensor self, Tensor indices, SymInt[2] output_size) -> Tensor",
    .doc = "The values of self put where max_pool2d found them, zeros elsewhere.",
    .expand = [](const Args& a) -> Vals { return {unpool(a, 2)}; },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_max_unpool3d{{
    .schema = "max_unpool3d(Tensor self, Tensor indices, SymInt[3] output_size, int[3] stride, int[3] padding) -> Tensor",
    .doc = "The values of self put where max_pool3d found them, zeros elsewhere.",
    .expand = [](const Args& a) -> Vals { return {unpool(a, 3)}; },
    .forms = Forms::out,
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.of("adaptive_max_pool1d", {"[2,3,7]:distinct, [3]", "[3,5]:distinct, [2]"}).of("adaptive_avg_pool1d", {"[2,3,7], [3]", "[3,5], [2]"}).of("adaptive_max_pool2d", {"[2,3,5,4]:distinct, [2,3]", "[3,4,4]:distinct, [2,2]"}).of("adaptive_avg_pool2d _adaptive_avg_pool2d", {"[2,3,5,4], [2,3]", "[3,4,4], [2,2]"}).of("adaptive_max_pool3d", {"[1,2,4,3,5]:distinct, [2,2,3]"}).of("adaptive_avg_pool3d _adaptive_avg_pool3d", {"[1,2,4,3,5], [2,2,3]"})
      .refuses("adaptive_max_pool1d adaptive_avg_pool1d", {"[7], [3]", "[2,3,7], [-1]"}).refuses("adaptive_max_pool2d adaptive_avg_pool2d", {"[5,4], [2,3]", "[2,3,5,4], [-1,2]"}).refuses("adaptive_max_pool3d adaptive_avg_pool3d", {"[5,4], [2,3,2]"})
      .of("fractional_max_pool2d", {"[2,3,6,6]:distinct, [2,2], [3,3], [2,3,2]:0.1..0.9!"}).of("fractional_max_pool3d", {"[1,2,5,5,5]:distinct, [2,2,2], [2,2,2], [1,2,3]:0.1..0.9!"}).refuses("fractional_max_pool2d", {"[2,3,6,6], [2,2], [7,3], [2,3,2]:0..1", "[6,6], [2,2], [3,3], [2,3,2]:0..1"})
      .of("max_unpool2d", {"[1,2,2,2], i64[1,2,2,2]=0|2|8|10, [4,4]"}).of("max_unpool3d", {"[1,1,2,2,2], i64[1,1,2,2,2]=0|2|8|10|32|34|40|42, [4,4,4], [2,2,2], [0,0,0]"}).refuses("max_unpool2d", {"[1,2,2,2], i64[1,2,2,3]=0, [4,4]", "[1,2,2,2], i64[1,2,2,2]=0|2|8|99, [4,4]"});
}

static const Op* const adaptive_pool_ops[] = {
    &op_adaptive_max_pool1d, &op_adaptive_avg_pool1d, &op_adaptive_max_pool2d, &op_adaptive_avg_pool2d, &op_adaptive_max_pool3d,
    &op_adaptive_avg_pool3d, &op_adaptive_avg_pool2d_inner, &op_adaptive_avg_pool3d_inner, &op_fractional_max_pool2d,
    &op_fractional_max_pool3d, &op_max_unpool2d, &op_max_unpool3d};
OpFamily adaptive_pool_family() { return adaptive_pool_ops; }

}  // namespace phlox
