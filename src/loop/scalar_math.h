// The math functions of loop bodies (Scalar::exp and later) on blocks.
#pragma once
#include "loop/block_ops.h"

namespace phlox {

// For representation f32 or f64. `wide` asks for the accuracy of f64 on values that stand for type d; else the result
// has the bits that compiled code computes.
BlockFn math_block_op(Scalar op, Rep r, bool wide, DType d);

}  // namespace phlox
