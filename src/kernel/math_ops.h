// The functions of loop bodies (Scalar::exp and later) as kernel instructions, by the texts of loop/math.h.
#pragma once
#include "kernel/builder.h"

namespace phlox {

Kv expand_math(Scalar op, Kv a, Kv b = {});
// For a 16-bit float held in f32, whose result is rounded to 16 bits: a shorter text, right to 2^-18; null: there is none.
Kv expand_math_narrow(Scalar op, Kv a);

}  // namespace phlox
