// The small types of the API: dtypes, devices, numbers, and lists as function arguments.
#pragma once
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "phlox/error.hpp"

namespace phlox {
inline namespace v1 {

enum class DType : int32_t {
  boolean = PHLOX_BOOL, u8 = PHLOX_U8, i8 = PHLOX_I8, i16 = PHLOX_I16, i32 = PHLOX_I32, i64 = PHLOX_I64, f16 = PHLOX_F16,
  bf16 = PHLOX_BF16, f32 = PHLOX_F32, f64 = PHLOX_F64, c64 = PHLOX_C64, c128 = PHLOX_C128, f8e4m3 = PHLOX_F8E4M3,
  f8e5m2 = PHLOX_F8E5M2, u16 = PHLOX_U16, u32 = PHLOX_U32, u64 = PHLOX_U64,
};
inline constexpr DType boolean = DType::boolean, u8 = DType::u8, i8 = DType::i8, i16 = DType::i16, i32 = DType::i32,
                       i64 = DType::i64, f16 = DType::f16, bf16 = DType::bf16, f32 = DType::f32, f64 = DType::f64,
                       c64 = DType::c64, c128 = DType::c128, f8e4m3 = DType::f8e4m3, f8e5m2 = DType::f8e5m2,
                       u16 = DType::u16, u32 = DType::u32, u64 = DType::u64;
inline const char* dtype_name(DType d) { return phlox_dtype_name(int32_t(d)); }
inline int64_t dtype_bytes(DType d) { return phlox_dtype_bytes(int32_t(d)); }
inline bool is_complex(DType d) { return d == c64 || d == c128; }
inline bool is_floating_point(DType d) {
  return d == f32 || d == f64 || d == f16 || d == bf16 || d == f8e4m3 || d == f8e5m2;
}
inline DType promote_types(DType a, DType b) {
  const int32_t d = phlox_promote_types(int32_t(a), int32_t(b));
  if (d < 0) throw Error(phlox_last_error());
  return DType(d);
}

// The dtype of a C++ type; u8 for unsigned char, boolean for bool.
template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, bool>) return boolean;
  else if constexpr (std::is_same_v<T, float>) return f32;
  else if constexpr (std::is_same_v<T, double>) return f64;
  else {
    static_assert(std::is_integral_v<T>, "no dtype is this C++ type");
    constexpr DType signed_types[] = {i8, i16, i32, i64}, unsigned_types[] = {u8, u16, u32, u64};
    constexpr int log = sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3;
    return std::is_signed_v<T> ? signed_types[log] : unsigned_types[log];
  }
}

enum class DeviceKind : int32_t { cpu = PHLOX_CPU, cuda = PHLOX_CUDA };
struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int32_t index = 0;
  Device() = default;
  Device(DeviceKind kind, int32_t index = 0) : kind(kind), index(index) {}
  Device(phlox_device d) : kind(DeviceKind(d.kind)), index(d.index) {}
  Device(const char* text) {
    phlox_device d;
    detail::check(phlox_parse_device(text, &d));
    *this = d;
  }
  Device(const std::string& text) : Device(text.c_str()) {}
  phlox_device raw() const { return {int32_t(kind), index}; }
  bool is_cpu() const { return kind == DeviceKind::cpu; }
  bool is_cuda() const { return kind == DeviceKind::cuda; }
  std::string str() const { return is_cpu() ? "cpu" : "cuda:" + std::to_string(index); }
  friend bool operator==(const Device& a, const Device& b) { return a.kind == b.kind && a.index == b.index; }
};
inline bool cuda_is_available() { return phlox_device_count(PHLOX_CUDA) > 0; }
inline int cuda_device_count() { return phlox_device_count(PHLOX_CUDA); }
inline void synchronize(const Device& d) { detail::check(phlox_synchronize(d.raw())); }

