#include <type_traits>

#include "base/small_float.h"
#include "loop/block_ops.h"

// From here on, and only here, code may use AVX2: the pragmas come after every header.
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#pragma GCC optimize("O3")
#endif
#endif

namespace phlox::avx2 {
#include "loop/block_ops.inc"
}  // namespace phlox::avx2

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

namespace phlox {

const BlockOps& avx2_block_ops() { return avx2::table; }

}  // namespace phlox
