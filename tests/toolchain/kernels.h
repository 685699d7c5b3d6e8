// Kernel texts for the toolchain's tests, in the style that emit/c prints: header-free C, vector extensions,
// shared helpers behind guards.
#pragma once
#include <string>
#include <vector>

#include "toolchain/compiler.h"

namespace phlox::test {

inline std::string prelude(int bits) {
  const std::string bytes = std::to_string(bits / 8), b = std::to_string(bits);
  return "#ifndef PX_F" + b + "\n#define PX_F" + b +
         "\n"
         "typedef float f" +
         b + " __attribute__((vector_size(" + bytes +
         ")));\n"
         "typedef float uf" +
         b + " __attribute__((vector_size(" + bytes +
         "), aligned(4), may_alias));\n"
         "typedef int i" +
         b + " __attribute__((vector_size(" + bytes +
         ")));\n"
         "#endif\n"
         "#ifndef PX_KERNEL\n#define PX_KERNEL(bits) __attribute__((min_vector_width(bits)))\n#endif\n";
}

inline std::string head(const std::string& entry, int bits) {
  return "PX_KERNEL(" + std::to_string(bits) + ") void " + entry +
         "(const unsigned long long* words, long long begin, long long end)";
}

// y[i] = max(x[i] * scale + bias, 0) with a fused multiply-add, whole vectors and a scalar tail.
inline KernelText bias_relu(const std::string& entry, int bits, const std::string& bias = "0.25f") {
  const std::string b = std::to_string(bits), n = std::to_string(bits / 32);
  return {prelude(bits) + "#ifndef PX_RELU" + b + "\n#define PX_RELU" + b +
              "\nstatic inline __attribute__((always_inline)) f" + b + " relu" + b + "(f" + b + " x) { i" +
              b + " m = x > 0.0f; return (f" + b + ")(m & (i" + b + ")x); }\n#endif\n" + head(entry, bits) +
              " {\n"
              "  const float* x = (const float*)words[0];\n  float* y = (float*)words[1];\n"
              "  union { unsigned u; float f; } s; s.u = (unsigned)words[2];\n"
              "  long long i = begin;\n"
              "  for (; i + " +
              n + " <= end; i += " + n +
              ") {\n"
              "    f" +
              b + " v = *(const uf" + b +
              "*)(x + i);\n"
              "    v = v * s.f + " +
              bias +
              ";\n"
              "    *(uf" +
              b + "*)(y + i) = relu" + b +
              "(v);\n  }\n"
              "  for (; i < end; ++i) { float v = x[i] * s.f + " +
              bias + "; y[i] = v > 0.0f ? v : 0.0f; }\n}\n",
          entry};
}

// y[i] = fma(x[i], x[i], conversions through int), with a table of constants and a switch: constants, jump
// tables.
inline KernelText mixed(const std::string& entry, int bits) {
  const std::string b = std::to_string(bits);
  std::string iota;
  for (int i = 0; i < bits / 32; ++i) iota += std::to_string(i) + ".5f,";
  return {prelude(bits) + head(entry, bits) +
              " {\n"
              "  const float* x = (const float*)words[0];\n  float* y = (float*)words[1];\n"
              "  f" +
              b + " step = {" + iota +
              "};\n"
              "  static const double table[8] = {1.0, 0.5, -2.0, 3.25, 1e10, -0.0, 7.0, 1e-3};\n"
              "  for (long long i = begin; i < end; ++i) {\n"
              "    double v = x[i];\n"
              "    switch (i % 7) {\n"
              "      case 0: v += table[i & 7]; break;\n      case 1: v *= 3.0; break;\n      case 2: v = "
              "-v; break;\n"
              "      case 3: v = (double)(int)v; break;\n      case 4: v = v * v; break;\n      case 5: v -= "
              "step[i % " +
              std::to_string(bits / 32) +
              "]; break;\n      default: v = __builtin_fma(v, v, 1.0);\n    }\n"
              "    y[i] = (float)v;\n  }\n}\n",
          entry};
}

// Calls memset and memcpy.
inline KernelText copies(const std::string& entry) {
  return {head(entry, 256).substr(std::string("PX_KERNEL(256) ").size()) +
              " {\n"
              "  char* y = (char*)words[1];\n"
              "  __builtin_memset(y + begin, (int)words[2], end - begin);\n"
              "  __builtin_memcpy(y + end, (const char*)words[0] + begin, end - begin);\n}\n",
          entry};
}

inline std::string entry_name(int i) {
  static const char digits[] = "0123456789abcdef";
  std::string s = "k_";
  for (int shift = 12; shift >= 0; shift -= 4) s += digits[(i >> shift) & 15];
  return s;
}

// A kernel of its own for each i, about the size of an eager one.
inline KernelText numbered(int i, int bits) {
  return bias_relu(entry_name(i), bits, std::to_string(i) + ".125f");
}

inline void run_bias_relu_reference(const float* x, float* y, float scale, float bias, long n) {
  for (long i = 0; i < n; ++i) {
    volatile float product = x[i] * scale;  // one rounding a step
    const float v = product + bias;
    y[i] = v > 0 ? v : 0;
  }
}

}  // namespace phlox::test
