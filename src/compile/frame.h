// frame: a contraction whose factor is read with bounds (the padding of a convolution) becomes two loops: one copies the
// factor into a temporary with a frame of zeros around it, the other reads that without bounds. Reading and testing each
// element once for every window that holds it costs more than the copy.
#pragma once
#include <optional>

#include "loop/loop.h"

namespace phlox {

struct Framed {
  Loop copy;      // writes the temporary: parameter loop.params.size()
  Loop rest;      // reads it
  DType dtype;
  Dim count;      // elements, with room for a vector more
};

// Of a simplified loop whose sizes are fixed, but for the outermost axis of the factor (a batch); nothing where no factor is of that kind or the frame would not pay.
std::optional<Framed> frame_factor(const Loop& loop);

}  // namespace phlox
