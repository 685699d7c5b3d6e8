// Padding, and the rearrangements of image pixels: pixel_shuffle, im2col.
#include "ops/indexing.h"
#include "ops/windows.h"

namespace phlox {

static void samples(SampleBuilder& s);

// --- padding: amounts for the last dims, last dim first, low and high of each

namespace {
struct Amounts { Dims low, high; };  // per dim of the tensor
}  // namespace

static Amounts amounts(const Args& a, Val x, int arg) {
  const Dims p = a.dims(arg);
  require(a, p.size() % 2 == 0 && int(p.size()) <= 2 * x.rank(), "padding needs two numbers for each of the last dimensions", cat(p.size(), " numbers"));
  Amounts r{Dims(size_t(x.rank())), Dims(size_t(x.rank()))};
  for (size_t k = 0; 2 * k < p.size(); ++k) {
    r.low[x.rank() - 1 - k] = p[2 * k];
    r.high[x.rank() - 1 - k] = p[2 * k + 1];
  }
  for (int d = 0; d < x.rank(); ++d) {
    const Dim n = x.shape()[d] + r.low[d] + r.high[d];
    if (n.is_const() && n.value() < 0) a.error("negative padding takes away more than there is", shape_of(x));
  }
  return r;
}

static Val constant_pad(const Args& a, Val x, int arg, double value, bool has_value) {
  const Amounts p = amounts(a, x, arg);
  const Val padded = pad(x, p.low, p.high);
  if (!has_value || value == 0) return padded;
  // pad gives zeros: where the padded ones are zero stands the value.
  const Val inside = pad(full_int(*x.g, x.shape(), DType::boolean, 1), p.low, p.high);
  return where(inside, padded, like(x, value));
}
enum class Border { reflect, replicate, circular };

// Which element stands at each place of the padded dim.
static Val border_source(Val x, Dim n, Dim low, Dim total, Border border) {
  const Val zero = full_int(*x.g, {}, DType::i64, 0), last = dim_value(*x.g, n - 1, DType::i64);
  const Val at = iota_like({total}, 0, x) - dim_value(*x.g, low, DType::i64);
  if (border == Border::replicate) return minimum(maximum(at, zero), last);
  if (border == Border::circular) return map(Scalar::floormod, at, broadcast_to(dim_value(*x.g, n, DType::i64), at.shape()));
  const Val up = map(Scalar::abs, at);
  return last - map(Scalar::abs, last - up);
}
static Val bordered(const Args& a, Val x, int arg, Border border) {
  Amounts p = amounts(a, x, arg);
  if (border == Border::circular)  // what is cropped does not come back at the other end
    for (int d = 0; d < x.rank(); ++d) {
      const Dim low = dim_lt(p.low[d], 0) ? Dim(0) - p.low[d] : Dim(0), high = dim_lt(p.high[d], 0) ? Dim(0) - p.high[d] : Dim(0);
      x = slice(x, d, low, x.shape()[d] - low - high);
      p.low[d] = p.low[d] + low;
      p.high[d] = p.high[d] + high;
    }
  for (int d = 0; d < x.rank(); ++d) {
    const Dim n = x.shape()[d];
    if (p.low[d].is(0) && p.high[d].is(0)) continue;
    if (border == Border::reflect && (dim_le(n, p.low[d]) || dim_le(n, p.high[d])))
      a.error("reflected borders must be smaller than the dimension", shape_of(x), cat("less than ", n));
    if (border == Border::circular && (dim_lt(n, p.low[d]) || dim_lt(n, p.high[d])))
      a.error("circular borders must not be larger than the dimension", shape_of(x), cat("at most ", n));
    if (dim_eq(n, 0)) a.error("there is nothing to repeat at the borders", shape_of(x));
    x = pick(x, d, border_source(x, n, p.low[d], n + p.low[d] + p.high[d], border));
  }
  return x;
}

static constexpr Op op_pad{{
    .schema = "pad(Tensor self, SymInt[] pad, str mode='constant', float? value=None) -> Tensor",
    .doc = "self between borders: constant, reflect, replicate or circular.",
    .expand = [](const Args& a) -> Vals {
      const std::string_view mode = a.s(2);
      if (mode == "constant") return {constant_pad(a, a[0], 1, a.has(3) ? a.f(3) : 0, a.has(3))};
      if (mode == "reflect") return {bordered(a, a[0], 1, Border::reflect)};
      if (mode == "replicate") return {bordered(a, a[0], 1, Border::replicate)};
      require(a, mode == "circular", "unknown mode", std::string(mode), "constant, reflect, replicate or circular");
      return {bordered(a, a[0], 1, Border::circular)};
    },
    .sample = samples,
}};
// One of ATen's functions for a number of spatial dims: after channels, and perhaps a batch.
static Vals spatial_border(const Args& a, int n, Border border) {
  require(a, a[0].rank() == n + 1 || a[0].rank() == n + 2, "input has the wrong rank", shape_of(a[0]), cat("rank ", n + 1, " or ", n + 2));
  require(a, int(a.raw(1).count) == 2 * n, "padding needs two numbers for each spatial dimension", cat(a.raw(1).count), cat(2 * n));
  return {bordered(a, a[0], 1, border)};
}
#define BORDER(n)                                                                                               \
  static constexpr Op op_reflection_pad##n##d{{                                                                 \
      .schema = "reflection_pad" #n "d(Tensor self, SymInt[] padding) -> Tensor",                               \
      .doc = "self between borders that mirror it, without its edge.",                                          \
      .expand = [](const Args& a) -> Vals { return spatial_border(a, n, Border::reflect); }, .forms = Forms::out, .sample = samples}}; \
  static constexpr Op op_replication_pad##n##d{{                                                                \
      .schema = "replication_pad" #n "d(Tensor self, SymInt[] padding) -> Tensor",                              \
      .doc = "self between borders that repeat its edge.",                                                      \
      .expand = [](const Args& a) -> Vals { return spatial_border(a, n, Border::replicate); }, .forms = Forms::out, .sample = samples}};
