// Ref<T>: intrusive, thread-safe reference counting for the long-lived objects of the runtime (storages, programs,
// tapes). T derives from RefCounted. A Ref is one pointer; copying is one relaxed increment.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace phlox {

class RefCounted {
 public:
  RefCounted() = default;
  RefCounted(const RefCounted&) = delete;
  RefCounted& operator=(const RefCounted&) = delete;
  void retain() const { refs_.fetch_add(1, std::memory_order_relaxed); }
  // True when the caller dropped the last reference and must destroy the object.
  bool release() const {
    // Nobody else can count a reference that only this caller holds: most objects end here, without a locked instruction.
    if (refs_.load(std::memory_order_acquire) == 1) return true;
    return refs_.fetch_sub(1, std::memory_order_acq_rel) == 1;
  }
  uint32_t use_count() const { return refs_.load(std::memory_order_relaxed); }

 private:
  mutable std::atomic<uint32_t> refs_{1};
};

template <class T>
class Ref {
 public:
  Ref() = default;
  Ref(std::nullptr_t) {}
  // Takes over the reference that `new T` starts with.
  static Ref adopt(T* p) { Ref r; r.p_ = p; return r; }
  static Ref share(T* p) { if (p) p->retain(); return adopt(p); }
  Ref(const Ref& o) : p_(o.p_) { if (p_) p_->retain(); }
  Ref(Ref&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
  template <class U> requires std::is_convertible_v<U*, T*>
  Ref(Ref<U> o) : p_(o.take()) {}
  Ref& operator=(Ref o) noexcept { std::swap(p_, o.p_); return *this; }
  ~Ref() { if (p_ && p_->release()) delete p_; }
  T* get() const { return p_; }
  T* operator->() const { return p_; }
  T& operator*() const { return *p_; }
  explicit operator bool() const { return p_ != nullptr; }
  T* take() { return std::exchange(p_, nullptr); }
  friend bool operator==(const Ref& a, const Ref& b) { return a.p_ == b.p_; }

 private:
  T* p_ = nullptr;
};

template <class T, class... A>
Ref<T> make_ref(A&&... args) { return Ref<T>::adopt(new T(std::forward<A>(args)...)); }

}  // namespace phlox