// A number of any kind.
class Scalar {
 public:
  template <class T>
    requires std::is_arithmetic_v<T>
  Scalar(T v) {
    if constexpr (std::is_same_v<T, bool>) { kind_ = PHLOX_SLOT_BOOL; integer_ = v; }
    else if constexpr (std::is_integral_v<T>) { kind_ = PHLOX_SLOT_INT; integer_ = int64_t(v); }
    else { kind_ = PHLOX_SLOT_REAL; parts_[0] = double(v); }
  }
  static Scalar complex(double real, double imag) {
    Scalar s(real);
    s.kind_ = PHLOX_SLOT_COMPLEX;
    s.parts_[1] = imag;
    return s;
  }
  bool is_bool() const { return kind_ == PHLOX_SLOT_BOOL; }
  bool is_integral() const { return kind_ == PHLOX_SLOT_INT; }
  bool is_floating_point() const { return kind_ == PHLOX_SLOT_REAL; }
  bool is_complex() const { return kind_ == PHLOX_SLOT_COMPLEX; }
  bool has_integer() const { return is_bool() || is_integral(); }
  template <class T>
  T to() const {
    return has_integer() ? T(integer_) : T(parts_[0]);
  }
  double real() const { return to<double>(); }
  double imag() const { return is_complex() ? parts_[1] : 0; }
  phlox_slot slot() const {  // as long-lived as this Scalar
    phlox_slot s{};
    s.kind = uint8_t(kind_);
    if (has_integer()) s.u.integer = integer_;
    else if (is_complex()) s.u.complex = parts_;
    else s.u.real = parts_[0];
    return s;
  }

 private:
  int32_t kind_;
  int64_t integer_ = 0;
  double parts_[2] = {0, 0};
};

// A bool argument that a number does not turn into: where x.var(1) shall mean dimension 1.
class OnlyBool {
 public:
  template <std::same_as<bool> B>
  OnlyBool(B v) : value_(v) {}
  operator bool() const { return value_; }

 private:
  bool value_;
};

// A list as an argument: sizes, dims, numbers. It refers to the caller's memory and is good for the call only. Where a
// schema says int[2], one int stands for both.
template <class T>
class List {
 public:
  List() = default;
  List(T one) : one_(one), single_(true), size_(1) {}
  List(std::initializer_list<T> l) : List(l.begin(), l.size()) {}
  List(const T* data, size_t size) : data_(data), size_(size) {}
  template <class C>
    requires requires(const C& c) { { c.data() } -> std::convertible_to<const T*>; c.size(); }
  List(const C& c) : data_(c.data()), size_(c.size()) {}
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  bool is_single() const { return single_; }
  const T* data() const { return single_ ? &one_ : data_; }
  const T* begin() const { return data(); }
  const T* end() const { return data() + size_; }
  const T& operator[](size_t i) const { return data()[i]; }
  std::vector<T> vec() const { return {begin(), end()}; }

 private:
  const T* data_ = nullptr;
  T one_{};
  bool single_ = false;
  size_t size_ = 0;
};
using IntList = List<int64_t>;
using RealList = List<double>;
using BoolList = List<bool>;

// A list that may be absent.
template <class T>
class OptList : public List<T> {
 public:
  OptList() = default;
  OptList(std::nullopt_t) {}
  OptList(T one) : List<T>(one), given_(true) {}
  OptList(std::initializer_list<T> l) : List<T>(l), given_(true) {}
  OptList(const List<T>& l) : List<T>(l), given_(true) {}
  template <class C>
    requires requires(const C& c) { { c.data() } -> std::convertible_to<const T*>; c.size(); }
  OptList(const C& c) : List<T>(c), given_(true) {}
  bool has_value() const { return given_; }

 private:
  bool given_ = false;
};
using OptIntList = OptList<int64_t>;
using OptRealList = OptList<double>;

// What a tensor that is made anew shall be: zeros({2, 3}, {.dtype = f64, .device = "cuda"}).
struct TensorOptions {
  std::optional<DType> dtype{};
  std::optional<Device> device{};
  bool requires_grad = false;
};

struct NoneIndex {};
struct EllipsisIndex {};
inline constexpr NoneIndex None{};
inline constexpr EllipsisIndex Ellipsis{};
// start:stop:step, any of them absent: Slice(1, 3), Slice(None, 3), Slice().
struct Slice {
  std::optional<int64_t> start, stop;
  int64_t step = 1;
  struct Bound {
    std::optional<int64_t> at;
    Bound(NoneIndex) {}
    Bound(int64_t v) : at(v) {}
  };
  Slice() = default;
  Slice(Bound start, Bound stop = None, int64_t step = 1) : start(start.at), stop(stop.at), step(step) {}
};

}  // namespace v1
}  // namespace phlox
