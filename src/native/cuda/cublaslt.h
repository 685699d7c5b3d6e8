// Matrix products by cuBLASLt, opened when the first one runs. Sums of 16-bit factors and of f32 are f32 (no tf32); of
// f64, f64. Which kernel runs is measured when a shape is first met: the fastest of the library's first eight suggestions,
// within a budget of time (PHLOX_TUNE_MS, 30; 0: the first one), kept in this process and on disk (native/tune_store.h).
// While a stream records nothing is measured.
// Refuses, with Error(device): shapes for which the library has no kernel.
#pragma once
#include <vector>

#include "native/device_call.h"

namespace phlox {

// The native step "cublaslt.matmul": results C, operands A and B, sizes in the order of LibraryMatmul.
void cublaslt_matmul(const DeviceCall& call);

// The library's own description of one of its kernels, which is plain data.
struct MatmulAlgorithm { uint64_t data[8]; };
// For measurements: its suggestions in their order, and a run by one of them (false: it cannot).
std::vector<MatmulAlgorithm> cublaslt_suggestions(const DeviceCall& call, int most);
bool cublaslt_matmul_by(const DeviceCall& call, const MatmulAlgorithm& algorithm);

}  // namespace phlox
