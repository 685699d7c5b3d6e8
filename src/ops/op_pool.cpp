// Max and average pooling, as windows of the padded input. Max pooling keeps its gradient: it flows to the first
// maximum of each window, by the index that is a result.
#include "ops/composite.h"
#include "ops/windows.h"

namespace phlox {

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
    padded = padded || p.padding[s] > 0 || !high[s].is_const() || high[s].value() > 0;
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

// The transpose of `of`: windows added up in the input.
Val Windows::back(Val w) const {
  bool tiles = true;
  for (int s = 0; s < n; ++s) tiles = tiles && p.kernel[s] == p.stride[s] && p.dilation[s] == 1;
  if (tiles) {
    // Windows that lie side by side: only indices move.
    Ints perm;
    Dims joined;
    for (int i = 0; i < lead; ++i) {
      perm.push_back(i);
      joined.push_back(w.shape()[i]);
    }
    for (int s = 0; s < n; ++s) {
      perm.push_back(lead + s);
      perm.push_back(lead + n + s);
      joined.push_back(out[s] * p.kernel[s]);
    }
    w = reshape(permute(w, perm), joined);
  } else {
    for (int s = n; s-- > 0;) w = fold(w, lead + s, size[s] + p.padding[s] + high[s], p.stride[s], p.dilation[s]);
  }
  Dims low(size_t(w.rank())), up(size_t(w.rank()));
  for (int s = 0; s < n; ++s) {
    low[lead + s] = -p.padding[s];
    up[lead + s] = Dim(0) - high[s];
  }
  return pad(w, low, up);
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

template <int n>
static Vals max_pool(const Args& a) {
  const Val x = a[0];
  const Windows w(a, x, max_pool_args(a, n));
  const Ints k = w.kernel_dims();
  Val values = w.of(x);
  const Val inside = w.inside(x);
  if (inside) values = where(inside, values, lowest(x));
  const Val best = reduce(values, k, "max");
  // The first position that holds the maximum (or a NaN, which wins).
  Val hit = equal(values, reduce(values, k, "max", true));
  if (is_float(x.dtype())) hit = hit | is_nan(values);
  if (inside) hit = hit & inside;
  const Val index = reduce(where(hit, w.flat(x), full_int(*x.g, {}, DType::i64, INT64_MAX)), k, "min");
  return {best, index};
}
static Val spread_to_windows(Val v, const Windows& w) {
  Dims shape = v.shape();
  for (int64_t k : w.p.kernel) shape.push_back(k);
  return broadcast_in(v, shape, all_dims(v.rank()));
}
static Val max_pool_gradient(const Windows& w, Val x, Val g, Val index) {
  const Val chosen = equal(spread_to_windows(index, w), w.flat(x));
  return w.back(where(chosen, spread_to_windows(g, w), like(g, 0)));
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
      .type = type_by_expand, .expand = max_pool<n>, .vjp = max_pool_vjp<n>}};                                             \
  static constexpr Op op_max_pool##n##d{{                                                                                  \
      .schema = "max_pool" #n "d(Tensor self, int[" #n "] kernel_size, int[" #n "] stride=[], int[" #n                     \
                "] padding=0, int[" #n "] dilation=1, bool ceil_mode=False) -> Tensor",                                    \
      .doc = "The maximum of each window.",                                                                                \
      .expand = [](const Args& a) -> Vals {                                                                                \
        return {call(a.builder(), "max_pool" #n "d_with_indices", {a.raw(0), a.raw(1), a.raw(2), a.raw(3), a.raw(4), a.raw(5)})[0]}; \
      }}};
MAX_POOL(1)
MAX_POOL(2)
MAX_POOL(3)

static constexpr Op op_max_pool2d_backward{{
    .schema = "max_pool2d_with_indices_backward(Tensor grad_output, Tensor self, int[2] kernel_size, int[2] stride, int[2] padding, "
              "int[2] dilation, bool ceil_mode, Tensor indices) -> Tensor",
    .doc = "The gradient of max_pool2d by its indices.",
    .expand = [](const Args& a) -> Vals { return {max_pool_gradient(Windows(a, a[1], max_pool_args(a, 2, 2)), a[1], a[0], a[7])}; },
    .forms = Forms::out,
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
  const Val total = sum(widen(w.of(x)), w.kernel_dims());
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
}};
#define AVG_POOL(n)                                                                                                        \
  static constexpr Op op_avg_pool##n##d{{                                                                                  \
      .schema = "avg_pool" #n "d(Tensor self, int[" #n "] kernel_size, int[" #n "] stride=[], int[" #n                     \
                "] padding=0, bool ceil_mode=False, bool count_include_pad=True, int? divisor_override=None) -> Tensor",   \
      .doc = "The mean of each window; padding counts unless told otherwise.",                                             \
      .expand = avg_pool<n>, .forms = Forms::out}};
AVG_POOL(2)
AVG_POOL(3)

static const Op* const pool_ops[] = {
    &op_max_pool1d_indices, &op_max_pool1d, &op_max_pool2d_indices, &op_max_pool2d, &op_max_pool3d_indices, &op_max_pool3d,
    &op_max_pool2d_backward, &op_avg_pool1d, &op_avg_pool2d, &op_avg_pool3d};
OpFamily pool_family() { return pool_ops; }

}  // namespace phlox
