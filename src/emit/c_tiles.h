// The matrix leaves of the C dialect (KTile): each becomes a function of its own, not inlined, so that the compiler
// allocates registers for it alone and kernels of one translation unit share it. Returns the function's name; its
// arguments are the leaf's operands in their order, all i64.
#pragma once
#include <string>

#include "emit/c_helpers.h"

namespace phlox {

class CTiles {
 public:
  CTiles(HelperSink& sink, CHelpers& helpers, const Target& target) : sink_(sink), helpers_(helpers), target_(target) {}
  std::string function(const KTile& t);

 private:
  void prepare(const KTile& t);
  std::string multiply(const KTile& t);
  std::string edge(const KTile& t);
  std::string pack_rows(const KTile& t);
  std::string pack_columns(const KTile& t);
  std::string pack_any(const KTile& t);
  std::string pack_windows(const KTile& t);
  std::string copy_rows(const KTile& t);
  std::string row_dot(const KTile& t);
  std::string row_sweep(const KTile& t);
  std::string transpose();
  std::string load(std::string_view p) const;
  std::string store(std::string_view p, std::string_view v) const;
  void add(const std::string& name, std::string_view arguments, std::string_view body);

  HelperSink& sink_;
  CHelpers& helpers_;
  const Target& target_;
  DType dtype_ = DType::f32;
  int vl_ = 16;
  std::string e_, v_, splat_, fma_, load_partial_, store_partial_;  // element, vector, helpers
};

}  // namespace phlox
