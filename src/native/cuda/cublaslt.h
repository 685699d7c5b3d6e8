// Matrix products by cuBLASLt, opened when the first one runs. Sums of 16-bit factors and of f32 are f32 (no tf32); of
// f64, f64. Which kernel runs is cuBLASLt's choice, kept for each shape.
// Refuses, with Error(device): shapes for which the library has no kernel.
#pragma once
#include "native/device_call.h"

namespace phlox {

// The native step "cublaslt.matmul": results C, operands A and B, sizes in the order of LibraryMatmul.
void cublaslt_matmul(const DeviceCall& call);

}  // namespace phlox
