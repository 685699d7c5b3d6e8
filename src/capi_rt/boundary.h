// The boundary of the C ABI: handles to objects and back, exceptions to status codes, callbacks' failures to
// exceptions. Invariant: nothing thrown inside leaves an entry point; every failure leaves a text behind. Refuses: null
// handles where one is required (Error invalid_argument that names the entry point).
#pragma once
#include <string>

#include "phlox/phlox.h"
#include "tensor/tensor.h"

struct phlox_error {
  phlox_status status = PHLOX_OK;
  std::string message, parts[5];
};
struct phlox_text {
  std::string text;
};

namespace phlox {

// A function of the caller's failed; what it said travels on.
class CallbackError final : public std::exception {
 public:
  explicit CallbackError(phlox_error error) : error_(std::move(error)) {}
  const char* what() const noexcept override { return error_.message.c_str(); }
  const phlox_error& error() const { return error_; }

 private:
  phlox_error error_;
};

phlox_error& last_error();                            // of this thread
phlox_status record_exception() noexcept;             // the one being handled
void check_callback(phlox_status status);             // throws CallbackError unless PHLOX_OK

// The body of an entry point.
template <class F>
phlox_status guarded(F&& body) noexcept {
  try {
    body();
    return PHLOX_OK;
  } catch (...) {
    return record_exception();
  }
}

inline TensorImpl* to_impl(const phlox_tensor* t) { return reinterpret_cast<TensorImpl*>(const_cast<phlox_tensor*>(t)); }
inline phlox_tensor* to_handle(Tensor t) { return reinterpret_cast<phlox_tensor*>(t.take()); }  // gives the reference
[[noreturn]] void null_handle(const char* entry, const char* what);
inline TensorImpl& need(const phlox_tensor* t, const char* entry) {
  if (!t) null_handle(entry, "tensor");
  return *to_impl(t);
}
inline Tensor need_ref(const phlox_tensor* t, const char* entry) { return Tensor::share(&need(t, entry)); }
template <class T>
void need_out(T* out, const char* entry) {
  if (!out) null_handle(entry, "place for the result");
}

DType need_dtype(int32_t dtype, const char* entry);
Ints need_sizes(const int64_t* sizes, int32_t rank, const char* entry);
Device& need_device(phlox_device device);
DeviceId to_device_id(phlox_device device);
phlox_device from_device_id(DeviceId id);
void start_devices();  // makes device kinds other than the CPU known, once

}  // namespace phlox
