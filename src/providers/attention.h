// Attention as one kernel that never stores its scores, for GPUs with matrix units: softmax(q k^T * scale) v and its
// gradients on matrices [batch, rows, heads, width] of f16 or bf16, of any strides along the first three dimensions.
// Refuses: masks other than the causal one, other widths than 64 and 128, other types and ranks.
#pragma once
#include <string>

#include "program/program.h"
#include "type/target.h"

namespace phlox {

// May the types of q, k and v, in this order of dimensions, be had?
bool provides_attention(const TensorType& q, const TensorType& k, const TensorType& v, const Target& target, std::string& refusal);

struct AttentionShape {
  DType dtype;
  Dim batch, queries, keys, heads;
  int64_t width;
  double scale;
  bool causal;
};
// Where the elements of an operand lie, in elements; those of one row side by side.
struct AttentionOperand { Dim base = 0, batch = 0, row = 0, head = 0; };

// Buffers of its step: q k v, then out and logsumexp.
Program::Kernel attention_forward(const AttentionShape& s, const AttentionOperand (&qkv)[3]);
// Buffers of their steps: g q k v logsumexp rowsums, then the gradients of q, k and v.
Program::Kernel attention_backward_queries(const AttentionShape& s, const AttentionOperand (&gqkv)[4]);
Program::Kernel attention_backward_keys(const AttentionShape& s, const AttentionOperand (&gqkv)[4]);

}  // namespace phlox
