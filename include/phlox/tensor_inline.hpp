// What tensor.hpp declares, written with ops: conversions, indexing, hooks, operators; and tensors from C++ data.
#pragma once
#include <memory>

#include "phlox/call.hpp"
#include "phlox/ops.hpp"

namespace phlox {
inline namespace v1 {

// --- tensors from data

// Row-major copies of C++ data.
template <class T>
Tensor from_data(const T* data, IntList sizes, const TensorOptions& o = {}) {
  phlox_tensor* h;
  detail::check(phlox_tensor_from_data(data, int32_t(dtype_of<T>()), sizes.data(), int32_t(sizes.size()),
                                       o.device.value_or(Device()).raw(), &h));
  Tensor t = Tensor::adopt(h);
  if (o.dtype) t = t.to(*o.dtype);
  return detail::with_options(std::move(t), o);
}
// A one-dimensional tensor: tensor({1.0, 2.0}) is float32, as in PyTorch; tensor({1, 2}) is int64.
template <class T>
  requires std::is_arithmetic_v<T>
Tensor tensor(std::initializer_list<T> values, const TensorOptions& o = {}) {
  TensorOptions options = o;
  if (!o.dtype && std::is_same_v<T, double>) options.dtype = f32;
  if (!o.dtype && std::is_integral_v<T> && !std::is_same_v<T, bool>) options.dtype = i64;
  return from_data(values.begin(), int64_t(values.size()), options);
}
template <class T>
Tensor tensor(const std::vector<T>& values, const TensorOptions& o = {}) {
  return from_data(values.data(), int64_t(values.size()), o);
}
template <class T>
  requires std::is_arithmetic_v<T>
Tensor tensor(std::initializer_list<std::initializer_list<T>> rows, const TensorOptions& o = {}) {
  std::vector<Tensor> parts;
  const size_t width = rows.size() ? rows.begin()->size() : 0;
  std::unique_ptr<T[]> all(new T[rows.size() * width + 1]);
  size_t n = 0;
  for (const auto& row : rows) {
    if (row.size() != width)
      throw Error(ErrorCode::invalid_argument, "tensor", "the rows have different lengths", std::to_string(row.size()),
                  std::to_string(width));
    for (T v : row) all[n++] = v;
  }
  TensorOptions options = o;
  if (!o.dtype && std::is_same_v<T, double>) options.dtype = f32;
  if (!o.dtype && std::is_integral_v<T> && !std::is_same_v<T, bool>) options.dtype = i64;
  return from_data(all.get(), {int64_t(rows.size()), int64_t(width)}, options);
}
template <class T>
  requires std::is_arithmetic_v<T>
Tensor tensor(T v, const TensorOptions& o = {}) {  // without dimensions
  return full({}, Scalar(v), o);
}
// Memory of the caller's, which must outlive all tensors on it.
inline Tensor from_blob(void* data, IntList sizes, const TensorOptions& o = {}) {
  phlox_tensor* h;
  detail::check(phlox_tensor_from_memory(data, int32_t(o.dtype.value_or(f32)), sizes.data(), nullptr, int32_t(sizes.size()),
                                         o.device.value_or(Device()).raw(), nullptr, nullptr, &h));
  return detail::with_options(Tensor::adopt(h), o);
}
// Memory that is given back by deleter(data) when the last tensor on it is gone.
template <class D>
Tensor from_blob(void* data, IntList sizes, IntList strides, D deleter, const TensorOptions& o = {}) {
  auto kept = std::make_unique<D>(std::move(deleter));
  phlox_tensor* h;
  if (strides.size() != sizes.size())
    throw Error(ErrorCode::invalid_argument, "from_blob", "sizes and strides differ in number");
  detail::check(phlox_tensor_from_memory(
      data, int32_t(o.dtype.value_or(f32)), sizes.data(), strides.data(), int32_t(sizes.size()),
      o.device.value_or(Device()).raw(),
      [](void* context, void* memory) {
        std::unique_ptr<D> d(static_cast<D*>(context));
        (*d)(memory);
      },
      kept.get(), &h));
  kept.release();
  return detail::with_options(Tensor::adopt(h), o);
}

inline Tensor empty(IntList sizes, const TensorOptions& o = {}) {
  phlox_tensor* h;
  detail::check(phlox_tensor_empty(int32_t(o.dtype.value_or(f32)), sizes.data(), int32_t(sizes.size()),
                                   o.device.value_or(Device()).raw(), &h));
  return detail::with_options(Tensor::adopt(h), o);
}
inline Tensor empty(IntList sizes, DType d) { return empty(sizes, TensorOptions{.dtype = d}); }

// --- conversions

inline Tensor Tensor::to(DType dtype) const {
  if (dtype == this->dtype()) return *this;
  static const detail::Op op("prim::cast");
  return op.call1({detail::slot(*this), detail::slot(dtype)});
}
inline Tensor Tensor::to(const TensorOptions& o) const {
  Tensor t = o.device ? to(*o.device) : *this;
  return o.dtype ? t.to(*o.dtype) : t;
}
inline Tensor Tensor::clone() const {
  static const detail::Op op("prim::copy");
  return op.call1({detail::slot(*this)});
}

// --- indexing

namespace detail {
inline std::vector<phlox_index_item> index_items(const TensorIndex* items, size_t n) {
  std::vector<phlox_index_item> r;
  r.reserve(n);
  for (size_t i = 0; i < n; ++i) r.push_back(items[i].raw());
  return r;
}
inline Tensor index(const Tensor& t, const TensorIndex* items, size_t n) {
  const std::vector<phlox_index_item> raw = index_items(items, n);
  phlox_tensor* r;
  check(phlox_index(t.handle(), raw.data(), int32_t(raw.size()), &r));
  return Tensor::adopt(r);
}
inline void index_put(const Tensor& t, const TensorIndex* items, size_t n, const Tensor& values, bool accumulate) {
  const std::vector<phlox_index_item> raw = index_items(items, n);
  check(phlox_index_put(t.handle(), raw.data(), int32_t(raw.size()), values.handle(), accumulate));
}
}  // namespace detail

inline Tensor Tensor::index(std::initializer_list<TensorIndex> items) const {
  return detail::index(*this, items.begin(), items.size());
}
inline Tensor Tensor::index(const std::vector<TensorIndex>& items) const {
  return detail::index(*this, items.data(), items.size());
}
inline const Tensor& Tensor::index_put_(std::initializer_list<TensorIndex> items, const Tensor& values, bool accumulate) const {
  detail::index_put(*this, items.begin(), items.size(), values, accumulate);
  return *this;
}
inline const Tensor& Tensor::index_put_(const std::vector<TensorIndex>& items, const Tensor& values, bool accumulate) const {
  detail::index_put(*this, items.data(), items.size(), values, accumulate);
  return *this;
}
inline const Tensor& Tensor::index_put_(std::initializer_list<TensorIndex> items, const Scalar& value, bool accumulate) const {
  detail::index_put(*this, items.begin(), items.size(), full({}, value, options()), accumulate);
  return *this;
}
inline Tensor Tensor::operator[](int64_t i) const { return index({i}); }
inline Tensor Tensor::operator[](const Tensor& i) const { return index({i}); }

inline const Tensor& Tensor::copy_(const Tensor& source) const {
  const Tensor s = source.device() == device() ? source : source.to(device());
  detail::index_put(*this, nullptr, 0, s, false);
  return *this;
}
inline const Tensor& Tensor::fill_(const Scalar& value) const { return copy_(full({}, value, options())); }

// --- shapes

inline Tensor Tensor::T() const {
  if (dim() < 2) return *this;
  static const detail::Op op("prim::permute");
  std::vector<int64_t> perm;
  for (int64_t d = dim(); d-- > 0;) perm.push_back(d);
  const detail::Slots dims{IntList(perm)};
  return op.call1({detail::slot(*this), dims.slot()});
}
inline Tensor Tensor::mT() const {
  if (dim() < 2) throw Error(ErrorCode::invalid_argument, "mT", "a matrix has two dimensions at least", describe());
  static const detail::Op op("prim::permute");
  std::vector<int64_t> perm;
  for (int64_t d = 0; d < dim(); ++d) perm.push_back(d);
  std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
  const detail::Slots dims{IntList(perm)};
  return op.call1({detail::slot(*this), dims.slot()});
}

// --- hooks

template <class F>
Hook Tensor::register_hook(F hook) const {
  auto kept = std::make_unique<F>(std::move(hook));
  phlox_hook* h;
  detail::check(phlox_tensor_add_hook(
      need(),
      [](void* context, phlox_tensor* grad, phlox_tensor** replacement) -> phlox_status {
        return detail::shielded([&] {
          F& f = *static_cast<F*>(context);
          if constexpr (std::is_void_v<std::invoke_result_t<F&, const Tensor&>>) f(Tensor::share(grad));
          else *replacement = Tensor(f(Tensor::share(grad))).release();
        });
      },
      kept.get(), [](void* context) { delete static_cast<F*>(context); }, &h));
  kept.release();
  return Hook(h);
}
template <class F>
Hook Tensor::register_post_accumulate_grad_hook(F hook) const {
  auto kept = std::make_unique<F>(std::move(hook));
  phlox_hook* h;
  detail::check(phlox_tensor_add_accumulated_hook(
      need(),
      [](void* context, phlox_tensor* leaf) -> phlox_status {
        return detail::shielded([&] { (*static_cast<F*>(context))(Tensor::share(leaf)); });
      },
      kept.get(), [](void* context) { delete static_cast<F*>(context); }, &h));
  kept.release();
  return Hook(h);
}

// --- operators

#define PHLOX_BINARY(symbol, op_name, scalar_name)                                   \
  inline Tensor operator symbol(const Tensor& a, const Tensor& b) {                  \
    static const detail::Op op(op_name);                                             \
    return op.call1({detail::slot(a), detail::slot(b)});                             \
  }                                                                                  \
  inline Tensor operator symbol(const Tensor& a, const Scalar& b) {                  \
    static const detail::Op op(scalar_name);                                         \
    return op.call1({detail::slot(a), detail::slot(b)});                             \
  }
PHLOX_BINARY(+, "add.Tensor", "add.Scalar")
PHLOX_BINARY(-, "sub.Tensor", "sub.Scalar")
PHLOX_BINARY(*, "mul.Tensor", "mul.Scalar")
PHLOX_BINARY(/, "div.Tensor", "div.Scalar")
PHLOX_BINARY(%, "remainder.Tensor", "remainder.Scalar")
PHLOX_BINARY(==, "eq.Tensor", "eq.Scalar")
PHLOX_BINARY(!=, "ne.Tensor", "ne.Scalar")
PHLOX_BINARY(<, "lt.Tensor", "lt.Scalar")
PHLOX_BINARY(<=, "le.Tensor", "le.Scalar")
PHLOX_BINARY(>, "gt.Tensor", "gt.Scalar")
PHLOX_BINARY(>=, "ge.Tensor", "ge.Scalar")
PHLOX_BINARY(&, "bitwise_and.Tensor", "bitwise_and.Scalar")
PHLOX_BINARY(|, "bitwise_or.Tensor", "bitwise_or.Scalar")
PHLOX_BINARY(^, "bitwise_xor.Tensor", "bitwise_xor.Scalar")
#undef PHLOX_BINARY

inline Tensor operator+(const Scalar& a, const Tensor& b) { return b + a; }
inline Tensor operator*(const Scalar& a, const Tensor& b) { return b * a; }
inline Tensor operator-(const Tensor& a) {
  static const detail::Op op("neg");
  return op.call1({detail::slot(a)});
}
inline Tensor operator-(const Scalar& a, const Tensor& b) {
  static const detail::Op op("rsub.Scalar");
  return op.call1({detail::slot(b), detail::slot(a)});
}
inline Tensor operator/(const Scalar& a, const Tensor& b) {
  static const detail::Op op("reciprocal");
  return op.call1({detail::slot(b)}) * a;
}
inline Tensor operator~(const Tensor& a) {
  static const detail::Op op("bitwise_not");
  return op.call1({detail::slot(a)});
}
inline Tensor operator!(const Tensor& a) {
  static const detail::Op op("logical_not");
  return op.call1({detail::slot(a)});
}
#define PHLOX_ASSIGN(symbol, op_name, scalar_name)                                   \
  inline const Tensor& operator symbol(const Tensor& a, const Tensor& b) {           \
    static const detail::Op op(op_name);                                             \
    op.call_in_place({detail::slot(a), detail::slot(b)});                            \
    return a;                                                                        \
  }                                                                                  \
  inline const Tensor& operator symbol(const Tensor& a, const Scalar& b) {           \
    static const detail::Op op(scalar_name);                                         \
    op.call_in_place({detail::slot(a), detail::slot(b)});                            \
    return a;                                                                        \
  }
PHLOX_ASSIGN(+=, "add_.Tensor", "add_.Scalar")
PHLOX_ASSIGN(-=, "sub_.Tensor", "sub_.Scalar")
PHLOX_ASSIGN(*=, "mul_.Tensor", "mul_.Scalar")
PHLOX_ASSIGN(/=, "div_.Tensor", "div_.Scalar")
#undef PHLOX_ASSIGN

// --- answers that are no tensors

// Same sizes and all elements equal.
inline bool equal(const Tensor& a, const Tensor& b) { return a.sizes().vec() == b.sizes().vec() && (a == b).all().item<bool>(); }
// |a - b| <= atol + rtol * |b| everywhere.
inline bool allclose(const Tensor& a, const Tensor& b, double rtol = 1e-5, double atol = 1e-8, bool equal_nan = false) {
  return isclose(a, b, rtol, atol, equal_nan).all().item<bool>();
}

// --- the process

inline void manual_seed(uint64_t seed) { detail::check(phlox_manual_seed(seed)); }
inline int get_num_threads() { return phlox_num_threads(); }
inline void set_num_threads(int n) { detail::check(phlox_set_num_threads(n)); }
inline std::string report(const char* kind) {  // JSON
  phlox_text* t;
  detail::check(phlox_report(kind, &t));
  return detail::take_text(t);
}

}  // namespace v1
}  // namespace phlox
