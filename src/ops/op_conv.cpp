// Convolutions in one to three dimensions, plain and transposed.
#include "ops/composite.h"

namespace phlox {

static void samples(SampleBuilder& s);

namespace {
struct ConvArgs {
  Ints stride, padding, dilation, output_padding;
  Ints extra_high;  // what padding "same" adds at the end where the total is odd
  int64_t groups = 1;
  bool transposed = false;
};
}  // namespace

static Ints sized(const Args& a, Ints v, int n, const char* name) {
  if (v.size() == 1) v.resize(size_t(n), v[0]);
  if (int(v.size()) != n) a.error(cat("'", name, "' needs one number per spatial dimension"), cat(v.size(), " numbers"), cat(n));
  return v;
}

// A transposed convolution is one over the input spread out by `stride`, with the weights turned around.
static Val transposed(const Args& a, Val x, Val w, const ConvArgs& c) {
  const int n = x.rank() - 2;
  const Dim in = floordiv(w.size(0), c.groups), out = w.size(1);
  Dims split{Dim(c.groups), in, out}, joined{out * c.groups, in};
  Ints swap{0, 2, 1};
  for (int s = 0; s < n; ++s) {
    split.push_back(w.size(s + 2));
    joined.push_back(w.size(s + 2));
    swap.push_back(s + 3);
  }
  Val t = reshape(permute(reshape(w, split), swap), joined);
  ConvParams p;
  p.groups = c.groups;
  p.lhs_dilation = c.stride;
  p.rhs_dilation = c.dilation;
  for (int s = 0; s < n; ++s) {
    require(a, c.output_padding[s] < std::max(c.stride[s], c.dilation[s]), "output_padding must be smaller than stride or dilation",
            cat(c.output_padding[s]));
    t = flip(t, s + 2);
    const int64_t reach = c.dilation[s] * (dim_int(w.size(s + 2), a.name()) - 1);
    p.stride.push_back(1);
    p.pad_low.push_back(reach - c.padding[s]);
    p.pad_high.push_back(reach - c.padding[s] + c.output_padding[s]);
  }
  return conv(x, t, p);
}

static Val convolve(const Args& a, Val x, Val w, Val bias, const ConvArgs& given, int n) {
  ConvArgs c = given;
  require(a, n >= 1 && n <= 3, "weight has the wrong rank", shape_of(w), "rank 3, 4 or 5");
  const bool single = x.rank() == n + 1;
  require(a, w.rank() == n + 2, "weight has the wrong rank", shape_of(w), cat("rank ", n + 2));
  require(a, single || x.rank() == n + 2, "input has the wrong rank", shape_of(x), cat("rank ", n + 1, " or ", n + 2));
  if (x.dtype() != w.dtype() || (bias && bias.dtype() != x.dtype()))
    a.error("input, weight and bias have different dtypes", cat(x.dtype(), " and ", w.dtype()), "one dtype", "cast them");
  const DType d = x.dtype();
  if (single) x = unsqueeze(x, 0);
  c.stride = sized(a, c.stride, n, "stride");
  c.padding = sized(a, c.padding, n, "padding");
  c.dilation = sized(a, c.dilation, n, "dilation");
  for (int64_t s : c.stride) require(a, s > 0, "stride must be positive", cat(s));
  for (int64_t p : c.padding) require(a, p >= 0, "padding may not be negative", cat(p), "0 or more");
  for (int64_t d : c.dilation) require(a, d > 0, "dilation must be positive", cat(d));
  require(a, c.groups > 0, "groups must be positive", cat(c.groups));
  const Dim in = c.transposed ? w.size(0) : w.size(1) * c.groups;
  if (!dim_eq(x.size(1), in))
    a.error("the number of input channels does not fit the weights", cat(shape_of(x), " with weight ", shape_of(w), ", groups ", c.groups),
            cat(in, " channels"));
  if (!dim_eq(mod(w.size(0), c.groups), 0)) a.error("groups must divide the channels", cat(c.groups), cat("a divisor of ", w.size(0)));
  Val y;
  if (c.transposed) {
    c.output_padding = c.output_padding.empty() ? Ints(size_t(n), 0) : sized(a, c.output_padding, n, "output_padding");
    y = transposed(a, x, w, c);
  } else {
    Ints high = c.padding;
    for (size_t s = 0; s < c.extra_high.size(); ++s) high[s] += c.extra_high[s];
    for (int s = 0; s < n; ++s) {
      const Dim window = (w.size(s + 2) - 1) * c.dilation[s] + 1;
      if (dim_lt(x.size(s + 2) + c.padding[s] + high[s], window))
        a.error("the kernel is larger than the padded input", cat(shape_of(x), " with weight ", shape_of(w)), "a smaller kernel or more padding");
    }
    // 16-bit results are rounded once, after the bias; transposed ones, as in ATen, also before it.
    y = conv(x, w, {c.stride, c.padding, high, Ints(size_t(n), 1), c.dilation, c.groups}, bool(bias));
  }
  if (bias) {
    require(a, bias.rank() == 1 && dim_eq(bias.size(0), y.size(1)), "bias needs one number per output channel", shape_of(bias), cat("[", y.size(1), "]"));
    y = cast(y + along(cast_like(bias, y), n + 2, 1), d);
  }
  return single ? squeeze(y, 0) : y;
}

// input, weight, bias, stride, padding, dilation, groups
template <int n>
static Vals plain(const Args& a) {
  return {convolve(a, a[0], a[1], a.optional(2), {a.ints(3), a.ints(4), a.ints(5), {}, {}, a.i(6), false}, n)};
}
template <int n>
static Vals padded_by_name(const Args& a) {
  ConvArgs c{a.ints(3), Ints(size_t(n), 0), sized(a, a.ints(5), n, "dilation"), {}, {}, a.i(6), false};
  if (a.s(4) == "same") {
    c.extra_high.resize(size_t(n));
    for (int64_t s : c.stride) require(a, s == 1, "padding 'same' needs stride 1", cat(s));
    for (int s = 0; s < n; ++s) {
      const int64_t total = c.dilation[s] * (dim_int(a[1].size(s + 2), a.name()) - 1);
      c.padding[s] = total / 2;
      c.extra_high[s] = total - 2 * (total / 2);
    }
  } else {
    require(a, a.s(4) == "valid", "unknown padding", std::string(a.s(4)), "'same' or 'valid'");
  }
  return {convolve(a, a[0], a[1], a.optional(2), c, n)};
}
// input, weight, bias, stride, padding, output_padding, groups, dilation
template <int n>
static Vals turned(const Args& a) {
  return {convolve(a, a[0], a[1], a.optional(2), {a.ints(3), a.ints(4), a.ints(7), a.ints(5), {}, a.i(6), true}, n)};
}

#define CONV(n)                                                                                                         \
  static constexpr Op op_conv##n##d{{                                                                                   \
      .schema = "conv" #n "d(Tensor input, Tensor weight, Tensor? bias=None, int[" #n "] stride=1, int[" #n             \
                "] padding=0, int[" #n "] dilation=1, int groups=1) -> Tensor",                                         \
      .doc = "Cross-correlation of input[N, C, ...] with weight[O, C / groups, ...].",                                  \
      .expand = plain<n>, .autocast = Autocast::lower, .sample = samples}};                                                                \
  static constexpr Op op_conv##n##d_padding{{                                                                           \
      .schema = "conv" #n "d.padding(Tensor input, Tensor weight, Tensor? bias=None, int[" #n                           \
                "] stride=1, str padding=\"valid\", int[" #n "] dilation=1, int groups=1) -> Tensor",                   \
      .doc = "As conv" #n "d; padding 'same' keeps the spatial sizes, 'valid' adds none.",                              \
      .expand = padded_by_name<n>, .autocast = Autocast::lower, .sample = samples}};                                                       \
  static constexpr Op op_conv_transpose##n##d{{                                                                         \
      .schema = CONV_TRANSPOSE_NAME##n "(Tensor input, Tensor weight, Tensor? bias=None, int[" #n                       \
                "] stride=1, int[" #n "] padding=0, int[" #n "] output_padding=0, int groups=1, int[" #n                \
                "] dilation=1) -> Tensor",                                                                              \
      .doc = "The gradient of conv" #n "d with regard to its input, as an operation; weight[C, O / groups, ...].",      \
      .expand = turned<n>, .autocast = Autocast::lower, .sample = samples}};
