// Splits axes that a loop divides: a flattened axis of a * b positions that is read as (p / b, p % b) becomes two axes,
// and where the neighbourhood of a position decides what happens there (p % 2 == 1, as in a pooling's gradient), the
// inner one is written out, one store each. Axes of different stores that never meet become one, so that the stores
// share their work. What the loop computes is the same, bit for bit. Leaves alone: contractions, scans, the axes of
// reductions, and axes whose size is a symbol or no multiple of the divisor.
#pragma once
#include "loop/loop.h"

namespace phlox {

Loop split_axes(const Loop& loop);

}  // namespace phlox
