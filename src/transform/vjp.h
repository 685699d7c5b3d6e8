// vjp: reverse-mode differentiation, Graph -> Graph.
//
// append_vjp writes the gradient of some values into the same graph. split_vjp does it for a whole graph and cuts the
// result into a forward graph, with what must be saved as extra outputs, and a backward graph. Elementwise, view and
// row (reduction) interiors are recomputed in the backward graph; results of contractions, gathers, scatters, random
// and extern ops are saved. Refuses: a float result of an op that has no gradient rule (Error autograd).
#pragma once
#include <vector>

#include "graph/builder.h"

namespace phlox {

// For each of `wrt` the gradient of sum over i of grads[i] * outputs[i]; a null Val where there is none. Null entries
// of `grads` count as zero. Gradients of one value add up in reverse node order.
std::vector<Val> append_vjp(GraphBuilder& b, std::span<const GraphValue> outputs, std::span<const Val> grads,
                            std::span<const GraphValue> wrt);

struct SplitVjp {
  Graph forward;   // the outputs of the original, then the extra values that are saved
  Graph backward;  // inputs: the saved values, then the gradients of the outputs in use; outputs: the gradients in `wrt`
  struct Saved { enum class Kind : uint8_t { input, output } kind; uint32_t index; };
  std::vector<Saved> saved;       // of forward: where each saved value comes from
  std::vector<uint32_t> grads_of; // which outputs' gradients backward takes
  std::vector<uint32_t> wrt;      // which inputs' gradients backward gives (those that were asked for and are not zero)
  std::vector<GraphValue> values; // of the saved values, in a numbering that depends on the graph only
};
SplitVjp split_vjp(const Graph& g, const std::vector<bool>& needs_grad);
// The backward graph for the case that the outputs in `missing` have no gradient. It takes the values that the whole one
// saves, then the gradients that there are; its `forward` is empty. `backward` has no inputs where it would need a value
// that is not saved.
SplitVjp split_vjp_without(const Graph& g, const std::vector<bool>& needs_grad, const std::vector<bool>& missing,
                           const SplitVjp& whole);

}  // namespace phlox
