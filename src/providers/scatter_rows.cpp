#include "providers/scatter_rows.h"

#include <string>

#include "base/format.h"
#include "base/hash.h"

namespace phlox {

static constexpr char text_of_scatter[] = R"text(
typedef unsigned int u32;
typedef unsigned long long u64;
#define THREADS 256
#define EACH 4
#define SPAN (THREADS * EACH)
#define COLUMNS 4
__device__ __forceinline__ float value_at(const u64* w, long long i) { READ }
extern "C" __global__ void __launch_bounds__(THREADS) NAME(const __grid_constant__ WORDS words) {
  __shared__ int found[SPAN];
  __shared__ int counts[THREADS / 32 + 1];
  const u64* w = words.w;
  const long long* index = (const long long*)w[0];
  float* table = (float*)w[2];
  const int n = (int)w[4], self = blockIdx.x, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const long long width = (long long)w[5], mine = index[self];
  if (mine < 0 || mine >= (long long)w[6]) {
    if (threadIdx.x == 0) *(long long*)w[3] = mine >= 0 ? mine + 1 : mine;
    return;
  }
  for (int end = self; end > 0; end -= SPAN) {  // is it the first to name its row?
    bool met = false;
    for (int k = 0; k < EACH; ++k) {
      const int j = end - 1 - (int)threadIdx.x - k * THREADS;
      met |= j >= 0 && index[j] == mine;
    }
    if (__syncthreads_or(met)) return;
  }
  for (long long first = 0; first < width; first += THREADS * COLUMNS) {
    float sum[COLUMNS];
    for (int c = 0; c < COLUMNS; ++c) {
      const long long at = first + threadIdx.x + c * THREADS;
      sum[c] = at < width ? table[mine * width + at] : 0;
    }
    for (int begin = self; begin < n; begin += SPAN) {
      int own[EACH], hits = 0;
      for (int k = 0; k < EACH; ++k) {
        const int j = begin + (int)threadIdx.x * EACH + k;
        if (j < n && index[j] == mine) own[hits++] = j;
      }
      if (!__syncthreads_or(hits)) continue;
      int before = hits;  // their places, in order
      for (int d = 1; d < 32; d *= 2) {
        const int x = __shfl_up_sync(~0u, before, d);
        if (lane >= d) before += x;
      }
      if (lane == 31) counts[warp] = before;
      __syncthreads();
      int start = 0, total = 0;
      for (int k = 0; k < THREADS / 32; ++k) {
        if (k < warp) start += counts[k];
        total += counts[k];
      }
      for (int k = 0; k < hits; ++k) found[start + before - hits + k] = own[k];
      __syncthreads();
      for (int k = 0; k < total; k += 4) {
        float v[4][COLUMNS];
        for (int u = 0; u < 4; ++u)
          for (int c = 0; c < COLUMNS; ++c) {
            const long long at = first + threadIdx.x + c * THREADS;
            v[u][c] = k + u < total && at < width ? value_at(w, found[k + u] * width + at) : 0;
          }
        for (int u = 0; u < 4; ++u)
          for (int c = 0; c < COLUMNS; ++c)
            if (k + u < total) sum[c] += v[u][c];
      }
      __syncthreads();
    }
    for (int c = 0; c < COLUMNS; ++c) {
      const long long at = first + threadIdx.x + c * THREADS;
      if (at < width) table[mine * width + at] = sum[c];
    }
  }
}
)text";

Program::Kernel scatter_rows(DType values, Dim positions, Dim width, Dim rows) {
  using Kind = Program::KernelWord::Kind;
  const char* read = values == DType::f32 ? "return ((const float*)w[1])[i];"
                     : values == DType::bf16
                         ? "return __uint_as_float((u32)((const unsigned short*)w[1])[i] << 16);"
                         : "float r; asm(\"cvt.f32.f16 %0, %1;\" : \"=f\"(r) : \"h\"(((const unsigned short*)w[1])[i])); return r;";
  Program::Kernel k;
  for (uint32_t i = 0; i < 3; ++i) k.words.push_back({Kind::pointer, i, 0});
  k.words.push_back({Kind::status, 0, 0});
  for (Dim d : {positions, width, rows}) k.words.push_back({Kind::dim, 0, d});
  const std::string text = cat("#define READ ", read, "\nstruct WORDS { unsigned long long w[", k.words.size(), "]; };\n", text_of_scatter);
  k.entry = "k_" + hex(hash256(text.data(), text.size())).substr(0, 24);
  k.source = cat("#define NAME ", k.entry, "\n", text);
  k.items = positions;
  k.threads = 256;
  return k;
}

}  // namespace phlox
