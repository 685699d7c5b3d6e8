// decompose: composites that stayed nodes (those with a gradient rule of their own) are replaced by their expansions,
// until only loop and extern ops are left. Complex values
// become pairs of real ones: complex inputs and outputs of shape S are real ones of shape [S, 2] then.
#pragma once
#include "graph/graph.h"

namespace phlox {

// `adds_guards`: the caller checks guards that this adds to the environment of sizes.
Graph decompose(const Graph& g, bool adds_guards = false);

}  // namespace phlox