#define CONV_TRANSPOSE_NAME1 "conv_transpose1d"
#define CONV_TRANSPOSE_NAME2 "conv_transpose2d.input"
#define CONV_TRANSPOSE_NAME3 "conv_transpose3d.input"
CONV(1)
CONV(2)
CONV(3)

static constexpr Op op_convolution{{
    .schema = "convolution(Tensor input, Tensor weight, Tensor? bias, int[] stride, int[] padding, int[] dilation, "
              "bool transposed, int[] output_padding, int groups) -> Tensor",
    .doc = "Every convolution in one form.",
    .expand = [](const Args& a) -> Vals {
      return {convolve(a, a[0], a[1], a.optional(2), {a.ints(3), a.ints(4), a.ints(5), a.ints(7), {}, a.i(8), a.b(6)}, a[1].rank() - 2)};
    },
    .autocast = Autocast::lower,
    .sample = samples,
}};
static constexpr Op op_conv_tbc{{
    .schema = "conv_tbc(Tensor self, Tensor weight, Tensor bias, int pad=0) -> Tensor",
    .doc = "Convolution over time of [time, batch, channel] with weight[kernel, in, out].",
    .expand = [](const Args& a) -> Vals {
      const Val x = permute(a[0], {1, 2, 0}), w = permute(a[1], {2, 1, 0});
      return {permute(convolve(a, x, w, a[2], {{1}, {a.i(3)}, {1}, {}, {}, 1, false}, 1), {2, 0, 1})};
    },
    .autocast = Autocast::lower,
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.of("conv1d", {"[2,4,9], [6,2,3], [6], [2], [1], [1], 2", "[3,7], [4,3,2]", "[1,2,8], [3,2,3], [3], [1], [2], [2]"}).of("conv2d", {"[2,4,5,6], [6,2,3,2], [6], [2,1], [1,1], [1,1], 2", "[3,5,5], [4,3,2,2]", "[1,2,6,6], [3,2,3,3], None, [1,1], [2,2], [2,2]"})
      .of("conv3d", {"[1,2,3,4,4], [3,2,2,2,2], [3]", "[2,2,3,3,3], [2,1,2,2,2], None, [1,1,1], [1,0,1], [1,1,1], 2"})
      .of("conv1d.padding", {"[1,2,6], [3,2,3], [3], [1], 'same'", "[1,2,6], [3,2,3], None, [2], 'valid'"}).of("conv2d.padding", {"[1,2,4,5], [3,2,3,2], [3], [1,1], 'same'", "[1,2,4,5], [3,2,3,2]"}).of("conv3d.padding", {"[1,1,3,3,3], [2,1,2,2,2], [2], [1,1,1], 'same'"})
      .of("conv_transpose1d", {"[2,4,5], [4,3,3], [6], [2], [1], [1], 2", "[3,5], [3,2,2]"}).of("conv_transpose2d.input", {"[2,4,3,4], [4,3,3,2], [6], [2,1], [1,0], [1,0], 2", "[1,2,3,3], [2,3,2,2], None, [1,1], [0,0], [0,0], 1, [2,2]"}).of("conv_transpose3d.input", {"[1,2,2,3,3], [2,3,2,2,2], [3]"})
      .of("convolution", {"[1,2,5], [3,2,3], [3], [1], [1], [1], False, [0], 1", "[1,2,4,4], [2,3,2,2], None, [2,2], [0,0], [1,1], True, [1,1], 1"}).of("conv_tbc", {"[5,2,3], [2,3,4], [4], 1"})
      .refuses("conv1d", {"[2,4,9], [6,3,3]", "[2,4,9], [6,4,3], [5]", "[2,4,2], [6,4,3]", "[2,4,9], [6,4,3], None, [0]", "[2,4,9], [6,4,3], None, [1], [-1]", "[2,4,9], [6,4,3], None, [1], [0], [1], 3"})
      .refuses("conv2d", {"[2,4,5,6], [6,3,3,2]", "[2,4], [6,4,3,2]", "[2,4,5,6], [6,4,3,2], None, [0,1]", "[2,4,5,6], [6,4,3]"}).refuses("conv3d", {"[1,2,3,4,4], [3,3,2,2,2]"})
      .refuses("conv1d.padding", {"[1,2,6], [3,2,3], None, [1], 'best'", "[1,2,6], [3,2,3], None, [2], 'same'"}).refuses("conv2d.padding", {"[1,2,4,5], [3,2,3,2], None, [1,1], 'best'"}).refuses("conv3d.padding", {"[1,1,3,3,3], [2,1,2,2,2], None, [1,1,1], 'best'"})
      .refuses("conv_transpose1d", {"[2,4,5], [3,3,3]", "[2,4,5], [4,3,3], None, [1], [0], [1]"}).refuses("conv_transpose2d.input", {"[2,4,3,4], [3,3,3,2]"}).refuses("conv_transpose3d.input", {"[1,2,2,3,3], [3,3,2,2,2]"})
      .refuses("convolution", {"[1,2,4,4], [3,2,2,2], None, [1], [], [1], False, [0], 1", "[1,2,4,4], [3], None, [1], [0], [1], False, [0], 1"}).refuses("conv_tbc", {"[5,2,3], [2,4,4], [4]", "[5,2], [2,3,4], [4]"});
}

static const Op* const conv_ops[] = {&op_conv1d, &op_conv1d_padding, &op_conv_transpose1d, &op_conv2d, &op_conv2d_padding,
                                     &op_conv_transpose2d, &op_conv3d, &op_conv3d_padding, &op_conv_transpose3d,
                                     &op_convolution, &op_conv_tbc};
OpFamily conv_family() { return conv_ops; }

}  // namespace phlox
