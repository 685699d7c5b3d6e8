// lower: Loop -> Kernels. A pure function of the loop, the target and the options.
//
// Words of kind pointer and number name the loop's parameters; a pointer word with param >= loop.params.size() names
// the temporary param - loop.params.size(). The kernels run in order; a temporary is written by one kernel and read by
// later ones, and needs no initialisation.
#pragma once
#include "compile/schedule.h"
#include "kernel/kernel.h"

namespace phlox {

struct Lowered {
  struct Temp { DType dtype; Dim count; };
  std::vector<Kernel> kernels;  // mostly one
  std::vector<Temp> temps;
};

Lowered lower_loop(const Loop& loop, const Target& target, const ScheduleOptions& options = {});

}  // namespace phlox
