// StagedCall: an op that cannot be one graph, as calls made one after the other: where an inner size depends on data
// (a mask that picks elements), or where operands are changed (running statistics). The executor decides what a call
// is; each one takes part in autograd and tracing by itself. Tensors are Args of kind value whose meaning is the
// executor's.
#pragma once
#include <string_view>
#include <vector>

#include "graph/op.h"

namespace phlox {

class StagedCall {
 public:
  virtual ~StagedCall() = default;
  virtual DType dtype(const Arg& tensor) const = 0;
  virtual Ints sizes(const Arg& tensor) const = 0;
  // Results live as long as this object.
  virtual std::vector<Arg> call(std::string_view op, std::span<const Arg> args) = 0;
  // Writes values into an operand; no gradient flows through it.
  virtual void assign(const Arg& to, const Arg& from) = 0;

  std::span<const Arg> args;  // by schema, defaults filled in
  std::vector<Arg> results;   // what the rule gives
};

}  // namespace phlox
