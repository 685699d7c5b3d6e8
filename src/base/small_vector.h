// SmallVector<T, N>: a vector whose first N elements live inside the object. For shapes, strides and operand lists,
// which are short and copied often.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

namespace phlox {

template <class T, uint32_t N>
class SmallVector {
  static constexpr bool trivial = std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>;

 public:
  SmallVector() = default;
  SmallVector(std::initializer_list<T> l) { append(l.begin(), l.end()); }
  explicit SmallVector(std::span<const T> s) { append(s.begin(), s.end()); }
  explicit SmallVector(size_t n, const T& v = T()) { resize(n, v); }
  SmallVector(const SmallVector& o) { append(o.begin(), o.end()); }
  SmallVector(SmallVector&& o) noexcept { steal(o); }
  SmallVector& operator=(const SmallVector& o) {
    if (this != &o) { clear(); append(o.begin(), o.end()); }
    return *this;
  }
  SmallVector& operator=(SmallVector&& o) noexcept {
    if (this != &o) { destroy(); steal(o); }
    return *this;
  }
  ~SmallVector() { destroy(); }

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }
  T& back() { return data_[size_ - 1]; }
  const T& back() const { return data_[size_ - 1]; }
  T& front() { return data_[0]; }
  const T& front() const { return data_[0]; }

  void push_back(T v) {
    if (size_ == cap_) grow(size_ + 1);
    new (data_ + size_) T(std::move(v));
    ++size_;
  }
  void pop_back() { data_[--size_].~T(); }
  void clear() {
    if constexpr (!trivial)
      for (uint32_t i = 0; i < size_; ++i) data_[i].~T();
    size_ = 0;
  }
  void reserve(size_t n) { if (n > cap_) grow(n); }
  void resize(size_t n, const T& v = T()) {
    reserve(n);
    while (size_ > n) pop_back();
    while (size_ < n) push_back(v);
  }
  void assign(size_t n, const T& v) { clear(); resize(n, v); }
  template <class It>
  void append(It b, It e) {
    if constexpr (trivial && std::is_pointer_v<It> && std::is_same_v<std::remove_cv_t<std::remove_pointer_t<It>>, T>) {
      const size_t n = size_t(e - b);
      if (size_ + n > cap_) grow(size_ + n);
      if (n) std::memcpy(static_cast<void*>(data_ + size_), b, n * sizeof(T));
      size_ += uint32_t(n);
    } else {
      for (; b != e; ++b) push_back(*b);
    }
  }
  T* insert(size_t at, T v) {
    push_back(std::move(v));
    for (size_t i = size_ - 1; i > at; --i) std::swap(data_[i], data_[i - 1]);
    return data_ + at;
  }
  void erase(size_t at) {
    for (size_t i = at; i + 1 < size_; ++i) data_[i] = std::move(data_[i + 1]);
    pop_back();
  }
  operator std::span<const T>() const { return {data_, size_}; }
  operator std::span<T>() { return {data_, size_}; }
  friend bool operator==(const SmallVector& a, const SmallVector& b) {
    if (a.size_ != b.size_) return false;
    for (uint32_t i = 0; i < a.size_; ++i) if (!(a.data_[i] == b.data_[i])) return false;
    return true;
  }

 private:
  T* inline_data() { return reinterpret_cast<T*>(inline_); }
  void grow(size_t n) {
    uint32_t cap = cap_ * 2;
    while (cap < n) cap *= 2;
    T* p = static_cast<T*>(::operator new(cap * sizeof(T)));
    if constexpr (trivial) {
      if (size_) std::memcpy(static_cast<void*>(p), data_, size_ * sizeof(T));
    } else {
      for (uint32_t i = 0; i < size_; ++i) { new (p + i) T(std::move(data_[i])); data_[i].~T(); }
    }
    if (data_ != inline_data()) ::operator delete(data_);
    data_ = p;
    cap_ = cap;
  }
  void steal(SmallVector& o) {
    if (o.data_ != o.inline_data()) {
      data_ = o.data_; cap_ = o.cap_; size_ = o.size_;
    } else {
      data_ = inline_data(); cap_ = N; size_ = 0;
      if constexpr (trivial) {
        append(o.data_, o.data_ + o.size_);
      } else {
        for (auto& v : o) push_back(std::move(v));
        for (uint32_t i = 0; i < o.size_; ++i) o.data_[i].~T();
      }
    }
    o.data_ = o.inline_data(); o.cap_ = N; o.size_ = 0;
  }
  void destroy() { clear(); if (data_ != inline_data()) ::operator delete(data_); data_ = inline_data(); cap_ = N; }

  T* data_ = inline_data();
  uint32_t size_ = 0, cap_ = N;
  alignas(T) unsigned char inline_[sizeof(T) * N];
};

}  // namespace phlox
