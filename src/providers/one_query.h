// Attention of one query a head, which is what decoding a token asks for: softmax(q k^T * scale) v over keys and values that
// may lie in a cache, with a mask over the keys. Groups of query heads share the key head that they were given, so each
// key and value is read once. A block has one key head; its warps share the keys.
// Refuses: more queries than one, masks that differ between heads, widths but 64 and 128, types but f16 and bf16.
#pragma once
#include <string>

#include "program/program.h"
#include "providers/attention.h"

namespace phlox {

// q[batch, key heads, group, width], k and v [batch, key heads, keys, width]
bool provides_one_query(const TensorType& q, const TensorType& k, const TensorType& v, const Target& target, std::string& refusal);
struct OneQueryOperand { Dim base = 0, batch = 0, head = 0, row = 0; };
// Buffers of its step: q k v, the mask where there is one, then the dense results.
Program::Kernel one_query(const TensorType& q, Dim keys, double scale, bool mask, const OneQueryOperand (&qkv)[3]);

}  // namespace phlox
