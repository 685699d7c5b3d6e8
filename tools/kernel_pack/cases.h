// The calls whose kernels ship with phlox: everyday eager ops, found by walking the registry.
#pragma once
#include <functional>

#include "eager/call.h"

namespace phlox {

struct PackCase {
  const OpInfo* op;
  std::vector<Tensor> tensors;       // owners of the tensors among the arguments
  std::vector<std::vector<Arg>> lists;
  SmallVector<Arg, 8> args;          // complete
  bool common = true;                // else: taken only where its kernels are short, and without gradients
};

// Calls f for each case. A case that an op refuses is the caller's to skip.
void for_each_pack_case(const std::function<void(PackCase&)>& f);

}  // namespace phlox
