// Errors: the two worlds of failure.
//
// Error is for users: `op: fact; got; expected; remedy`, thrown by value, never swallowed, carried across the C ABI.
// PHLOX_CHECK is for us: a broken invariant of phlox itself; it throws InternalError, which asks for a report.
// Refuses: aborting, printing, error codes without text.
#pragma once
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>

#include "base/format.h"

namespace phlox {

enum class ErrorCode : uint8_t {
  invalid_argument,  // a value, shape, dtype or schema does not fit
  out_of_range,      // an index is outside its dimension
  not_implemented,   // a meaning phlox does not have yet; never a wrong result instead
  not_found,         // a name (op, tensor, file) does not exist
  bad_file,          // bytes break the rules of their format
  io,                // the system refused a read or write
  out_of_memory,     // an allocation failed; state is intact
  autograd,          // a gradient was asked that cannot be given (stale saved value, freed tape, ...)
  trace,             // something that a traced function may not do
  device,            // a device or its library reported a failure
  internal,          // a bug in phlox
};
const char* error_code_name(ErrorCode);

// The parts of a user error. `op` and `fact` are required; empty parts are left out of the text.
struct ErrorParts {
  std::string op;        // the operator or entry point, in the user's words: "matmul"
  std::string fact;      // what is wrong: "inner sizes differ"
  std::string got;       // the offending values with their types
  std::string expected;  // what would have been accepted
  std::string remedy;    // what to do
};

class Error : public std::exception {
 public:
  Error(ErrorCode code, ErrorParts parts);
  const char* what() const noexcept override { return text_.c_str(); }
  ErrorCode code() const { return code_; }
  const ErrorParts& parts() const { return parts_; }

 private:
  ErrorCode code_;
  ErrorParts parts_;
  std::string text_;
};

class InternalError : public Error {
 public:
  InternalError(std::string_view condition, std::string_view detail, const char* file, int line);
};

[[noreturn]] void fail(ErrorCode code, ErrorParts parts);
[[noreturn]] void check_failed(const char* condition, const std::string& detail, const char* file, int line);

}  // namespace phlox

// An invariant of phlox. Extra arguments are concatenated into the message.
#define PHLOX_CHECK(cond, ...)                                                                       \
  do {                                                                                               \
    if (!(cond)) [[unlikely]]                                                                        \
      ::phlox::check_failed(#cond, ::phlox::cat(__VA_ARGS__), __FILE__, __LINE__);                   \
  } while (0)
