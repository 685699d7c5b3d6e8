#include "base/error.h"

namespace phlox {

const char* error_code_name(ErrorCode c) {
  switch (c) {
    case ErrorCode::invalid_argument: return "invalid_argument";
    case ErrorCode::out_of_range: return "out_of_range";
    case ErrorCode::not_implemented: return "not_implemented";
    case ErrorCode::not_found: return "not_found";
    case ErrorCode::bad_file: return "bad_file";
    case ErrorCode::io: return "io";
    case ErrorCode::out_of_memory: return "out_of_memory";
    case ErrorCode::autograd: return "autograd";
    case ErrorCode::trace: return "trace";
    case ErrorCode::device: return "device";
    case ErrorCode::internal: return "internal";
  }
  return "?";
}

static std::string error_text(const ErrorParts& p) {
  std::string s = cat(p.op, ": ", p.fact);
  if (!p.got.empty()) s += cat("; got ", p.got);
  if (!p.expected.empty()) s += cat("; expected ", p.expected);
  if (!p.remedy.empty()) s += cat("; ", p.remedy);
  return s;
}

Error::Error(ErrorCode code, ErrorParts parts) : code_(code), parts_(std::move(parts)), text_(error_text(parts_)) {}

InternalError::InternalError(std::string_view condition, std::string_view detail, const char* file, int line)
    : Error(ErrorCode::internal, {.op = "internal", .fact = cat("check failed: ", condition),
                                  .got = std::string(detail), .remedy = cat("please report this: ", file, ":", line)}) {}

void fail(ErrorCode code, ErrorParts parts) { throw Error(code, std::move(parts)); }

void check_failed(const char* condition, const std::string& detail, const char* file, int line) {
  throw InternalError(condition, detail, file, line);
}

}  // namespace phlox
