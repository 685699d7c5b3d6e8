// Sliding windows over the last dimensions of a tensor: what pooling ops are made of.
#pragma once
#include "ops/composite.h"

namespace phlox {

struct Pool {
  Ints kernel, stride, padding, dilation;
  bool ceil = false;
};

// An argument with one number per spatial dimension; one number stands for all, none for `otherwise`.
Ints per_dim(const Args& a, int arg, int n, const Ints& otherwise = {});

struct Windows {
  Windows(const Args& a, Val input, const Pool& pool);  // checks; errors are the op's
  Val of(Val x) const;                // [lead..., O..., K...], 0 outside the input
  Val back(Val w) const;              // its transpose
  Val inside(Val x) const;            // bool, in the shape of `of`; null where all windows lie inside
  Val position(Val x, int s) const;   // i64, along spatial dim s
  Val flat(Val x) const;              // i64, over all spatial dims
  Dims shape(Val x) const;
  Ints kernel_dims() const;

  Pool p;
  int n, lead;          // spatial dims; dims in front of them
  Dims size, out, high; // per spatial dim: input, result, padding at the end
  bool padded = false;
};

}  // namespace phlox
