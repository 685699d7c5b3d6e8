// Max and average pooling, as windows of the padded input. Max pooling keeps its gradient: it flows to the first
// maximum of each window, by the index that is a result.
#include "ops/composite.h"
#include "ops/indexing.h"
#include "ops/windows.h"

namespace phlox {

static void samples(SampleBuilder& s);

Ints per_dim(const Args& a, int arg, int n, const Ints& otherwise) {
  Ints v = a.has(arg) ? a.ints(arg) : Ints{};
  if (v.empty()) v = otherwise;
  if (v.size() == 1) v.resize(size_t(n), v[0]);
  if (int(v.size()) != n)
    a.error(cat("'", a.op().schema.params[size_t(arg)].name, "' needs one number per spatial dimension"), cat(v.size(), " numbers"), cat(n));
  return v;
}

// How many windows fit, and how much padding at the end the last one reaches into.
static Dim pooled_size(const Args& a, const Pool& p, int s, Dim n) {
  const Dim reach = (p.kernel[s] - 1) * p.dilation[s] + 1, padded = n + 2 * p.padding[s];
  if (!p.ceil) {
    if (dim_lt(padded, reach)) a.error("the window is larger than the padded input", cat(n, " + 2 * ", p.padding[s]), cat("at least ", reach));
    return floordiv(padded - reach, p.stride[s]) + 1;
  }
  Dim out = floordiv(padded - reach + p.stride[s] - 1, p.stride[s]) + 1;
  // The last window must start inside the input or its left padding.
  if (dim_le(n + p.padding[s], (out - 1) * p.stride[s])) out = out - 1;
  return out;
}

Windows::Windows(const Args& a, Val input, const Pool& pool) : p(pool), n(int(pool.kernel.size())) {
  require(a, input.rank() == n + 1 || input.rank() == n + 2, "input has the wrong rank", shape_of(input), cat("rank ", n + 1, " or ", n + 2));
  lead = input.rank() - n;
  for (int s = 0; s < n; ++s) {
    require(a, p.kernel[s] > 0 && p.stride[s] > 0 && p.dilation[s] > 0, "kernel, stride and dilation must be positive");
    require(a, p.padding[s] >= 0 && 2 * p.padding[s] <= p.kernel[s], "padding must be at most half of the kernel", cat(p.padding[s]), cat("0 to ", p.kernel[s] / 2));
    size.push_back(input.shape()[lead + s]);
    out.push_back(pooled_size(a, p, s, size[s]));
    if (dim_lt(out[s], 1)) a.error("the result would be empty", shape_of(input), "a larger input");
    high.push_back((out[s] - 1) * p.stride[s] + (p.kernel[s] - 1) * p.dilation[s] + 1 - size[s] - p.padding[s]);
  }
}

// x[lead..., S...] as [lead..., O..., K...]; positions outside are 0.
Val Windows::of(Val x) const {
  Dims low(size_t(x.rank())), up(size_t(x.rank()));
  for (int s = 0; s < n; ++s) {
    low[lead + s] = p.padding[s];
    up[lead + s] = high[s];
  }
  x = pad(x, low, up);
  for (int s = 0; s < n; ++s) x = unfold(x, lead + s, p.kernel[s], p.stride[s], p.dilation[s]);
  return x;
}

bool Windows::reaches_out() const {
  for (int s = 0; s < n; ++s) if (p.padding[s] > 0 || !high[s].is_const() || high[s].value() > 0) return true;
  return false;
}

Dims Windows::shape(Val x) const {
  Dims d;
  for (int i = 0; i < lead; ++i) d.push_back(x.shape()[i]);
  for (Dim o : out) d.push_back(o);
  for (int64_t k : p.kernel) d.push_back(k);
  return d;
}
Ints Windows::kernel_dims() const {
  Ints d;
  for (int s = 0; s < n; ++s) d.push_back(lead + n + s);
  return d;
}

// Position in the input along spatial dim s of each element of the windows.
Val Windows::position(Val x, int s) const {
  const Dims d = shape(x);
  return iota_like(d, lead + s, x) * double(p.stride[s]) + iota_like(d, lead + n + s, x) * double(p.dilation[s]) - double(p.padding[s]);
}
Val Windows::flat(Val x) const {
  Val f;
  for (int s = 0; s < n; ++s) {
    const Val here = position(x, s);
    f = f ? f * dim_value(*x.g, size[s], DType::i64) + here : here;
  }
  return f;
}
Val Windows::inside(Val x) const {
  Val all;
  for (int s = 0; s < n; ++s) {
    if (p.padding[s] == 0 && high[s].is_const() && high[s].value() <= 0) continue;
    const Val at = position(x, s), ok = (at >= full_int(*x.g, {}, DType::i64, 0)) & (at < dim_value(*x.g, size[s], DType::i64));
    all = all ? all & ok : ok;
  }
  return all;
}

// --- one tap of every window: strided slices, which vectorise where short reductions would not

Val Windows::tap(Val x, const Ints& k) const {
  Dims low(size_t(x.rank())), up(size_t(x.rank()));
  for (int s = 0; s < n; ++s) {
    low[lead + s] = p.padding[s];
    up[lead + s] = high[s].is_const() && high[s].value() < 0 ? Dim(0) : high[s];
  }
  x = pad(x, low, up);
  for (int s = 0; s < n; ++s) x = slice(x, lead + s, k[s] * p.dilation[s], out[s], p.stride[s]);
  return x;
}
// The transpose of tap: results put back to where they were read, zeros elsewhere.
Val Windows::untap(Val y, const Ints& k) const {
  Dims low(size_t(y.rank())), up(size_t(y.rank()));
  Ints interior(size_t(y.rank()), 0);
  for (int s = 0; s < n; ++s) {
    low[lead + s] = k[s] * p.dilation[s] - p.padding[s];
    up[lead + s] = size[s] - low[lead + s] - ((out[s] - 1) * p.stride[s] + 1);
    interior[lead + s] = p.stride[s] - 1;
  }
  return pad(y, low, up, interior);
}
// Where a tap was read, over all spatial dims; bool values say whether that is inside.
Val Windows::tap_flat(Val x, const Ints& k) const {
  Val f;
  for (int s = 0; s < n; ++s) {
    const Val here = iota_like(out_shape(x), lead + s, x) * double(p.stride[s]) + double(k[s] * p.dilation[s] - p.padding[s]);
    f = f ? f * dim_value(*x.g, size[s], DType::i64) + here : here;
  }
  return f;
}
Dims Windows::out_shape(Val x) const {
  Dims d;
  for (int i = 0; i < lead; ++i) d.push_back(x.shape()[i]);
  for (Dim o : out) d.push_back(o);
  return d;
}
std::vector<Ints> Windows::taps() const {
  std::vector<Ints> r{Ints(size_t(n), 0)};
  for (;;) {
    Ints k = r.back();
    int s = n - 1;
    while (s >= 0 && ++k[s] == p.kernel[s]) k[s--] = 0;
    if (s < 0) return r;
    r.push_back(k);
  }
}
bool Windows::few_taps() const {
  int64_t all = 1;
  for (int64_t k : p.kernel) all *= k;
  return all <= 64;
}

// --- max pooling: self, kernel_size, stride, padding, dilation, ceil_mode

static Pool max_pool_args(const Args& a, int n, int first = 1) {
  Pool p;
  p.kernel = per_dim(a, first, n);
  p.stride = per_dim(a, first + 1, n, p.kernel);
  p.padding = per_dim(a, first + 2, n);
  p.dilation = per_dim(a, first + 3, n);
  p.ceil = a.b(first + 4);
  return p;
}

static Val lowest(Val x) { return is_float(x.dtype()) ? like(x, -__builtin_inf()) : reduce(full(*x.g, {0}, x.dtype(), 0), {0}, "max"); }

// The first position inside, which stands where nothing is greater than -inf.
static Val first_inside(const Windows& w, Val x) {
  Val f;
  for (int s = 0; s < w.n; ++s) {
    const int64_t d = w.p.dilation[s];
    Val here = iota_like(w.out_shape(x), w.lead + s, x) * double(w.p.stride[s]) - double(w.p.padding[s]);
    if (w.p.padding[s]) here = here + maximum(-floor_div(here, d), full_int(*x.g, {}, DType::i64, 0)) * double(d);
    f = f ? f * dim_value(*x.g, w.size[s], DType::i64) + here : here;
  }
  return f;
}
static Vals max_of_taps(const Windows& w, Val x) {
  const Val low = broadcast_to(lowest(x), w.out_shape(x)), ones = full_int(*x.g, x.shape(), DType::boolean, 1);
  Val best = low, index = first_inside(w, x);
  for (const Ints& k : w.taps()) {
    Val v = w.tap(x, k);
    if (w.reaches_out()) v = where(w.tap(ones, k), v, low);
    Val better = best < v;
    if (is_float(x.dtype())) better = better | is_nan(v);
    best = where(better, v, best);
    index = where(better, w.tap_flat(x, k), index);
  }
  return {best, index};
}
static Vals max_of_windows(const Windows& w, Val x) {
  const Ints k = w.kernel_dims();
  Val values = w.of(x);
  const Val inside = w.inside(x);
  if (inside) values = where(inside, values, lowest(x));
  // The first position that holds the maximum (or a NaN, which wins).
  Val hit = equal(values, reduce(values, k, "max", true));
  if (is_float(x.dtype())) hit = hit | is_nan(values);
  if (inside) hit = hit & inside;
  const Val index = reduce(where(hit, w.flat(x), full_int(*x.g, {}, DType::i64, INT64_MAX)), k, "min");
  return {reduce(values, k, "max"), index};
}
template <int n>
static Vals max_pool(const Args& a) {
  const Windows w(a, a[0], max_pool_args(a, n));
  return w.few_taps() ? max_of_taps(w, a[0]) : max_of_windows(w, a[0]);
}
static Val max_pool_gradient(const Windows& w, Val x, Val g, Val index) {
  if (!w.few_taps()) {
    // Scattered: windows that share an element add up in order.
    Dims flat_in, flat_out;
    Dim in = 1, out = 1;
    for (int d = 0; d < w.lead; ++d) for (Dims* s : {&flat_in, &flat_out}) s->push_back(x.shape()[d]);
    for (int s = 0; s < w.n; ++s) {
      in = in * w.size[s];
      out = out * w.out[s];
    }
    flat_in.push_back(in);
    flat_out.push_back(out);
    const Val i = reshape(index, flat_out);
    return reshape(scatter_along(full(*x.g, flat_in, g.dtype(), 0), w.lead, i, reshape(g, flat_out), ScatterMode::add), x.shape());
  }
  Val total;
  for (const Ints& k : w.taps()) {
    const Val part = w.untap(where(equal(index, w.tap_flat(x, k)), g, like(g, 0)), k);
    total = total ? total + part : part;
  }
  return total;
}
template <int n>
static void max_pool_vjp(Vjp& v) {
  if (!v.grad()) return;
  const Args a = v.args();
  v.set(0, max_pool_gradient(Windows(a, v.in(0), max_pool_args(a, n)), v.in(0), v.grad(), v.out(1)));
}

#define MAX_POOL(n)                                                                                                        \
  static constexpr Op op_max_pool##n##d_indices{{                                                                          \
      .schema = "max_pool" #n "d_with_indices(Tensor self, int[" #n "] kernel_size, int[" #n "] stride=[], int[" #n        \
                "] padding=0, int[" #n "] dilation=1, bool ceil_mode=False) -> (Tensor, Tensor)",                          \
      .doc = "The maximum of each window and its position in the input, counted over the spatial dimensions.",             \
      .type = type_by_expand, .expand = max_pool<n>, .vjp = max_pool_vjp<n>, .sample = samples}};                                             \
  static constexpr Op op_max_pool##n##d{{                                                                                  \
      .schema = "max_pool" #n "d(Tensor self, int[" #n "] kernel_size, int[" #n "] stride=[], int[" #n                     \
                "] padding=0, int[" #n "] dilation=1, bool ceil_mode=False) -> Tensor",                                    \
      .doc = "The maximum of each window.",                                                                                \
      .expand = [](const Args& a) -> Vals {                                                                                \
        return {call(a.builder(), "max_pool" #n "d_with_indices", {a.raw(0), a.raw(1), a.raw(2), a.raw(3), a.raw(4), a.raw(5)})[0]}; \
      }, .sample = samples}};
