// emit: Kernel -> text of one dialect. A pure function; printing decides nothing and no text of a user reaches it.
#pragma once
#include <string>
#include <string_view>

#include "kernel/kernel.h"

namespace phlox {

// Header-free C with GCC vector extensions that clang and gcc 12 accept: one function
//   void entry(const unsigned long* words, long begin, long end)
// FMA appears only where the kernel says so; compile with contraction off. `entry` is "k_" and hex digits.
std::string emit_c(const Kernel& k, const Target& target, std::string_view entry, int rows = 0);

// Header-free CUDA C++ for NVRTC: one function
//   struct WORDS { unsigned long long w[N]; };   extern "C" __global__ void entry(const __grid_constant__ WORDS words)
// Contiguous accesses of several lanes are single accesses of up to 16 bytes: the kernel sees to their alignment.
std::string emit_cuda(const Kernel& k, std::string_view entry, int rows = 0);
// In the dialect of the target. With rows > 0 the entry computes a list of calls that differ in their words alone, as one
// range of items. Its words are: the number of rows; a row a call (its first item in the range, then the words of the
// kernel); the number of items of all. In C the number of rows is that of the words, in CUDA it is `rows`.
std::string emit_kernel(const Kernel& k, const Target& target, std::string_view entry, int rows = 0);

}  // namespace phlox
