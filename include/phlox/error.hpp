// phlox::Error: what a call throws when it cannot do what was asked. It says which op, what is wrong, what it got, what
// it would have taken and what to do; what() is all of it in one line.
//
// Exceptions of the caller's own, thrown inside hooks and functions that phlox calls, come out of the call that ran
// them unchanged.
#pragma once
#include <exception>
#include <string>
#include <utility>

#include "phlox/phlox.h"

namespace phlox {
inline namespace v1 {

enum class ErrorCode : int32_t {
  invalid_argument = PHLOX_INVALID_ARGUMENT,
  out_of_range = PHLOX_OUT_OF_RANGE,
  not_implemented = PHLOX_NOT_IMPLEMENTED,
  not_found = PHLOX_NOT_FOUND,
  bad_file = PHLOX_BAD_FILE,
  io = PHLOX_IO,
  out_of_memory = PHLOX_OUT_OF_MEMORY,
  autograd = PHLOX_AUTOGRAD,
  trace = PHLOX_TRACE,
  device = PHLOX_DEVICE,
  internal = PHLOX_INTERNAL,
  callback = PHLOX_CALLBACK,
};

class Error : public std::exception {
 public:
  explicit Error(const phlox_error* e)
      : code_(ErrorCode(phlox_error_status(e))), text_(phlox_error_message(e)) {
    for (int i = 0; i < 5; ++i) parts_[i] = phlox_error_part(e, i);
  }
  Error(ErrorCode code, std::string op, std::string fact, std::string got = {}, std::string expected = {},
        std::string remedy = {})
      : code_(code), parts_{std::move(op), std::move(fact), std::move(got), std::move(expected), std::move(remedy)} {
    text_ = parts_[0] + ": " + parts_[1];
    if (!parts_[2].empty()) text_ += "; got " + parts_[2];
    if (!parts_[3].empty()) text_ += "; expected " + parts_[3];
    if (!parts_[4].empty()) text_ += "; " + parts_[4];
  }
  const char* what() const noexcept override { return text_.c_str(); }
  ErrorCode code() const { return code_; }
  const std::string& op() const { return parts_[0]; }
  const std::string& fact() const { return parts_[1]; }
  const std::string& got() const { return parts_[2]; }
  const std::string& expected() const { return parts_[3]; }
  const std::string& remedy() const { return parts_[4]; }

 private:
  ErrorCode code_;
  std::string text_;
  std::string parts_[5];
};

namespace detail {

// The exception of a callback on its way through the library.
inline std::exception_ptr& parked_exception() {
  static thread_local std::exception_ptr parked;
  return parked;
}

[[noreturn]] inline void throw_last(phlox_status status) {
  if (status == PHLOX_CALLBACK)
    if (std::exception_ptr parked = std::exchange(parked_exception(), nullptr)) std::rethrow_exception(parked);
  throw Error(phlox_last_error());
}
inline void check(phlox_status status) {
  if (status != PHLOX_OK) [[unlikely]] throw_last(status);
}

// The body of a function that the library calls.
template <class F>
phlox_status shielded(F&& body) noexcept {
  try {
    body();
    return PHLOX_OK;
  } catch (const std::exception& e) {
    parked_exception() = std::current_exception();
    return phlox_raise(PHLOX_CALLBACK, "callback", e.what(), nullptr, nullptr, nullptr);
  } catch (...) {
    parked_exception() = std::current_exception();
    return phlox_raise(PHLOX_CALLBACK, "callback", "an exception that is no std::exception", nullptr, nullptr, nullptr);
  }
}

// Text from the library.
inline std::string take_text(phlox_text* t) {
  std::string s;
  try {
    s.assign(phlox_text_data(t), phlox_text_size(t));
  } catch (...) {
    phlox_text_free(t);
    throw;
  }
  phlox_text_free(t);
  return s;
}

}  // namespace detail
}  // namespace v1
}  // namespace phlox
