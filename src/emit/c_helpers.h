// The helper functions of the C dialect: each call registers what its name stands for and returns the name (or an
// expression). Two texts exist where clang and gcc name a builtin differently; the plain text is always correct.
#pragma once
#include <string>

#include "kernel/kernel.h"
#include "loop/math_tables.h"

namespace phlox {

struct HelperSink {
  virtual std::string vector(DType d, int n) = 0;
  virtual void add_helper(std::string_view name, std::string_view text) = 0;

 protected:
  ~HelperSink() = default;
};

std::string c_prologue();

class CHelpers {
 public:
  CHelpers(HelperSink& sink, const Target& target);

  std::string splat(DType d, int n);
  std::string bit_cast(DType to, DType from, std::string_view x);
  std::string pick(DType d, int n);          // (mask of its width, a, b)
  std::string fma(DType d, int n);
  std::string fmod(DType d);                 // scalar
  std::string arithmetic(Scalar s, DType d, int n, const std::string& t, const std::string& a, const std::string& b);
  std::string cast_scalar(DType from, DType to, const std::string& x);
  std::string cast_vector(DType from, DType to, int n, std::string x);
  std::string from_mask(DType to, int n, const std::string& m);
  std::string fold(Combine c, Scalar s, DType d, int n);
  std::string lookup(math::Table t, int n);  // (i32)
  std::string scale_exponent(DType d, int n);
  std::string load_partial(DType d, int n);  // (pointer, count)
  std::string load_masked(DType d, int n);   // (pointer, mask)
  std::string load_strided(DType d, int n);
  std::string load_gather(DType d, int n, bool masked);
  std::string store_partial(DType d, int n);
  std::string store_masked(DType d, int n);
  std::string store_strided(DType d, int n);
  std::string store_scatter(DType d, int n, bool masked);
  // (pointer, vector, bytes of the whole array): past the caches where the array is larger than these could keep.
  std::string store_stream(DType d, int n);
  bool can_stream(DType d, int n) const;
  static constexpr int64_t stream_bytes = 32 << 20;

 private:
  std::string rounding(Scalar s, DType d, int n);
  std::string to_f32(DType d, int n, const std::string& x);
  std::string from_f32(DType d, int n, const std::string& x);
  std::string scalar_small_float(DType d, bool to);
  std::string partial_mask(DType d, int n);
  std::string mask_bits(DType d, int n);
  std::string lanes_of(DType d, int n) const;
  bool native(DType d, int n, int least_bits) const;
  void add(const std::string& name, std::string_view result, std::string_view args, std::string_view body);
  HelperSink& sink_;
  const Target& target_;
  bool avx512_, avx2_;
};

}  // namespace phlox
