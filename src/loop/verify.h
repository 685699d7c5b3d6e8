// The rules of a well-formed Loop as a question. verify_loop turns a defect into InternalError (our builder is wrong);
// parse_loop turns it into Error(invalid_argument) (the text is wrong).
#pragma once
#include <string>

#include "loop/loop.h"

namespace phlox {

struct LoopDefect {
  std::string text;        // empty: the loop is well formed
  int64_t inst = -1;       // the instruction that breaks a rule, or -1
  int64_t store = -1;      // the store that breaks a rule, or -1
};
LoopDefect loop_defect(const Loop& loop);

// The element types that a loop computes with. Complex values are pairs of loads; 8-bit floats are decoded from u8.
constexpr bool is_loop_dtype(DType d) { return !is_complex(d) && d != DType::f8e4m3 && d != DType::f8e5m2; }

}  // namespace phlox