MAX_POOL(1)
MAX_POOL(2)
MAX_POOL(3)

static constexpr Op op_max_pool2d_backward{{
    .schema = "max_pool2d_with_indices_backward(Tensor grad_output, Tensor self, int[2] kernel_size, int[2] stride, int[2] padding, "
              "int[2] dilation, bool ceil_mode, Tensor indices) -> Tensor",
    .doc = "The gradient of max_pool2d by its indices.",
    .expand = [](const Args& a) -> Vals { return {max_pool_gradient(Windows(a, a[1], max_pool_args(a, 2, 2)), a[1], a[0], a[7])}; },
    .forms = Forms::out,
    .sample = samples,
}};

// --- average pooling: self, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override

template <int n>
static Vals avg_pool(const Args& a) {
  const Val x = a[0];
  Pool p;
  p.kernel = per_dim(a, 1, n);
  p.stride = per_dim(a, 2, n, p.kernel);
  p.padding = per_dim(a, 3, n);
  p.dilation = Ints(size_t(n), 1);
  p.ceil = a.b(4);
  const Windows w(a, x, p);
  auto divide = [&](Val t, Val by) {
    return cast_like(is_float(x.dtype()) ? t / by : map(Scalar::div, t, broadcast_to(by, t.shape())), x);
  };
  Val total;
  if (w.few_taps()) {
    for (const Ints& k : w.taps()) total = total ? total + widen(w.tap(x, k)) : widen(w.tap(x, k));
  } else {
    total = sum(widen(w.of(x)), w.kernel_dims());
  }
  if (a.size() > 6 && a.has(6)) {
    require(a, a.i(6) != 0, "divisor_override must not be 0");
    return {divide(total, like(total, double(a.i(6))))};
  }
  // Windows may reach over the end, where only the padding that was asked for may count.
  Val count;
  for (int s = 0; s < n; ++s) {
    const Dims o{w.out[s]};
    const Val start = iota_like(o, 0, x) * double(p.stride[s]) - double(p.padding[s]);
    const Val end = minimum(start + double(p.kernel[s]), dim_value(*x.g, w.size[s] + p.padding[s], DType::i64));
    Val len = end - start;
    if (!a.b(5)) {
      len = minimum(end, dim_value(*x.g, w.size[s], DType::i64)) - maximum(start, full_int(*x.g, {}, DType::i64, 0));
    }
    len = along(cast(len, total.dtype()), x.rank(), w.lead + s);
    count = count ? count * len : len;
  }
  return {divide(total, count)};
}
static constexpr Op op_avg_pool1d{{
    .schema = "avg_pool1d(Tensor self, int[1] kernel_size, int[1] stride=[], int[1] padding=0, bool ceil_mode=False, "
              "bool count_include_pad=True) -> Tensor",
    .doc = "The mean of each window.",
    .expand = avg_pool<1>,
    .forms = Forms::out,
    .sample = samples,
}};
#define AVG_POOL(n)                                                                                                        \
  static constexpr Op op_avg_pool##n##d{{                                                                                  \
      .schema = "avg_pool" #n "d(Tensor self, int[" #n "] kernel_size, int[" #n "] stride=[], int[" #n                     \
                "] padding=0, bool ceil_mode=False, bool count_include_pad=True, int? divisor_override=None) -> Tensor",   \
      .doc = "The mean of each window; padding counts unless told otherwise.",                                             \
      .expand = avg_pool<n>, .forms = Forms::out, .sample = samples}};
