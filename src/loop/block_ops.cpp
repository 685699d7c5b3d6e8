#include "loop/block_ops.h"

#include <type_traits>

#include "base/small_float.h"

namespace phlox {

namespace baseline {
#include "loop/block_ops.inc"
}  // namespace baseline

const BlockOps& baseline_block_ops() { return baseline::table; }

bool has_avx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}
const BlockOps& block_ops() { return has_avx2() ? avx2_block_ops() : baseline_block_ops(); }

}  // namespace phlox
