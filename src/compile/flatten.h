// flatten: an elementwise loop over dense tensors is a loop over one axis, whatever its shape was. Its extent becomes a
// symbol of the loop's own, so that one kernel serves tensors of all shapes: the optimiser's update of every parameter,
// an eager op at every rank.
#pragma once
#include <optional>

#include "loop/loop.h"

namespace phlox {

// The loop over s0 and the value of s0, or none where an element is not found at its own place in every tensor.
struct Flattened { Loop loop; Dim extent; };
std::optional<Flattened> flatten(const Loop& loop);
// The same for a loop that reduces whole dense tensors to numbers, in the order that it has.
std::optional<Flattened> flatten_reduction(const Loop& loop);

}  // namespace phlox
