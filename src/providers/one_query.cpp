#include "providers/one_query.h"

#include <charconv>
#include <cstdio>
#include <string_view>

#include "base/format.h"
#include "base/hash.h"
#include "providers/providers.h"

namespace phlox {

// Words: q k v [mask] out, keys, heads, then (base, batch, head, row) steps of q, k and v. A warp holds 32 / LANES keys at a time, a
// lane 8 elements of one, and each such part of a warp keeps a softmax of its own until the end.
static constexpr char text_of_one_query[] = R"text(
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned short u16;
#define WARPS 8
#define LANES (D / 8)
#define EACH (32 / LANES)
#define DEPTH (G > 4 ? 2 : 4)
#define NOTHING __int_as_float(0xff800000)
__device__ __forceinline__ float power2(float x) {
  float r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
__device__ __forceinline__ float widened(u16 h) { WIDEN }
__device__ __forceinline__ u16 rounded(float f) {
  u16 h;
  asm("cvt.rn." TYPE ".f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}
__device__ __forceinline__ void unpack(float* to, uint4 x) {
  const u32 words[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    to[2 * i] = widened((u16)words[i]);
    to[2 * i + 1] = widened((u16)(words[i] >> 16));
  }
}
__device__ __forceinline__ uint4 eight(const u16* p, bool wide) {
  if (wide) return *(const uint4*)p;
  u32 x[4];
  for (int i = 0; i < 4; ++i) x[i] = p[2 * i] | (u32)p[2 * i + 1] << 16;
  return make_uint4(x[0], x[1], x[2], x[3]);
}
extern "C" __global__ void __launch_bounds__(32 * WARPS) NAME(const __grid_constant__ WORDS words) {
  __shared__ float sums[WARPS][G][D], total_of[WARPS][G], most_of[WARPS][G];
  const u64* w = words.w;
  const long long* n = (const long long*)w + 4 + MASK;
  const int keys = (int)n[0], heads = (int)n[1], b = blockIdx.x / heads, h = blockIdx.x % heads;
  const long long *sq = n + 2, *sk = n + 6, *sv = n + 10;
  const u16 *q = (const u16*)w[0] + sq[0] + b * sq[1] + h * sq[2], *k = (const u16*)w[1] + sk[0] + b * sk[1] + h * sk[2],
            *v = (const u16*)w[2] + sv[0] + b * sv[1] + h * sv[2];
  const unsigned char* mask = (const unsigned char*)w[3];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, part = lane % LANES * 8, which = lane / LANES;
  const bool wide = (((u64)k | (u64)v | (u64)(sk[3] * 2) | (u64)(sv[3] * 2)) & 15) == 0;
  float query[G][8], acc[G][8], most[G], total[G];
#pragma unroll
  for (int g = 0; g < G; ++g) {
    unpack(query[g], eight(q + g * sq[3] + part, false));
    most[g] = NOTHING;
    total[g] = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      query[g][i] *= SCALE * 1.4426950408889634f;
      acc[g][i] = 0;
    }
  }
  for (int first = warp * EACH; first < keys; first += WARPS * EACH * DEPTH) {
    uint4 kx[DEPTH], vx[DEPTH];
    bool on[DEPTH];
#pragma unroll
    for (int u = 0; u < DEPTH; ++u) {
      const int t = first + u * WARPS * EACH + which;
      on[u] = t < keys && (!MASK || mask[t]);
    }
#pragma unroll
    for (int u = 0; u < DEPTH; ++u) {
      const long long t = first + u * WARPS * EACH + which;
      kx[u] = on[u] ? eight(k + t * sk[3] + part, wide) : make_uint4(0, 0, 0, 0);
      vx[u] = on[u] ? eight(v + t * sv[3] + part, wide) : make_uint4(0, 0, 0, 0);
    }
#pragma unroll
    for (int u = 0; u < DEPTH; ++u) {
      float key[8], value[8];
      unpack(key, kx[u]);
      unpack(value, vx[u]);
#pragma unroll
      for (int g = 0; g < G; ++g) {
        float s = 0;
#pragma unroll
        for (int i = 0; i < 8; ++i) s = __fmaf_rn(query[g][i], key[i], s);
#pragma unroll
        for (int x = 1; x < LANES; x *= 2) s += __shfl_xor_sync(~0u, s, x);
        if (!on[u]) s = NOTHING;
        const float top = fmaxf(most[g], s), from = top == NOTHING ? 0.f : top;
        const float shrink = power2(most[g] - from), p = power2(s - from);
        most[g] = top;
        total[g] = total[g] * shrink + p;
#pragma unroll
        for (int i = 0; i < 8; ++i) acc[g][i] = __fmaf_rn(p, value[i], acc[g][i] * shrink);
      }
    }
  }
#pragma unroll
  for (int g = 0; g < G; ++g) {
#pragma unroll
    for (int x = LANES; x < 32; x *= 2) {
      const float other = __shfl_xor_sync(~0u, most[g], x), top = fmaxf(most[g], other), from = top == NOTHING ? 0.f : top;
      const float mine = power2(most[g] - from), theirs = power2(other - from);
      most[g] = top;
      total[g] = total[g] * mine + __shfl_xor_sync(~0u, total[g], x) * theirs;
#pragma unroll
      for (int i = 0; i < 8; ++i) acc[g][i] = acc[g][i] * mine + __shfl_xor_sync(~0u, acc[g][i], x) * theirs;
    }
    if (which == 0) {
#pragma unroll
      for (int i = 0; i < 8; ++i) sums[warp][g][part + i] = acc[g][i];
    }
    if (lane == 0) total_of[warp][g] = total[g], most_of[warp][g] = most[g];
  }
  __syncthreads();
  u16* out = (u16*)w[3 + MASK] + (long long)blockIdx.x * G * D;
  for (int e = threadIdx.x; e < G * D; e += 32 * WARPS) {
    const int g = e / D;
    float top = NOTHING, sum = 0, all = 0;
#pragma unroll
    for (int x = 0; x < WARPS; ++x) top = fmaxf(top, most_of[x][g]);
    if (top == NOTHING) top = 0;
#pragma unroll
    for (int x = 0; x < WARPS; ++x) {
      const float f = power2(most_of[x][g] - top);
      sum += sums[x][g][e % D] * f;
      all += total_of[x][g] * f;
    }
    out[e] = rounded(all > 0 ? sum / all : 0.f);
  }
}
)text";

bool provides_one_query(const TensorType& q, const TensorType& k, const TensorType& v, const Target& target, std::string& refusal) {
  const auto refuse = [&](const char* why) {
    refusal = why;
    return false;
  };
  if (providers_off()) return refuse("PHLOX_PROVIDERS=off");
  int version = 0;
  if (target.kind == DeviceKind::cuda && target.arch.starts_with("sm_"))
    std::from_chars(target.arch.data() + 3, target.arch.data() + target.arch.size(), version);
  if (version < 80) return refuse("the target has no such kernel");
  if (!is_reduced_float(q.dtype)) return refuse("its values are not of 16 bits");
  const Dim width = q.shape[3], group = q.shape[2];
  if (!(width.is(64) || width.is(128)) || k.shape[3] != width || v.shape[3] != width) return refuse("the head width is not 64 or 128");
  if (!group.is_const() || group.value() < 1 || group.value() > 8) return refuse("more than 8 query heads share a key head");
  if (k.shape[2] != v.shape[2] || k.shape[1] != q.shape[1] || v.shape[1] != q.shape[1] || k.shape[0] != q.shape[0] || v.shape[0] != q.shape[0])
    return refuse("query and key shapes differ");
  return true;
}

Program::Kernel one_query(const TensorType& q, Dim keys, double scale, bool mask, const OneQueryOperand (&qkv)[3]) {
  using Kind = Program::KernelWord::Kind;
  Program::Kernel k;
  for (uint32_t i = 0; i < 4u + mask; ++i) k.words.push_back({Kind::pointer, i, 0});
  k.words.push_back({Kind::dim, 0, keys});
  k.words.push_back({Kind::dim, 0, q.shape[1]});
  for (const OneQueryOperand& o : qkv)
    for (Dim d : {o.base, o.batch, o.head, o.row}) k.words.push_back({Kind::dim, 0, d});
  char number[40];
  std::snprintf(number, sizeof number, "(float)%.9g", scale);
  const bool half = q.dtype == DType::f16;
  const std::string text =
      cat("#define D ", q.shape[3].value(), "\n#define G ", q.shape[2].value(), "\n#define MASK ", int(mask), "\n#define SCALE ", number, "\n#define TYPE \"",
          half ? "f16" : "bf16", "\"\n#define WIDEN ",
          half ? "float f; asm(\"cvt.f32.f16 %0, %1;\" : \"=f\"(f) : \"h\"(h)); return f;" : "return __uint_as_float((u32)h << 16);",
          "\nstruct WORDS { unsigned long long w[", k.words.size(), "]; };\n", text_of_one_query);
  k.entry = "k_" + hex(hash256(text.data(), text.size())).substr(0, 24);
  k.source = cat("#define NAME ", k.entry, "\n", text);
  k.items = q.shape[0] * q.shape[1];
  k.threads = 256;
  return k;
}

}  // namespace phlox
