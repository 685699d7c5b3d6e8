// What partition asks about a node by itself.
#pragma once
#include "graph/graph.h"

namespace phlox {

enum class NodeKind : uint8_t { leaf, view, map, reduce, alone, external };
NodeKind kind_of(const Node& n);
bool is_contraction(const Node& n);

// Ops that read an operand at scattered or overlapping positions: the operand must be memory, or it would be computed
// many times.
bool needs_buffer(const Node& n, int arg);
int op_cost(const Node& n);  // rough cost of one element of an op, in additions

}  // namespace phlox