BORDER(1)
BORDER(2)
BORDER(3)
static constexpr Op op_pad_circular{{
    .schema = "_pad_circular(Tensor self, SymInt[] pad) -> Tensor",
    .doc = "self between borders taken from its other end.",
    .expand = [](const Args& a) -> Vals { return {bordered(a, a[0], 1, Border::circular)}; },
    .sample = samples,
}};

// --- pixels

static Dims lead_of(Val x, int last) {
  Dims d = x.shape();
  d.resize(d.size() - size_t(last));
  return d;
}
static constexpr Op op_pixel_shuffle{{
    .schema = "pixel_shuffle(Tensor self, int upscale_factor) -> Tensor",
    .doc = "[..., C r^2, H, W] as [..., C, H r, W r].",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0];
      const int64_t r = a.i(1);
      require(a, x.rank() >= 3 && r > 0, "input needs channels, height and width, and a positive factor", shape_of(x));
      if (!dim_eq(mod(x.size(-3), r * r), 0)) a.error("the channels must be divisible by the square of the factor", shape_of(x), cat("a multiple of ", r * r));
      Dims split = lead_of(x, 3), joined = split;
      const int n = int(split.size());
      for (Dim d : {floordiv(x.size(-3), r * r), Dim(r), Dim(r), x.size(-2), x.size(-1)}) split.push_back(d);
      for (Dim d : {floordiv(x.size(-3), r * r), x.size(-2) * r, x.size(-1) * r}) joined.push_back(d);
      Ints perm = all_dims(n);
      for (int k : {0, 3, 1, 4, 2}) perm.push_back(n + k);
      return {reshape(permute(reshape(x, split), perm), joined)};
    },
    .sample = samples,
}};
static constexpr Op op_pixel_unshuffle{{
    .schema = "pixel_unshuffle(Tensor self, int downscale_factor) -> Tensor",
    .doc = "[..., C, H r, W r] as [..., C r^2, H, W].",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0];
      const int64_t r = a.i(1);
      require(a, x.rank() >= 3 && r > 0, "input needs channels, height and width, and a positive factor", shape_of(x));
      if (!dim_eq(mod(x.size(-2), r), 0) || !dim_eq(mod(x.size(-1), r), 0))
        a.error("height and width must be divisible by the factor", shape_of(x), cat("multiples of ", r));
      Dims split = lead_of(x, 3), joined = split;
      const int n = int(split.size());
      const Dim h = floordiv(x.size(-2), r), w = floordiv(x.size(-1), r);
      for (Dim d : {x.size(-3), h, Dim(r), w, Dim(r)}) split.push_back(d);
      for (Dim d : {x.size(-3) * r * r, h, w}) joined.push_back(d);
      Ints perm = all_dims(n);
      for (int k : {0, 2, 4, 1, 3}) perm.push_back(n + k);
      return {reshape(permute(reshape(x, split), perm), joined)};
    },
    .sample = samples,
}};
static Val channel_shuffle(const Args& a) {
  const Val x = a[0];
  const int64_t g = a.i(1);
  require(a, x.rank() >= 3 && g > 0, "input needs a batch, channels and at least one more dimension", shape_of(x));
  if (!dim_eq(mod(x.size(1), g), 0)) a.error("the groups must divide the channels", cat(g), cat("a divisor of ", x.size(1)));
  Dims split{x.size(0), g, floordiv(x.size(1), g)};
  Ints perm{0, 2, 1};
  for (int d = 2; d < x.rank(); ++d) {
    split.push_back(x.shape()[d]);
    perm.push_back(d + 1);
  }
  return reshape(permute(reshape(x, split), perm), x.shape());
}
static constexpr Op op_channel_shuffle{{
    .schema = "channel_shuffle(Tensor self, SymInt groups) -> Tensor",
    .doc = "Channels of several groups in turn.",
    .expand = [](const Args& a) -> Vals { return {channel_shuffle(a)}; },
    .sample = samples,
}};
static constexpr Op op_native_channel_shuffle{{
    .schema = "native_channel_shuffle(Tensor self, SymInt groups) -> Tensor",
    .doc = "Same as channel_shuffle.",
    .expand = [](const Args& a) -> Vals { return {channel_shuffle(a)}; },
    .sample = samples,
}};

