// Random values for ops of other families. `state` is the call's (seed, offset).
#pragma once
#include "ops/arith.h"

namespace phlox {

Val uniform_values(Val state, const Dims& shape, DType d, int word);  // in [0, 1); f64 takes words word and word + 1
Val normal_values(Val state, const Dims& shape, DType d);
Val drop(const Args& a, Val x, double p);  // dropout in training

}  // namespace phlox
