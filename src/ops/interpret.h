// The Graph interpreter: expands composites, runs every primitive as a loop of its own in the loop interpreter, and
// every extern op by its reference. Slow and simple: the oracle of the compiler.
#pragma once
#include <vector>

#include "graph/graph.h"
#include "loop/interpret.h"

namespace phlox {

// Inputs contiguous, in graph order; a number input is a 0-d tensor. Throws Error as the ops' rules do.
std::vector<HostTensor> interpret_graph(const Graph& g, std::span<const HostTensor> inputs,
                                        InterpretMode mode = InterpretMode::exact);

}  // namespace phlox
