// claim: ops that a provider runs whole become the provider's own op before anything is taken apart.
#pragma once
#include "graph/graph.h"
#include "type/target.h"

namespace phlox {

// Attention on [.., heads, rows, width] becomes prim::flash on [.., rows, heads, width], whose operands and results are seen
// through transposing views: the way in which projections leave them. Every refusal is an event with its reason.
bool has_claimable(const Graph& g);
Graph claim(const Graph& g, const Target& target);

// Gradients of attention that are padded and added up to one tensor, as those of a common projection are: one op stores
// them side by side.
Graph pack_gradients(Graph g);

// Whether this is a call of attention as a whole that a provider's kernel runs. A call made by hand may be one that no
// kernel takes: it is an extern like others.
bool runs_whole(const Graph& g, const Node& n, const Target& target);

}  // namespace phlox
