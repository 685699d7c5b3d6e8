// How C++ functions call ops: arguments become slots on the stack, an op is looked up once.
#include "phlox/tensor.hpp"  // has all parts in their order, whichever of them is named first
#ifndef PHLOX_CALL_HPP
#define PHLOX_CALL_HPP

namespace phlox {
inline namespace v1 {
namespace detail {

inline phlox_slot none_slot() { return {}; }
inline phlox_slot make_slot(uint8_t kind, uint64_t bits) {
  phlox_slot s{};
  s.kind = kind;
  s.u.bits = bits;
  return s;
}
inline phlox_slot slot(const Tensor& t) {  // undefined: none
  phlox_slot s{};
  s.kind = t.defined() ? PHLOX_SLOT_TENSOR : PHLOX_SLOT_NONE;
  s.u.tensor = t.handle();
  return s;
}
inline phlox_slot slot(const Scalar& v) { return v.slot(); }
inline phlox_slot slot(int64_t v) { return make_slot(PHLOX_SLOT_INT, uint64_t(v)); }
inline phlox_slot slot(bool v) { return make_slot(PHLOX_SLOT_BOOL, v); }
inline phlox_slot slot(OnlyBool v) { return slot(bool(v)); }
inline phlox_slot slot(double v) {
  phlox_slot s{};
  s.kind = PHLOX_SLOT_REAL;
  s.u.real = v;
  return s;
}
inline phlox_slot slot(std::string_view v) {
  phlox_slot s{};
  s.kind = PHLOX_SLOT_STRING;
  s.count = uint32_t(v.size());
  s.u.string = v.data();
  return s;
}
inline phlox_slot slot(DType v) { return make_slot(PHLOX_SLOT_DTYPE, uint64_t(v)); }
inline phlox_slot slot(const Device& v) {
  phlox_slot s = make_slot(PHLOX_SLOT_DEVICE, uint64_t(v.kind));
  s.extra = uint8_t(v.index);
  return s;
}
template <class T>
phlox_slot slot(const std::optional<T>& v) {
  return v ? slot(*v) : none_slot();
}

// A list as slots; lives as long as the call.
class Slots {
 public:
  template <class T>
  explicit Slots(const List<T>& l, bool one_for_all = false) {
    if (one_for_all && l.is_single()) {
      all_ = v1::detail::slot(l[0]);
      return;
    }
    fill(l.begin(), l.size());
  }
  template <class T>
  explicit Slots(const OptList<T>& l, bool one_for_all = false) {
    if (!l.has_value()) return;
    if (one_for_all && l.is_single()) all_ = v1::detail::slot(l[0]);
    else fill(l.begin(), l.size());
  }
  explicit Slots(const TensorList& l) { fill(l.begin(), l.size()); }
  Slots(const Slots&) = delete;
  const phlox_slot& slot() const { return all_; }

 private:
  template <class T>
  void fill(const T* items, size_t n) {
    phlox_slot* to = few_;
    if (n > sizeof few_ / sizeof few_[0]) {
      many_.resize(n);
      to = many_.data();
    }
    for (size_t i = 0; i < n; ++i) to[i] = v1::detail::slot(items[i]);
    all_.kind = PHLOX_SLOT_LIST;
    all_.count = uint32_t(n);
    all_.u.list = to;
  }
  phlox_slot all_{};
  phlox_slot few_[6];
  std::vector<phlox_slot> many_;
};

class Op {
 public:
  explicit Op(const char* name) { check(phlox_find_op(name, &op_)); }

  Tensor call1(std::initializer_list<phlox_slot> args) const {
    phlox_tensor* out = nullptr;
    int32_t n = 1;
    check(phlox_call(op_, args.begin(), int32_t(args.size()), &out, &n, nullptr));
    return Tensor::adopt(out);
  }
  template <int n_results>
  auto call_tuple(std::initializer_list<phlox_slot> args) const {
    phlox_tensor* out[n_results] = {};
    int32_t n = n_results;
    check(phlox_call(op_, args.begin(), int32_t(args.size()), out, &n, nullptr));
    return [&]<size_t... i>(std::index_sequence<i...>) {
      return std::make_tuple(Tensor::adopt(out[i])...);
    }(std::make_index_sequence<size_t(n_results)>());
  }
  std::vector<Tensor> call_list(std::initializer_list<phlox_slot> args) const { return call_list(args.begin(), args.size()); }
  std::vector<Tensor> call_list(const phlox_slot* args, size_t n_args) const {
    int32_t n = 0;
    check(phlox_call(op_, args, int32_t(n_args), nullptr, &n, nullptr));
    std::vector<phlox_tensor*> handles(size_t(n), nullptr);
    phlox_take_results(handles.data(), n);
    std::vector<Tensor> r;
    r.reserve(handles.size());
    for (phlox_tensor* h : handles) r.push_back(Tensor::adopt(h));
    return r;
  }
  void call_in_place(std::initializer_list<phlox_slot> args) const { call1(args); }
  void call_out(std::initializer_list<phlox_slot> args) const { call_list(args); }

 private:
  const phlox_op* op_ = nullptr;
};

inline Tensor with_options(Tensor t, const TensorOptions& o) {
  if (o.requires_grad) t.requires_grad_();
  return t;
}

}  // namespace detail

// Any op by its schema name, also one that was registered at run time: call("add.Tensor", {a, b}).
struct Argument {
  phlox_slot slot;
  Argument(const Tensor& t) : slot(detail::slot(t)) {}
  Argument(std::nullopt_t) : slot(detail::none_slot()) {}
  Argument(const char* s) : slot(detail::slot(std::string_view(s))) {}
  Argument(DType d) : slot(detail::slot(d)) {}
  Argument(const Device& d) : slot(detail::slot(d)) {}
  Argument(const detail::Slots& s) : slot(s.slot()) {}
  template <class T>
    requires std::is_arithmetic_v<T>
  Argument(T v) : slot(Scalar(v).slot()) {}
};
inline std::vector<Tensor> call(const char* op, std::initializer_list<Argument> args) {
  std::vector<phlox_slot> slots;
  for (const Argument& a : args) slots.push_back(a.slot);
  return detail::Op(op).call_list(slots.data(), slots.size());
}

}  // namespace v1
}  // namespace phlox

#endif
