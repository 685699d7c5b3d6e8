// The functions of loop bodies (Scalar::exp and later) as kernel instructions, by the texts of loop/math.h.
#pragma once
#include "kernel/builder.h"

namespace phlox {

Kv expand_math(Scalar op, Kv a, Kv b = {});

}  // namespace phlox
