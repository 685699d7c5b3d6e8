// Kernels by hand for the CUDA tests, as the convention of cuda_device.h wants them.
#pragma once
#include "toolchain/compiler.h"

namespace phlox {

// out[i] = a[i] * 3 + b[i]; words: out, a, b, n
inline KernelText add_kernel() {
  return {R"(struct k_add0_words { unsigned long long w[4]; };
extern "C" __global__ void k_add0(const __grid_constant__ k_add0_words words) {
  float* out = (float*)words.w[0];
  const float* a = (const float*)words.w[1];
  const float* b = (const float*)words.w[2];
  const long long n = (long long)words.w[3];
  const long long step = (long long)gridDim.x * blockDim.x;
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) out[i] = a[i] * 3.0f + b[i];
}
)",
          "k_add0"};
}

// out[i] = value; words: out, n, value
inline KernelText fill_kernel() {
  return {R"(struct k_f111_words { unsigned long long w[3]; };
extern "C" __global__ void k_f111(const __grid_constant__ k_f111_words words) {
  unsigned* out = (unsigned*)words.w[0];
  const long long n = (long long)words.w[1];
  const long long step = (long long)gridDim.x * blockDim.x;
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) out[i] = (unsigned)words.w[2];
}
)",
          "k_f111"};
}

// Nothing; words: one that is not read
inline KernelText empty_kernel() {
  return {R"(struct k_e0_words { unsigned long long w[4]; };
extern "C" __global__ void k_e0(const __grid_constant__ k_e0_words words) {}
)",
          "k_e0"};
}

// Nothing, with as many words as every driver accepts
inline KernelText wide_kernel() {
  return {R"(struct k_e512_words { unsigned long long w[512]; };
extern "C" __global__ void k_e512(const __grid_constant__ k_e512_words words) {}
)",
          "k_e512"};
}

// Waits about `cycles` clocks, then adds 1 to *out; words: out, cycles
inline KernelText slow_kernel() {
  return {R"(struct k_510_words { unsigned long long w[2]; };
extern "C" __global__ void k_510(const __grid_constant__ k_510_words words) {
  const long long start = clock64();
  while (clock64() - start < (long long)words.w[1]) {}
  *(unsigned*)words.w[0] += 1;
}
)",
          "k_510"};
}

// The sum of `dynamic` bytes of shared memory after writing 1 to each; words: out, bytes
inline KernelText shared_kernel() {
  return {R"(struct k_5a4e_words { unsigned long long w[2]; };
extern "C" __global__ void k_5a4e(const __grid_constant__ k_5a4e_words words) {
  extern __shared__ unsigned char k_5a4e_space[];
  const unsigned n = (unsigned)words.w[1];
  for (unsigned i = threadIdx.x; i < n; i += blockDim.x) k_5a4e_space[i] = 1;
  __syncthreads();
  if (threadIdx.x) return;
  unsigned sum = 0;
  for (unsigned i = 0; i < n; ++i) sum += k_5a4e_space[i];
  *(unsigned*)words.w[0] = sum;
}
)",
          "k_5a4e"};
}

// Waits, then counts the values of p that are not `value`; words: p, n, value, cycles, count
inline KernelText verify_kernel() {
  return {R"(struct k_c4ec_words { unsigned long long w[5]; };
extern "C" __global__ void k_c4ec(const __grid_constant__ k_c4ec_words words) {
  const long long start = clock64();
  while (clock64() - start < (long long)words.w[3]) {}
  const volatile unsigned* p = (const volatile unsigned*)words.w[0];
  const long long n = (long long)words.w[1];
  const long long step = (long long)gridDim.x * blockDim.x;
  unsigned wrong = 0;
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) wrong += p[i] != (unsigned)words.w[2];
  if (wrong) atomicAdd((unsigned*)words.w[4], wrong);
}
)",
          "k_c4ec"};
}

// Writes where nothing is; words: address
inline KernelText wild_kernel() {
  return {R"(struct k_bad_words { unsigned long long w[1]; };
extern "C" __global__ void k_bad(const __grid_constant__ k_bad_words words) { *(volatile unsigned*)words.w[0] = 1; }
)",
          "k_bad"};
}

}  // namespace phlox
