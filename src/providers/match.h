// What a Loop is, when it is a contraction: out[batch, m, n] = epilogue(sum over k of A[batch, m, k] * B[batch, k, n]).
//
// The loop has one reduction (but for those of a prologue, where asked for), an ordered chain of sums over the product of two values. Axes of the first value alone are
// rows (m), of the second alone columns (n), of both or none batch. A list of axes is walked row-major as one. Whatever
// lies under the product is the prologue of A and B, whatever the stores compute from the sum is the epilogue.
// Everything else is refused, with a reason.
#pragma once
#include <string>

#include "loop/loop.h"

namespace phlox {

struct Contraction {
  using Axes = SmallVector<int, 4>;
  struct Operand {
    ValueId value = no_value;  // the factor of the product
    // A plain load of the type that is computed in, whose address is base + row * (flat row) + step * (flat k).
    bool plain = false;
    bool affine = false;  // such a load at any affine address
    uint32_t param = 0;
    Affine address;
    Dim row = 0, step = 0;
    // Otherwise, of such a load with rows at a stride: how many of the last axes of k lie evenly in memory. 0: it is none.
    int even_k = 0;
    // The same where the rows are positions in an image: two axes, the inner one dense.
    bool windows = false;
  };
  DType dtype = DType::f32;  // f32 or f64: of the sum
  ValueId sum = no_value;    // the reduction
  Operand a, b;
  Axes batch, m, n, k;
  Dim m_size = 1, n_size = 1, k_size = 1, batch_size = 1;
  // The store whose memory can hold unfinished sums: of the sum's type, rows at a stride, columns side by side. -1: none.
  int in_place = -1;
  Affine c_address;
  Dim c_row = 0;
  bool epilogue = true;      // false: the only store writes the sum itself, in place
};

struct ContractionMatch {
  bool matched = false;
  Contraction contraction;
  std::string refusal;
};

// `prologue`: the first factor may hold reductions of its own (of another order than the contraction's).
ContractionMatch match_contraction(const Loop& loop, bool prologue = false);

// The stride of an address along a list of axes walked as one; nothing where they are not evenly spaced.
bool flat_stride(const Loop& loop, const Affine& a, std::span<const int> axes, Dim& stride);
Dim extent_of(const Loop& loop, std::span<const int> axes);
int64_t size_hint(Dim d);  // symbols count as large

}  // namespace phlox
