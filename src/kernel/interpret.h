// Runs a Kernel without a compiler: instruction by instruction, a vector value as a block of elements. The bits are
// those of compiled code. For tests of lowering, and for machines that have nothing to compile with.
// Refuses: what belongs to a GPU: Error(not_implemented).
#pragma once
#include <span>

#include "kernel/kernel.h"

namespace phlox {

// The call convention of compiled kernels (program/image.h).
void interpret_kernel(const Kernel& k, const uint64_t* words, int64_t begin, int64_t end);
void interpret_tile(const KTile& t, std::span<const int64_t> operands);  // one leaf

}  // namespace phlox
