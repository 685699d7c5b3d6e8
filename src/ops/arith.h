// ATen's arithmetic conventions: type promotion and broadcasting, and operators on graph values that follow them.
#pragma once
#include "ops/prims.h"

namespace phlox {

// The dtype that ATen computes a mixed call in: tensors with dims over 0-d tensors over numbers, category first
// (bool < int < float). A Val that is null does not count.
DType result_dtype(std::span<const Val> vals);
constexpr DType default_float = DType::f32;
DType to_floating(DType d);  // ints and bool become the default float

// The common shape of a broadcast; error naming `op` and both shapes when there is none.
Dims broadcast_shapes(const char* op, const Dims& a, const Dims& b);
Val broadcast_to(Val a, const Dims& shape, const char* op = "broadcast_to");

// Promotes and broadcasts both, then maps.
Val binary(const char* op, Scalar s, Val a, Val b);
Val unary_float(Scalar s, Val a);  // ints become the default float first, as ATen's math functions do
Val where(Val cond, Val a, Val b); // promotes and broadcasts all three

Val like(Val a, double v);         // 0-d constant of a's dtype
Val constant_like(Val a, double v);  // of a's shape and dtype
Val select(Val cond, Val a, Val b);  // a where cond (bool); all of one shape, a and b of one dtype
Val sign_bit(Val a);                 // is the sign bit set, also of zeros and NaNs
// Composites of several steps compute 16-bit floats in f32 and round once at the end, to the dtype of `a`.
Val wide(Val a);                     // ints become the default float
Val round_like(Val result, Val a);
Val rounded(Val a, DType d);         // to what d can hold, in a's dtype: where ATen stores a step of a 16-bit computation
Val operator+(Val a, Val b);
Val operator-(Val a, Val b);
Val operator*(Val a, Val b);
Val operator/(Val a, Val b);       // true division: ints become floats
Val operator-(Val a);
Val operator+(Val a, double b);
Val operator-(Val a, double b);
Val operator*(Val a, double b);
Val operator/(Val a, double b);
Val operator+(double a, Val b);
Val operator-(double a, Val b);
Val operator*(double a, Val b);
Val operator/(double a, Val b);
Val operator<(Val a, Val b);
Val operator<=(Val a, Val b);
Val operator>(Val a, Val b);
Val operator>=(Val a, Val b);
Val equal(Val a, Val b);
Val not_equal(Val a, Val b);
Val operator<(Val a, double b);
Val operator>(Val a, double b);
Val operator&(Val a, Val b);
Val operator|(Val a, Val b);
Val logical_not(Val a);          // of a bool value
Val to_bool(Val a);                // a != 0
Val maximum(Val a, Val b);         // NaN if either is
Val minimum(Val a, Val b);
Val is_nan(Val a);

Val mean(Val a, Ints dims, bool keepdim = false);
Val count_of(Val a, const Ints& dims);  // number of elements along dims, 0-d, in a's dtype
Ints all_dims(int rank);
Val take_along(Val a, Val index, int dim);  // the elements of a at these positions (i64) along dim; equal ranks
// A dims argument as ATen's reductions read it: absent or (when `empty_is_all`) empty means all; wrapped, no repeats.
Ints reduce_dims(const Args& a, int arg, int rank, bool empty_is_all = true);

}  // namespace phlox
