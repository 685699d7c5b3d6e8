// The tape: a reference-counted DAG of records. A record holds what the backward program of its signature needs and
// edges to the records of its inputs; it is freed with the tensors that refer to it. backward() launches programs; no
// graph is built unless create_graph asks for gradients of gradients, which record themselves like any other call.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "eager/signature.h"

namespace phlox {

struct GradNode;

struct Edge {
  Ref<GradNode> node;  // null: no gradient flows
  uint32_t index = 0;  // which result of the node
};

struct SavedTensor {
  Tensor tensor;
  uint32_t version = 0;
  bool is_result = false;  // a result of the record itself: kept detached, or the tape would own itself
};

struct GradNode : RefCounted {
  uint64_t sequence = 0;               // later records run first
  SmallVector<Edge, 3> inputs;         // by gradient that apply() returns
  uint32_t results = 1;
  std::vector<std::pair<uint32_t, std::function<Tensor(const Tensor&)>>> hooks;  // on the gradient of a result, in order
  virtual const char* name() const = 0;
  // Gradients of the results (null where none) to gradients of the inputs (null where none).
  virtual SmallVector<Tensor, 3> apply(std::span<const Tensor> grads, bool create_graph) = 0;
  virtual void free_saved() {}            // drops saved values; a later apply is an error
  virtual ~GradNode();
};

struct AccumulateNode;
struct AutogradExtra : TensorExtra, Pooled<AutogradExtra> {
  // Of views of tracked tensors: how to make the view again after its base changed in place.
  struct View {
    Tensor base;
    Ref<Signature> signature;
    uint32_t result = 0;
    Ints symbols;
    std::vector<int64_t> numbers;
    uint32_t base_history = 0;         // of the base when `edge` was made
  };
  // What users asked to be told.
  struct Watchers {
    std::shared_ptr<Tensor> retained;  // retain_grad: filled by a hook, which outlives this tensor
    std::vector<std::function<void(const Tensor&)>> accumulated;  // of leaves: run after .grad was added to
  };
  Edge edge;                           // where the gradient of a result goes; a leaf has none
  std::atomic<AccumulateNode*> accumulator{nullptr};  // of a leaf, owned; made when a record first ends there
  Tensor grad;                         // of leaves
  // Most results of recorded calls have neither.
  std::unique_ptr<View> view;
  std::unique_ptr<Watchers> watchers;
  uint32_t history = 0;                // counts changes of this tensor's values in place

  Watchers& watched() {
    if (!watchers) watchers = std::make_unique<Watchers>();
    return *watchers;
  }
  ~AutogradExtra() override;
};

constexpr bool has_gradient(DType d) { return is_float(d) || is_complex(d); }
bool grad_enabled();                   // gradients are on and this is not inference mode
bool grad_mode();                      // what set_grad_enabled last said
void set_grad_enabled(bool on);
bool inference_enabled();
void set_inference_enabled(bool on);
struct NoGrad {
  bool before = grad_mode();
  NoGrad() { set_grad_enabled(false); }
  ~NoGrad() { set_grad_enabled(before); }
};

AutogradExtra& autograd_extra(TensorImpl& t);        // made on demand
AutogradExtra* find_autograd_extra(const TensorImpl& t);
Edge gradient_edge(TensorImpl& t);                   // null edge when t needs no gradient
inline Edge gradient_edge(const Tensor& t) { return gradient_edge(*t); }
void set_edge(const Tensor& t, Ref<GradNode> node, uint32_t index);
void check_can_mutate(const TensorImpl& t, const char* op);  // a leaf that requires grad may not change in place

// Runs the tape from `roots`. Gradients of leaves are accumulated into .grad, unless `wrt` is given: then the gradients
// of those tensors are returned (null where there is none).
std::vector<Tensor> run_backward(const std::vector<Tensor>& roots, const std::vector<Tensor>& grads, bool retain_graph,
                                 bool create_graph, const std::vector<Tensor>* wrt);

uint64_t next_sequence();
bool is_leaf(const TensorImpl& t);
Tensor grad_of(const TensorImpl& t);      // .grad; null when there is none
void set_grad(TensorImpl& t, Tensor g);   // null clears it
// The record of a view: its gradient needs no values, only the run-time numbers of the call.
Ref<GradNode> make_view_node(Signature& s, const Edge& base_edge, std::span<const int64_t> numbers, const Ints& symbols,
                             const Tensor& base);
void rerecord_view(AutogradExtra& e, const Edge& base_edge);
void record_view(Signature& s, const Tensor& base, std::span<const int64_t> numbers, const Ints& symbols,
                 std::span<const Tensor> views);
void record_assignment(const Tensor& dst, const Tensor& value);  // dst has just taken value's values

}  // namespace phlox
