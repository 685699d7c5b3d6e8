// What the printer and the parser of loops share.
#pragma once
#include <string>

#include "loop/loop.h"

namespace phlox {

const char* param_kind_name(Param::Kind k);
// A constant as text: true, 12, 0.1 (shortest that reads back), -0, inf, nan; a NaN of other bits as nan(0x7fc00001).
std::string constant_text(DType d, int64_t bits);

}  // namespace phlox
