// emit: Kernel -> text of one dialect. A pure function; printing decides nothing and no text of a user reaches it.
#pragma once
#include <string>
#include <string_view>

#include "kernel/kernel.h"

namespace phlox {

// Header-free C with GCC vector extensions that clang and gcc 12 accept: one function
//   void entry(const unsigned long* words, long begin, long end)
// FMA appears only where the kernel says so; compile with contraction off. `entry` is "k_" and hex digits.
std::string emit_c(const Kernel& k, const Target& target, std::string_view entry);

}  // namespace phlox
