// Row computations (along `dims`, which stay with size 1) that several families build on. Operands are f32 or f64:
// widen 16-bit floats first.
#pragma once
#include "ops/composite.h"

namespace phlox {

Ints row_dims(const Args& a, int arg, int rank);  // one dimension argument as reduction dims; none for a 0-d tensor
Val softmax_rows(Val x, const Ints& dims);
Val safe_softmax_rows(Val x, const Ints& dims);
Val log_softmax_rows(Val x, const Ints& dims);
Val logsumexp_rows(Val x, const Ints& dims);

}  // namespace phlox
