// The text of GPU leaves (KTile): functions of a whole block.
#pragma once
#include <string>

#include "base/format.h"
#include "kernel/kernel.h"

namespace phlox {

// Warp w of a block has steps w, w + WARPS ... of k, DEPTH of them under way together. A thread reads 16 bytes of one of
// eight rows of W. In a step of 16-bit elements it so holds 8 neighbours along k, and is given the same 8 of the rows of
// A: the matrix units add over k, so its places there may be taken in any order that both factors share.
inline constexpr char skinny_text[] = R"text(
template <bool SHARED> static __device__ __forceinline__ uint4 skinny_a(const char* p) {
  uint4 x;
  if (SHARED) asm("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "r"((u32)__cvta_generic_to_shared(p)));
  else asm("ld.global.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "l"(p));
  return x;
}
static __device__ __forceinline__ uint4 skinny_w(const char* p) {
  uint4 x;
  asm("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "l"(p));
  return x;
}
template <int BYTES> static __device__ uint4 skinny_slow(const char* p, i64 left) {
  u32 x[4] = {0, 0, 0, 0};
  for (int e = 0; e < 16 / BYTES; ++e)
    if (e < left) {
      if (BYTES == 4) x[e] = ((const u32*)p)[e];
      else x[e / 2] |= (u32)((const u16*)p)[e] << (e % 2 * 16);
    }
  return make_uint4(x[0], x[1], x[2], x[3]);
}
template <bool BF16> static __device__ __forceinline__ void skinny_mma(float* c, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  if (BF16) asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  else asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
// TYPE 0: f32, 1: f16, 2: bf16. WIDE: everything is a multiple of 16 bytes.
template <int TYPE, int M, int WARPS, int DEPTH, bool SHARED, bool WIDE>
static __device__ __forceinline__ void skinny_steps(const char* w, i64 w_step, const char* a, i64 a_step, int count, float* c) {
  constexpr int BYTES = TYPE ? 2 : 4, EACH = 16 / BYTES, STEP = 4 * EACH;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2;
  const int from = warp * STEP + (lane & 3) * EACH;
  const char* row = a + (TYPE ? (i64)g * a_step * BYTES : 0);
  for (int k0 = from; k0 - from + warp * STEP < count; k0 += WARPS * STEP * DEPTH) {
    uint4 x[DEPTH];
#pragma unroll
    for (int u = 0; u < DEPTH; ++u) {
      const int k = k0 + u * WARPS * STEP;
      if (WIDE) x[u] = k < count ? skinny_w(w + (i64)k * BYTES) : make_uint4(0, 0, 0, 0);
      else x[u] = skinny_slow<BYTES>(w + (i64)k * BYTES, count - k);
    }
#pragma unroll
    for (int u = 0; u < DEPTH; ++u) {
      const int k = k0 + u * WARPS * STEP;
      if (TYPE == 0) {
#pragma unroll
        for (int m = 0; m < M; ++m) {
          uint4 y = make_uint4(0, 0, 0, 0);
          const char* p = a + ((i64)m * a_step + k) * BYTES;
          if (WIDE || SHARED) { if (k < count) y = skinny_a<SHARED>(p); }
          else y = skinny_slow<BYTES>(p, count - k);
          c[m] = __fmaf_rn(__uint_as_float(x[u].x), __uint_as_float(y.x), c[m]);
          c[m] = __fmaf_rn(__uint_as_float(x[u].y), __uint_as_float(y.y), c[m]);
          c[m] = __fmaf_rn(__uint_as_float(x[u].z), __uint_as_float(y.z), c[m]);
          c[m] = __fmaf_rn(__uint_as_float(x[u].w), __uint_as_float(y.w), c[m]);
        }
      } else {
        uint4 low = make_uint4(0, 0, 0, 0), high = low;
        const char* p = row + (i64)k * BYTES;
        if (WIDE || SHARED) {
          if (g < M && k < count) low = skinny_a<SHARED>(p);
          if (M > 8 && g + 8 < M && k < count) high = skinny_a<SHARED>(p + 8 * a_step * BYTES);
        } else {
          if (g < M) low = skinny_slow<BYTES>(p, count - k);
          if (M > 8 && g + 8 < M) high = skinny_slow<BYTES>(p + 8 * a_step * BYTES, count - k);
        }
        skinny_mma<TYPE == 2>(c, low.x, high.x, low.y, high.y, x[u].x, x[u].y);
        skinny_mma<TYPE == 2>(c, low.z, high.z, low.w, high.w, x[u].z, x[u].w);
      }
    }
  }
}
template <int TYPE, int M, int WARPS, int DEPTH, bool SHARED>
static __device__ __forceinline__ void skinny(i64 w_, i64 w_step, i64 n0, i64 n, i64 a_, i64 a_step, i64 count, i64 parts_) {
  constexpr int BYTES = TYPE ? 2 : 4;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2;
  const i64 mine = n0 + g < n ? n0 + g : n - 1;
  const char *w = (const char*)w_ + mine * w_step * BYTES, *a = (const char*)a_;
  float* parts = (float*)parts_;
  float c[TYPE ? 4 : M];
#pragma unroll
  for (int i = 0; i < (TYPE ? 4 : M); ++i) c[i] = 0;
  const bool wide = ((w_ | w_step * BYTES | (SHARED ? 0 : a_ | a_step * BYTES) | count * BYTES) & 15) == 0;
  if (wide) skinny_steps<TYPE, M, WARPS, DEPTH, SHARED, true>(w, w_step, a, a_step, (int)count, c);
  else skinny_steps<TYPE, M, WARPS, 1, SHARED, false>(w, w_step, a, a_step, (int)count, c);
  if (TYPE) {
    float* at = parts + (warp * M + g) * 8 + (lane & 3) * 2;
    if (g < M) at[0] = c[0], at[1] = c[1];
    if (M > 8 && g + 8 < M) at[64] = c[2], at[65] = c[3];
  } else {
#pragma unroll
    for (int m = 0; m < M; ++m) {
      c[m] += __shfl_xor_sync(~0u, c[m], 1);
      c[m] += __shfl_xor_sync(~0u, c[m], 2);
      if ((lane & 3) == 0) parts[(warp * M + m) * 8 + g] = c[m];
    }
  }
}
)text";

// The function of a leaf.
inline std::string skinny_call(const KTile& t, bool shared) {
  const int type = t.flags & KTile::of_bf16 ? 2 : t.flags & KTile::of_f16 ? 1 : 0;
  return cat("skinny<", type, ", ", t.rows, ", ", t.vectors, ", ", t.rows > 8 ? 4 : 8, ", ", shared ? "true" : "false", ">");
}

}  // namespace phlox
