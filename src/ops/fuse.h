// fuse_loop: one Loop for a set of values of a graph. Values for which `is_buffer` holds are read from memory; every
// other producer is fused into the loop by asking its op for elements. Fusing is a decision of the caller alone.
#pragma once
#include <vector>

#include "graph/graph.h"
#include "loop/loop.h"

namespace phlox {

struct FusedLoop {
  Loop loop;
  std::vector<GraphValue> inputs;   // of the loop's in and number params, in param order
  std::vector<GraphValue> outputs;  // of its out params, which follow
};

// `outputs` are stored in their declared dtype and strides. A scatter must be the only output; its param is inout and
// already holds the base. Values for which `wide` holds (16-bit results inside a user-level op) lie in memory as f32: what
// belongs to the op reads them as if they were fused, everybody else reads them rounded.
FusedLoop fuse_loop(const Graph& g, std::span<const GraphValue> outputs, const std::vector<bool>& is_buffer,
                    const std::vector<bool>& wide = {});

}  // namespace phlox
