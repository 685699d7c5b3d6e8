// phlox::Tensor: a handle to a tensor, one pointer. Copies share the tensor; views share memory as in PyTorch. A handle
// that was made from nothing is undefined: it stands for "no tensor" where an argument is optional.
//
// Methods and functions named as PyTorch's ops come from the op declarations: see ops.hpp.
#pragma once
#include <concepts>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "phlox/types.hpp"

namespace phlox {
inline namespace v1 {

class Tensor;
class TensorIndex;
class Hook;

// Tensors as an argument: {a, b}, a vector.
class TensorList {
 public:
  TensorList() = default;
  TensorList(std::initializer_list<Tensor> l) : TensorList(l.begin(), l.size()) {}
  TensorList(const Tensor* data, size_t size) : data_(data), size_(size) {}
  TensorList(const std::vector<Tensor>& v);
  size_t size() const { return size_; }
  const Tensor* begin() const { return data_; }
  const Tensor* end() const;
  const Tensor& operator[](size_t i) const;

 private:
  const Tensor* data_ = nullptr;
  size_t size_ = 0;
};

class Tensor {
 public:
  Tensor() noexcept : h_(nullptr) {}
  Tensor(std::nullopt_t) noexcept : h_(nullptr) {}
  Tensor(const Tensor& o) : h_(phlox_tensor_retain(o.h_)) {}
  Tensor(Tensor&& o) noexcept : h_(std::exchange(o.h_, nullptr)) {}
  Tensor& operator=(Tensor o) noexcept {
    std::swap(h_, o.h_);
    return *this;
  }
  ~Tensor() { phlox_tensor_release(h_); }
  static Tensor adopt(phlox_tensor* h) {  // takes over a reference
    Tensor t;
    t.h_ = h;
    return t;
  }
  static Tensor share(phlox_tensor* h) { return adopt(phlox_tensor_retain(h)); }
  phlox_tensor* handle() const { return h_; }
  phlox_tensor* release() { return std::exchange(h_, nullptr); }

  bool defined() const { return h_ != nullptr; }
  explicit operator bool() const = delete;  // ask defined(), or item<bool>()
  bool is_same(const Tensor& o) const { return h_ == o.h_; }
  bool is_alias_of(const Tensor& o) const { return phlox_tensor_shares_storage(need(), o.need()) != 0; }

  // --- what it is
  int64_t dim() const { return phlox_tensor_rank(need()); }
  IntList sizes() const { return {phlox_tensor_sizes(need()), size_t(dim())}; }
  IntList strides() const { return {phlox_tensor_strides(need()), size_t(dim())}; }
  int64_t size(int64_t d) const { return sizes()[wrap(d)]; }
  int64_t stride(int64_t d) const { return strides()[wrap(d)]; }
  int64_t numel() const { return phlox_tensor_numel(need()); }
  int64_t storage_offset() const { return phlox_tensor_offset(need()); }
  DType dtype() const { return DType(phlox_tensor_dtype(need())); }
  int64_t element_size() const { return dtype_bytes(dtype()); }
  Device device() const { return phlox_tensor_device(need()); }
  bool is_cpu() const { return device().is_cpu(); }
  bool is_cuda() const { return device().is_cuda(); }
  bool is_floating_point() const { return v1::is_floating_point(dtype()); }
  bool is_complex() const { return v1::is_complex(dtype()); }
  bool is_contiguous() const { return flag(PHLOX_FLAG_CONTIGUOUS); }
  bool is_inference() const { return flag(PHLOX_FLAG_INFERENCE); }
  bool is_leaf() const { return flag(PHLOX_FLAG_LEAF); }
  uint32_t version() const { return phlox_tensor_version(need()); }
  TensorOptions options() const { return {.dtype = dtype(), .device = device()}; }

  // --- its values
  Scalar item() const {
    phlox_number n;
    detail::check(phlox_tensor_item(need(), &n));
    if (n.kind == PHLOX_SLOT_BOOL) return n.integer != 0;
    if (n.kind == PHLOX_SLOT_INT) return n.integer;
    return n.kind == PHLOX_SLOT_REAL ? Scalar(n.real) : Scalar::complex(n.real, n.imag);
  }
  template <class T>
  T item() const {
    return item().to<T>();
  }
  // The first element where it lies; error unless T is the dtype's C++ type. Device memory on a GPU.
  template <class T>
  T* data() const {
    check_dtype(dtype_of<std::remove_cv_t<T>>());
    return static_cast<T*>(phlox_tensor_data(need()));
  }
  template <class T>
  T* data_ptr() const {
    return data<T>();
  }
  void* data_ptr() const { return phlox_tensor_data(need()); }
  // All elements in row-major order, whatever strides and device.
  template <class T>
  std::vector<T> to_vector() const {
    static_assert(!std::is_same_v<T, bool>, "std::vector<bool> has no memory: use uint8_t");
    if (!(dtype() == boolean && std::is_same_v<T, uint8_t>)) check_dtype(dtype_of<T>());
    std::vector<T> v(static_cast<size_t>(numel()));
    detail::check(phlox_tensor_read(need(), v.data(), v.size() * sizeof(T)));
    return v;
  }
  std::string str() const {
    phlox_text* t;
    detail::check(phlox_tensor_print(need(), &t));
    return detail::take_text(t);
  }
  std::string describe() const {  // "f32[2,3]"
    phlox_text* t;
    detail::check(phlox_tensor_describe(need(), &t));
    return detail::take_text(t);
  }

  // --- conversions
  Tensor to(DType dtype) const;
  Tensor to(const Device& device) const {
    phlox_tensor* r;
    detail::check(phlox_tensor_to_device(need(), device.raw(), &r));
    return adopt(r);
  }
  Tensor to(const TensorOptions& o) const;
  Tensor to(const Tensor& other) const { return to(other.device()).to(other.dtype()); }
  Tensor cpu() const { return to(Device()); }
  Tensor cuda(int32_t index = 0) const { return to(Device(DeviceKind::cuda, index)); }
  Tensor clone() const;
  Tensor contiguous() const { return is_contiguous() ? *this : clone(); }
  Tensor detach() const {
    phlox_tensor* r;
    detail::check(phlox_tensor_detach(need(), &r));
    return adopt(r);
  }

  // --- indexing
  Tensor index(std::initializer_list<TensorIndex> items) const;
  Tensor index(const std::vector<TensorIndex>& items) const;
  const Tensor& index_put_(std::initializer_list<TensorIndex> items, const Tensor& values, bool accumulate = false) const;
  const Tensor& index_put_(std::initializer_list<TensorIndex> items, const Scalar& value, bool accumulate = false) const;
  const Tensor& index_put_(const std::vector<TensorIndex>& items, const Tensor& values, bool accumulate = false) const;
  Tensor operator[](int64_t i) const;
  Tensor operator[](const Tensor& i) const;

  // --- changes in place that are no ops
  const Tensor& copy_(const Tensor& source) const;
  const Tensor& fill_(const Scalar& value) const;
  const Tensor& fill_(const Tensor& value) const { return copy_(value); }
  const Tensor& zero_() const { return fill_(0); }
  // Takes over the storage, shape and dtype of `source`, staying the same leaf.
  const Tensor& set_data(const Tensor& source) const {
    detail::check(phlox_tensor_set_data(need(), source.need()));
    return *this;
  }

  // --- gradients
  bool requires_grad() const { return flag(PHLOX_FLAG_REQUIRES_GRAD); }
  const Tensor& requires_grad_(bool on = true) const {
    detail::check(phlox_tensor_set_requires_grad(need(), on));
    return *this;
  }
  const Tensor& set_requires_grad(bool on) const { return requires_grad_(on); }
  void backward(const Tensor& gradient = {}, std::optional<bool> retain_graph = {}, bool create_graph = false) const {
    phlox_tensor *root = need(), *g = gradient.h_;
    const uint32_t flags = (retain_graph.value_or(create_graph) ? PHLOX_RETAIN_GRAPH : 0) | (create_graph ? PHLOX_CREATE_GRAPH : 0);
    detail::check(phlox_backward(&root, &g, 1, flags));
  }
  Tensor grad() const {  // undefined where there is none
    phlox_tensor* g;
    detail::check(phlox_tensor_grad(need(), &g));
    return adopt(g);
  }
  const Tensor& set_grad(const Tensor& g) const {
    detail::check(phlox_tensor_set_grad(need(), g.h_));
    return *this;
  }
  void retain_grad() const { detail::check(phlox_tensor_retain_grad(need())); }
  bool retains_grad() const { return flag(PHLOX_FLAG_RETAINS_GRAD); }
  std::string grad_fn_name() const {  // "" for leaves
    phlox_text* t;
    detail::check(phlox_tensor_grad_fn_name(need(), &t));
    return t ? detail::take_text(t) : std::string();
  }
  // hook(grad), which may return another gradient. Runs whenever this tensor's gradient has been computed.
  template <class F>
  Hook register_hook(F hook) const;
  // hook(tensor), after .grad of this leaf was added to.
  template <class F>
  Hook register_post_accumulate_grad_hook(F hook) const;

  // --- shorthands of ops
  Tensor T() const;   // the matrix transposed
  Tensor mT() const;  // the last two dims transposed

#include "phlox/tensor_methods.inc"

 private:
  phlox_tensor* need() const {
    if (!h_) [[unlikely]] throw Error(ErrorCode::invalid_argument, "tensor", "an undefined tensor has no properties");
    return h_;
  }
  bool flag(uint32_t f) const { return (phlox_tensor_flags(need()) & f) != 0; }
  size_t wrap(int64_t d) const {
    const int64_t n = dim();
    if (d < -n || d >= n)
      throw Error(ErrorCode::out_of_range, "size", "there is no such dimension", std::to_string(d),
                  n ? std::to_string(-n) + " to " + std::to_string(n - 1) : "nothing: the tensor has no dimensions");
    return size_t(d < 0 ? d + n : d);
  }
  void check_dtype(DType asked) const {
    if (dtype() != asked)
      throw Error(ErrorCode::invalid_argument, "data", "the elements are of another type", dtype_name(dtype()),
                  dtype_name(asked), std::string("convert with .to(") + dtype_name(asked) + ")");
  }
  phlox_tensor* h_;
};
static_assert(sizeof(Tensor) == sizeof(phlox_tensor*), "a handle is one pointer");

inline TensorList::TensorList(const std::vector<Tensor>& v) : data_(v.data()), size_(v.size()) {}
inline const Tensor* TensorList::end() const { return data_ + size_; }
inline const Tensor& TensorList::operator[](size_t i) const { return data_[i]; }

// One item of an index: x.index({Slice(1, 3), None, Ellipsis, 0, rows}).
class TensorIndex {
 public:
  TensorIndex(NoneIndex) { item_.kind = PHLOX_INDEX_NONE; }
  TensorIndex(EllipsisIndex) { item_.kind = PHLOX_INDEX_ELLIPSIS; }
  TensorIndex(const char*) { item_.kind = PHLOX_INDEX_ELLIPSIS; }  // "..."
  template <class I>
    requires std::integral<I>
  TensorIndex(I i) {
    item_.kind = std::is_same_v<I, bool> ? PHLOX_INDEX_BOOL : PHLOX_INDEX_INT;
    item_.start = int64_t(i);
  }
  TensorIndex(const Slice& s) {
    item_.kind = PHLOX_INDEX_SLICE;
    item_.has = (s.start ? PHLOX_SLICE_HAS_START : 0) | (s.stop ? PHLOX_SLICE_HAS_STOP : 0);
    item_.start = s.start.value_or(0);
    item_.stop = s.stop.value_or(0);
    item_.step = s.step;
  }
  TensorIndex(const Tensor& t) : keep_(t) {
    item_.kind = PHLOX_INDEX_TENSOR;
    item_.tensor = t.handle();
  }
  const phlox_index_item& raw() const { return item_; }

 private:
  phlox_index_item item_{};
  Tensor keep_;
};

// A registered hook. Dropping the handle leaves the hook in place.
class Hook {
 public:
  explicit Hook(phlox_hook* h) : h_(h) {}
  Hook(Hook&& o) noexcept : h_(std::exchange(o.h_, nullptr)) {}
  Hook& operator=(Hook&& o) noexcept {
    std::swap(h_, o.h_);
    return *this;
  }
  ~Hook() { phlox_hook_release(h_); }
  void remove() { phlox_hook_remove(h_); }

 private:
  phlox_hook* h_;
};

std::string to_string(const Tensor& t);
inline std::string to_string(const Tensor& t) { return t.defined() ? t.str() : "tensor(undefined)"; }

// On any stream of characters.
template <class Stream>
  requires requires(Stream& s, const std::string& text) { s.write(text.data(), std::streamsize(0)); }
Stream& operator<<(Stream& s, const Tensor& t) {
  const std::string text = to_string(t);
  s.write(text.data(), std::streamsize(text.size()));
  return s;
}

}  // namespace v1
}  // namespace phlox

#include "phlox/call.hpp"
#include "phlox/ops.hpp"
#include "phlox/tensor_inline.hpp"
