// Products of few rows by a large matrix on a GPU: out[m, n] = epilogue(sum over k of A[m, k] * W[n, k]), m <= 16, which
// is what decoding a token does. Time is the time to read W once, so everything else happens while it is on its way:
// A may be computed by the kernel itself (a norm, an activation), results pass through the loop's epilogue.
//
// A block owns 8 rows of W; its warps share k, 16 bytes of a row a thread, and add up at the end. Factors of 16 bits go
// through the matrix units, f32 through fused multiply-adds.
// Refuses: W whose k does not lie side by side, batches, sizes that are not known, more than 16 rows of A.
#pragma once
#include <optional>
#include <string>

#include "kernel/kernel.h"
#include "type/target.h"

namespace phlox {

// The loop simplified (no axes of extent 1, adjacent axes merged).
std::optional<Kernel> skinny_kernel(const Loop& loop, const Target& target, std::string& refusal);
bool takes_skinny(const Loop& loop, const Target& target, std::string& refusal);

}  // namespace phlox
