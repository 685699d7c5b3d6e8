// How a matrix product is cut up on a CPU (docs/gemm.md §5): a pure function of sizes, layout and target. It changes no
// bit of the result. Sizes that are symbols get one plan that serves all of them, with the cut into blocks as formulas.
#pragma once
#include "providers/match.h"
#include "type/target.h"

namespace phlox {

struct GemmPlan {
  int lanes = 16, registers = 32;
  bool any_size = false;     // one plan for all sizes
  int mr = 1;                // most rows of a register tile
  int width = 1;             // most vectors of a register tile
  SmallVector<int, 16> heights;  // of tiles that the kernel holds, increasing
  SmallVector<int, 8> widths;
  bool direct_a = false, direct_b = false;  // read in place (b: but for a last partial vector)
  Dim row_blocks = 1, column_blocks = 1;    // of one batch item
  int64_t most_rows = 0, most_columns = 0;  // of a block
  int64_t sub_tiles = 1;     // row tiles whose packed A is kept at a time
  bool few_rows = false;     // kernels for up to few_rows_limit rows
  int few_rows_limit = 0;
  bool prefetch = true;
  Dim item_cost = 1;
  bool one_pass() const { return sub_tiles * mr >= most_rows; }
};

// False with a reason where the target has no such kernels.
bool plan_gemm(const Contraction& c, const Target& target, GemmPlan& plan, std::string& refusal);

}  // namespace phlox
