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

void round_block(DType d, void* block, int64_t n) {
  float* v = static_cast<float*>(block);
  if (d == DType::bf16) for (int64_t i = 0; i < n; ++i) v[i] = float_from_bf16(bf16_from_float(v[i]));
  else for (int64_t i = 0; i < n; ++i) v[i] = float_from_f16(f16_from_float(v[i]));
}

}  // namespace phlox
