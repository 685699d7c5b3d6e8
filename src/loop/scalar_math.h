// The math functions of loop bodies (Scalar::exp and later) on blocks.
#pragma once
#include "loop/block_ops.h"

namespace phlox {

// For representation f32 or f64. `wide` asks for the accuracy of f64 on values that stand for type d; else the result
// has the bits that compiled code computes.
BlockFn math_block_op(Scalar op, Rep r, bool wide, DType d);

// By loop/math.h, for each instruction set; null where it does not have the function.
BlockFn baseline_math_op(Scalar op, Rep r);
BlockFn avx2_math_op(Scalar op, Rep r);

}  // namespace phlox

// All of them, by number of operands.
#define PHLOX_MATH_FUNCTIONS(one, two)                                                                             \
  one(exp) one(exp2) one(expm1) one(log) one(log2) one(log10) one(log1p) one(sigmoid) one(tanh) one(erf) one(erfc)  \
  one(erfinv) one(normal_cdf) one(sin) one(cos) one(tan) one(asin) one(acos) one(atan) two(atan2) one(sinh)         \
  one(cosh) one(asinh) one(acosh) one(atanh) two(pow) one(rsqrt) two(hypot) one(lgamma) one(digamma) one(trigamma)  \
  two(nextafter)
