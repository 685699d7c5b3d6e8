// decompose: composites that stayed nodes (those with a gradient rule of their own) are replaced by their expansions,
// until only loop and extern ops are left.
#pragma once
#include "graph/graph.h"

namespace phlox {

Graph decompose(const Graph& g);

}  // namespace phlox