// --- columns

static void check_window(const Args& a, const Ints& kernel, const Ints& dilation, const Ints& padding, const Ints& stride) {
  for (int s = 0; s < 2; ++s)
    require(a, kernel[s] > 0 && dilation[s] > 0 && stride[s] > 0 && padding[s] >= 0, "the window is out of range",
            cat("kernel ", kernel[s], ", dilation ", dilation[s], ", stride ", stride[s], ", padding ", padding[s]),
            "kernel, dilation and stride above 0, padding 0 or more");
}
// [N, C, H, W] as [N, C KH KW, OH OW]: every window a column.
static constexpr Op op_im2col{{
    .schema = "im2col(Tensor self, int[2] kernel_size, int[2] dilation, int[2] padding, int[2] stride) -> Tensor",
    .doc = "Every window of the padded images as a column.",
    .expand = [](const Args& a) -> Vals {
      const bool single = a[0].rank() == 3;
      Val x = single ? unsqueeze(a[0], 0) : a[0];
      require(a, x.rank() == 4, "input must be images [N, C, H, W] or [C, H, W]", shape_of(x));
      const Ints k = per_dim(a, 1, 2), dilation = per_dim(a, 2, 2), p = per_dim(a, 3, 2), stride = per_dim(a, 4, 2);
      check_window(a, k, dilation, p, stride);
      const Dim n = x.size(0), c = x.size(1);
      x = pad(x, {0, 0, p[0], p[1]}, {0, 0, p[0], p[1]});
      for (int s = 0; s < 2; ++s) {
        if (dim_lt(x.size(2 + s), (k[s] - 1) * dilation[s] + 1)) a.error("the window is larger than the padded image", shape_of(a[0]));
        x = unfold(x, 2 + s, k[s], stride[s], dilation[s]);
      }
      x = permute(x, {0, 1, 4, 5, 2, 3});
      const Dim columns = x.size(4) * x.size(5);
      x = reshape(x, {n, c * k[0] * k[1], columns});
      return {single ? squeeze(x, 0) : x};
    },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_col2im{{
    .schema = "col2im(Tensor self, SymInt[2] output_size, int[2] kernel_size, int[2] dilation, int[2] padding, int[2] stride) -> Tensor",
    .doc = "The transpose of im2col: columns added up in images.",
    .expand = [](const Args& a) -> Vals {
      const bool single = a[0].rank() == 2;
      Val x = single ? unsqueeze(a[0], 0) : a[0];
      const Dims size = a.dims(1);
      const Ints k = per_dim(a, 2, 2), dilation = per_dim(a, 3, 2), p = per_dim(a, 4, 2), stride = per_dim(a, 5, 2);
      require(a, x.rank() == 3 && size.size() == 2, "input must be columns [N, C KH KW, L] or [C KH KW, L]", shape_of(x));
      check_window(a, k, dilation, p, stride);
      if (!dim_eq(mod(x.size(1), k[0] * k[1]), 0)) a.error("the rows do not divide into windows", shape_of(x), cat("a multiple of ", k[0] * k[1]));
      Dims out;
      for (int s = 0; s < 2; ++s) out.push_back(floordiv(size[s] + 2 * p[s] - (k[s] - 1) * dilation[s] - 1, stride[s]) + 1);
      if (!dim_eq(out[0] * out[1], x.size(2))) a.error("the number of columns does not fit", shape_of(x), cat(out[0] * out[1], " columns"));
      x = permute(reshape(x, {x.size(0), floordiv(x.size(1), k[0] * k[1]), k[0], k[1], out[0], out[1]}), {0, 1, 4, 5, 2, 3});
      for (int s = 2; s-- > 0;) x = fold(x, 2 + s, size[s] + 2 * p[s], stride[s], dilation[s]);
      x = pad(x, {0, 0, -p[0], -p[1]}, {0, 0, -p[0], -p[1]});
      return {single ? squeeze(x, 0) : x};
    },
    .forms = Forms::out,
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.of("pad", {"[2,3], [1,2]", "[2,3], [1,0,0,2], 'constant', 1.5", "[2,3,5], [2,1], 'reflect'", "[2,3,5], [2,1], 'replicate'", "[2,3,5], [2,1], 'circular'"}).refuses("pad", {"[2,3], [1]", "[2,3,5], [2,1], 'best'", "[2,3,5], [5,1], 'reflect'", "[2,3,5], [6,1], 'circular'"})
      .of("reflection_pad1d replication_pad1d", {"[2,3,5], [2,1]", "[3,5], [0,2]"}).of("reflection_pad2d replication_pad2d", {"[2,3,4,5], [2,1,1,0]", "[3,4,5], [1,1,1,1]"}).of("reflection_pad3d replication_pad3d", {"[1,2,3,4,3], [1,1,2,0,0,1]"}).of("_pad_circular", {"[2,3,5], [2,1]"})
      .refuses("reflection_pad1d", {"[2,3,5], [5,1]", "[5], [1,1]", "[2,3,5], [1]"}).refuses("replication_pad1d", {"[5], [1,1]", "[2,3,5], [1]"}).refuses("reflection_pad2d replication_pad2d", {"[4,5], [1,1,1,1]", "[2,3,4,5], [1,1]"}).refuses("reflection_pad3d replication_pad3d", {"[4,5], [1,1,1,1,1,1]"}).refuses("_pad_circular", {"[2,3,5], [6,1]"})
      .of("pixel_shuffle", {"[1,4,2,3], 2", "[9,2,2], 3"}).of("pixel_unshuffle", {"[1,2,4,6], 2"}).refuses("pixel_shuffle", {"[1,3,2,3], 2", "[4,2], 2", "[1,4,2,3], 0"}).refuses("pixel_unshuffle", {"[1,2,3,6], 2", "[1,2,4,6], -1"}).of("channel_shuffle native_channel_shuffle", {"[2,6,3], 2", "[1,4,2,2], 4"}).refuses("channel_shuffle native_channel_shuffle", {"[2,6,3], 4", "[6,3], 0"})
      .of("im2col", {"[2,3,4,5], [2,3], [1,1], [1,0], [1,1]", "[3,5,5], [2,2], [2,1], [0,0], [2,2]"}).of("col2im", {"[2,12,12], [4,5], [2,2], [1,1], [0,0], [1,1]", "[12,4], [3,3], [2,2], [1,1], [0,0], [1,1]"}).refuses("im2col", {"[3,4], [2,3], [1,1], [0,0], [1,1]", "[2,3,4,5], [6,3], [1,1], [0,0], [1,1]", "[2,3,4,5], [2,2], [1,1], [0,0], [0,1]"}).refuses("col2im", {"[2,12,11], [4,5], [2,2], [1,1], [0,0], [1,1]", "[2,11,12], [4,5], [2,2], [1,1], [0,0], [1,1]"});
}

static const Op* const padding_ops[] = {
    &op_pad, &op_reflection_pad1d, &op_replication_pad1d, &op_reflection_pad2d, &op_replication_pad2d,
    &op_reflection_pad3d, &op_replication_pad3d, &op_pad_circular, &op_pixel_shuffle, &op_pixel_unshuffle, &op_channel_shuffle,
    &op_native_channel_shuffle, &op_im2col, &op_col2im};
OpFamily padding_family() { return padding_ops; }

}  // namespace phlox
