// Providers: hand-tuned implementations that claim a loop pattern. They never define meaning: a kernel of a provider gives
// the bits of the loop. Each accepts or refuses on (loop, target) with a reason; refusals are events.
#pragma once
#include <optional>
#include <string>

#include "kernel/kernel.h"

namespace phlox {

bool providers_off();  // PHLOX_PROVIDERS=off

// A kernel for the loop (simplified: no axes of extent 1, adjacent axes merged), or nothing and why not. Nothing is
// offered while PHLOX_PROVIDERS=off.
// roomy: a parameter behind whose last element a vector more may be read; -1: none.
std::optional<Kernel> provide_kernel(const Loop& loop, const Target& target, std::string& refusal, int roomy = -1);

// Whether some provider takes the loop: what decides if ops may be fused into a contraction.
bool provided(const Loop& loop, const Target& target, std::string& refusal);

}  // namespace phlox
