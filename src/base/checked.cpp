#include "base/checked.h"

namespace phlox {

void size_overflow(const char* what, int64_t a, int64_t b) {
  fail(ErrorCode::invalid_argument, {.op = what, .fact = "a size does not fit in 64 bits",
                                     .got = cat(a, " and ", b), .remedy = "use smaller dimensions"});
}

}  // namespace phlox