AVG_POOL(2)
AVG_POOL(3)

// --- samples

static void samples(SampleBuilder& s) {
  s.of("max_pool1d max_pool1d_with_indices", {"[2,3,8]:distinct, [3], [2], [1]", "[3,7]:distinct, [2]", "[1,2,9]:distinct, [3], [1], [0], [2], True"}).of("max_pool2d max_pool2d_with_indices", {"[2,3,5,6]:distinct, [2,2]", "[3,5,5]:distinct, [3,2], [2,1], [1,1], [1,1], True", "[1,2,7,7]:distinct, [2,2], [2,2], [0,0], [2,2]"}).of("max_pool3d max_pool3d_with_indices", {"[1,2,4,4,5]:distinct, [2,2,2]", "[2,4,4,4]:distinct, [2,3,2], [1,2,1], [0,1,0]"})
      .of("max_pool2d_with_indices_backward", {"f32[1,2,2,2], f32[1,2,4,4]:distinct, [2,2], [2,2], [0,0], [1,1], False, i64[1,2,2,2]=0|2|8|10"})
      .of("avg_pool1d", {"[2,3,8], [3], [2], [1]", "[3,7], [2], [2], [0], True, False"}).of("avg_pool2d", {"[2,3,5,6], [2,2]", "[3,5,5], [3,2], [2,1], [1,1], True, False", "[1,2,6,6], [2,2], [2,2], [0,0], False, True, 3"}).of("avg_pool3d", {"[1,2,4,4,5], [2,2,2]", "[2,4,4,4], [2,3,2], [1,2,1], [0,1,0], False, False"})
      .refuses("max_pool1d max_pool1d_with_indices avg_pool1d", {"[8], [3]", "[2,3,8], [0]", "[2,3,8], [3], [0]", "[2,3,8], [3], [1], [2]", "[2,3,8], [9]", "[2,3,8], [3], [1], [-1]"}).refuses("max_pool2d max_pool2d_with_indices avg_pool2d", {"[5,6], [2,2]", "[2,3,5,6], [0,2]", "[2,3,5,6], [2,2], [1,0]", "[2,3,5,6], [2,2], [1,1], [2,2]", "[2,3,5,6], [7,7]"})
      .refuses("max_pool3d max_pool3d_with_indices avg_pool3d", {"[5,6], [2,2,2]", "[1,2,4,4,5], [6,2,2]"}).refuses("max_pool2d_with_indices_backward", {"f32[1,2,2,2], f32[1,2,4,4], [2,2], [2,2], [0,0], [1,1], False, i64[1,2,3,3]=0", "f32[1,2,3,3], f32[1,2,4,4], [2,2], [2,2], [0,0], [1,1], False, i64[1,2,3,3]=0"});
}

static const Op* const pool_ops[] = {
    &op_max_pool1d_indices, &op_max_pool1d, &op_max_pool2d_indices, &op_max_pool2d, &op_max_pool3d_indices, &op_max_pool3d,
    &op_max_pool2d_backward, &op_avg_pool1d, &op_avg_pool2d, &op_avg_pool3d};
OpFamily pool_family() { return pool_ops; }

}  // namespace phlox
