// The functions of loop bodies (Scalar::exp and later) as kernel instructions, by the texts of loop/math.h.
#pragma once
#include "kernel/builder.h"

namespace phlox {

Kv expand_math(Scalar op, Kv a, Kv b = {});
// Whose result is rounded to 16 bits in the end, on a GPU: a shorter text, right to 2^-16; null: there is none.
Kv expand_math_narrow(Scalar op, Kv a);

}  // namespace phlox
