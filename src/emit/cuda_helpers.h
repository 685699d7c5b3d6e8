// Texts that CUDA kernels may need before them.
#pragma once
#include <string_view>

namespace phlox::cuda_text {

// The shared printer spells builtins as C compilers name them.
inline constexpr std::string_view prologue = R"(typedef unsigned char u8; typedef signed char i8; typedef unsigned short u16; typedef short i16;
typedef unsigned u32; typedef int i32; typedef unsigned long u64; typedef long i64; typedef float f32; typedef double f64;
#define NO_UNROLL _Pragma("unroll 1")
#define UNROLL _Pragma("unroll")
#define UNROLL_4 _Pragma("unroll 4")
#define __builtin_nanf(x) __int_as_float(0x7fc00000)
#define __builtin_inff() __int_as_float(0x7f800000)
#define __builtin_nan(x) __longlong_as_double(0x7ff8000000000000ll)
#define __builtin_inf() __longlong_as_double(0x7ff0000000000000ll)
#define __builtin_fmaf __fmaf_rn
#define __builtin_fma __fma_rn
#define __builtin_sqrtf __fsqrt_rn
#define __builtin_sqrt __dsqrt_rn
#define __builtin_fabsf fabsf
#define __builtin_fabs fabs
#define __builtin_floorf floorf
#define __builtin_floor floor
#define __builtin_ceilf ceilf
#define __builtin_ceil ceil
#define __builtin_truncf truncf
#define __builtin_trunc trunc
#define __builtin_roundevenf rintf
#define __builtin_roundeven rint
)";

struct Helper { const char* name; const char* text; };
inline constexpr Helper f32_of_bf16{"f32_of_bf16", "static __device__ f32 f32_of_bf16(u16 h) { return __uint_as_float((u32)h << 16); }\n"};
inline constexpr Helper bf16_of_f32{"bf16_of_f32", "static __device__ u16 bf16_of_f32(f32 f) { u16 h; asm(\"cvt.rn.bf16.f32 %0, %1;\" : \"=h\"(h) : \"f\"(f)); return h; }\n"};
inline constexpr Helper f32_of_f16{"f32_of_f16", "static __device__ f32 f32_of_f16(u16 h) { f32 f; asm(\"cvt.f32.f16 %0, %1;\" : \"=f\"(f) : \"h\"(h)); return f; }\n"};
inline constexpr Helper f16_of_f32{"f16_of_f32", "static __device__ u16 f16_of_f32(f32 f) { u16 h; asm(\"cvt.rn.f16.f32 %0, %1;\" : \"=h\"(h) : \"f\"(f)); return h; }\n"};

inline constexpr Helper max_f32{"max_f32", "static __device__ f32 max_f32(f32 a, f32 b) { f32 r; asm(\"max.NaN.f32 %0, %1, %2;\" : \"=f\"(r) : \"f\"(a), \"f\"(b)); return r; }\n"};
inline constexpr Helper min_f32{"min_f32", "static __device__ f32 min_f32(f32 a, f32 b) { f32 r; asm(\"min.NaN.f32 %0, %1, %2;\" : \"=f\"(r) : \"f\"(a), \"f\"(b)); return r; }\n"};
inline constexpr Helper power2{"power2", "static __device__ f32 power2(f32 x) { f32 r; asm(\"ex2.approx.ftz.f32 %0, %1;\" : \"=f\"(r) : \"f\"(x)); return r; }\n"};

// A place of shared memory in another block of the cluster.
inline constexpr Helper peer{"peer", "static __device__ const void* peer(const void* p, u32 block) { const void* r; asm(\"mapa.u64 %0, %1, %2;\" : \"=l\"(r) : \"l\"(p), \"r\"(block)); return r; }\n"};
inline constexpr const char* barriers[] = {"__syncthreads();", "__syncwarp();", "asm volatile(\"griddepcontrol.wait;\" : : : \"memory\");",
    "asm volatile(\"barrier.cluster.arrive; barrier.cluster.wait;\" : : : \"memory\");"};

// Within an ulp, without branches: the residual corrects the quotient unless it is not a number (a zero or infinite divisor).
inline constexpr Helper div_near{"div_near",
    "static __device__ f32 div_near(f32 a, f32 b) { f32 r; asm(\"rcp.approx.ftz.f32 %0, %1;\" : \"=f\"(r) : \"f\"(b)); const f32 q = a * r, e = "
    "__fmaf_rn(-b, q, a); return e == e ? __fmaf_rn(e, r, q) : q; }\n"};

}  // namespace phlox::cuda_text
