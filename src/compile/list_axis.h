// list_axis: launches of one kernel on different tensors become one launch of a kernel with a list axis: the optimiser's
// update of every parameter, the norms of their gradients. The list runs at the place of its first launch; a later launch
// joins it when nothing that happens in between touches what it reads or writes. No value changes: the items are the same.
#pragma once
#include <memory>
#include <vector>

#include "kernel/kernel.h"
#include "program/program.h"

namespace phlox {

struct Launches {
  // By kernel of the program: what its text is printed from, where it may get a list axis; else null.
  std::vector<std::shared_ptr<const Kernel>> forms;
  // By step: how many of its first buffers it only reads. The others it may also write.
  std::vector<uint32_t> only_read;
};

// Returns how many launches are left. Kernels that nothing launches any more go.
int join_launches(Program& p, const Launches& launches, const Target& target);

// Whether a kernel may get a list axis: its words are pointers, sizes and numbers.
bool can_have_list(const Kernel& k);

}  // namespace phlox
