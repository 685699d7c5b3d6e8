// Attention as one kernel that never stores its scores: softmax(q k^T * scale) v and its gradients on matrices
// [batch, rows, heads, width] of any strides along the first three dimensions. On GPUs with matrix units f16 and bf16; on
// CPUs f32, bit for bit what the op's expansion means. Refuses, each with a reason: masks other than the causal one, widths
// that do not fit the target's registers, other types and ranks; on CPUs sizes that are not known and more than 1024 rows.
#pragma once
#include <string>

#include "kernel/kernel.h"
#include "program/program.h"
#include "type/target.h"

namespace phlox {

// May the types of q, k and v, in this order of dimensions, be had?
bool provides_attention(const TensorType& q, const TensorType& k, const TensorType& v, bool causal, const Target& target, std::string& refusal);

struct AttentionShape {
  DType dtype;
  Dim batch, queries, keys, heads;
  int64_t width;
  double scale;
  bool causal;
  bool packed = false;  // backward: the gradients side by side in the rows of one result
  friend bool operator==(const AttentionShape&, const AttentionShape&) = default;
};
// Where the elements of an operand lie, in elements; those of one row side by side.
struct AttentionOperand {
  Dim base = 0, batch = 0, row = 0, head = 0;
  friend bool operator==(const AttentionOperand&, const AttentionOperand&) = default;
};

// Buffers of its step: q k v, then out and logsumexp.
Program::Kernel attention_forward(const AttentionShape& s, const AttentionOperand (&qkv)[3], const Target& target);
// Buffers of their steps: g q k v logsumexp rowsums, then the gradients of q, k and v, or where they are
// packed their one buffer.
Program::Kernel attention_backward_queries(const AttentionShape& s, const AttentionOperand (&gqkv)[4], const Target& target);
Program::Kernel attention_backward_keys(const AttentionShape& s, const AttentionOperand (&gqkv)[4], const Target& target);

// The same for a CPU, the backward pass in one: buffers g q k v logsumexp rowsums, then the gradients of q, k and v, or
// where they are packed their one buffer.
Kernel attention_forward_cpu(const AttentionShape& s, const Target& target, const AttentionOperand (&qkv)[3]);
Kernel attention_backward_cpu(const AttentionShape& s, const Target& target, const AttentionOperand (&gqkv)[4]);

}  // namespace phlox
