// Sums of rows into the rows of a table that an index names, on a GPU: the gradient of an embedding. A row of the table
// belongs to the first position that names it, whose block adds the rows of all later ones in order: no atomics, the
// same bits at every run, for as many positions as it is cheap to compare with each other.
#pragma once
#include "program/program.h"
#include "type/target.h"

namespace phlox {

inline constexpr int64_t most_scattered_rows = 1 << 16;

// Buffers of its step: index (i64) and values (f32, f16 or bf16), both dense, then the table (f32), which is added to.
Program::Kernel scatter_rows(DType values, Dim positions, Dim width, Dim rows);

}  // namespace phlox
