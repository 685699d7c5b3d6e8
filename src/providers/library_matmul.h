// A Loop that a BLAS can run: one matrix product, batched or not, of two loaded matrices of one type, stored as it is or
// rounded to their type, or rounded with a vector of that type added to each row first. All steps even, results side by side, and in each factor one step of 1.
#pragma once
#include <optional>

#include "loop/loop.h"

namespace phlox {

struct LibraryMatmul {
  uint32_t a, b, c;          // parameters
  int32_t bias = -1;         // the vector's, where there is one
  // batch, rows, columns, depth; then of A: base, step of a row, of depth, of batch; of B: base, step of depth, of a
  // column, of batch; of C: base, step of a row, of batch; then the base of the vector
  SmallVector<Dim, 16> sizes = {};
};
std::optional<LibraryMatmul> match_library_matmul(const Loop& loop, std::string& refusal);

}  // namespace phlox
