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
  // All of each window at once, in new last dims.
  Val of(Val x) const;                // [lead..., O..., K...], 0 outside the input
  Val inside(Val x) const;            // bool, in the shape of `of`; null where all windows lie inside
  Val position(Val x, int s) const;   // i64, along spatial dim s
  Val flat(Val x) const;              // i64, over all spatial dims
  Dims shape(Val x) const;
  Ints kernel_dims() const;

  // One tap (a place in the window) of all windows: [lead..., O...].
  std::vector<Ints> taps() const;     // all of them, in order
  bool few_taps() const;              // few enough to write one by one
  Val tap(Val x, const Ints& k) const;
  Val untap(Val y, const Ints& k) const;
  Val tap_flat(Val x, const Ints& k) const;
  Dims out_shape(Val x) const;
  bool reaches_out() const;           // some window may reach outside the input

  Pool p;
  int n, lead;          // spatial dims; dims in front of them
  Dims size, out, high; // per spatial dim: input, result, padding at the end
};

}  // namespace phlox
