// Tracing: a user's function runs once on stand-in tensors and every call becomes part of one graph, backward passes
// and optimiser steps included. Real tensors that it touches (parameters, buffers, optimiser state) become inputs by
// themselves; changes in place are made functional and written back after each run.
//
// CompiledFunction keeps a program per set of guards: dtypes, sizes, strides and requires_grad of the inputs, whether
// gradients are on, and of each captured tensor its type and whether .grad is defined. State that is no tensor is frozen
// into the trace; the second call with equal guards traces again and compares, so that frozen state that changed is an
// error, not a wrong result.
//
// When arguments come with a second size, the function is traced at both sizes and the two graphs become one whose sizes
// are symbols (graph/generalise.h): its program serves other sizes too. The first call at every further size traces and
// compares with it, which is exact; only where they differ another program is compiled, with an event that says why.
#pragma once
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

#include "compile/compile.h"
#include "eager/call.h"

namespace phlox {

using TraceFn = std::function<std::vector<Tensor>(const std::vector<Tensor>&)>;

class Tracer {
 public:
  Tracer();
  ~Tracer();
  static Tracer* current();  // of this thread; null outside of a trace

  Tensor add_input(const Tensor& real);   // a stand-in for an argument
  Tensors run(Signature& s, std::span<const CallInput> inputs, const Ints& symbols, Device& device);
  void write(const Tensor& dst, const Tensor& src);  // dst's elements take src's values
  Tensor random_state(Device& d);
  GraphValue value_of(const Tensor& t);   // reads of real tensors capture them
  GraphValue result(const Tensor& t);     // its value as a result of the trace: never an input itself
  bool is_dense_root(const TensorImpl& t);  // the whole of its storage, row-major, in the program too
  void note_grad(TensorImpl& t);          // before .grad of a real tensor changes

  // A captured storage: seen through the tensor that it was first met by.
  struct Captured { Tensor root; uint32_t input; bool mutated = false; };
  struct GradChange { Tensor leaf; Tensor before; };
  Graph& graph() { return graph_; }
  std::vector<Captured>& captured() { return captured_; }
  std::vector<GradChange>& grads() { return grads_; }
  GraphValue storage_value(const Storage* s) const { return known_.at(s).value; }
  GraphValue new_value(const Storage* s);  // of a storage that was changed: another input's value is copied first
  int random_input() const { return random_input_; }
  int random_draws() const { return random_draws_; }
  void close();                           // undoes what the trace did to real tensors' .grad

 private:
  // What a storage holds now, and the tensor in whose geometry that is kept.
  struct Known { GraphValue value; Tensor root; Ref<Storage> storage; int captured = -1; };
  Known& known(const Tensor& t);
  void learn(const Tensor& root, GraphValue v) { known_.insert_or_assign(root->storage.get(), Known{v, root, root->storage}); }
  bool same_place(const TensorImpl& a, const TensorImpl& b) const;

  Graph graph_;
  GraphBuilder builder_;
  std::unordered_map<const Storage*, Known> known_;
  std::vector<Captured> captured_;
  std::vector<GradChange> grads_;
  std::unordered_set<const TensorImpl*> noted_;
  int random_input_ = -1, random_draws_ = 0;
  uint32_t groups_ = 0;
  Tracer* previous_;
};

class CompiledFunction : public RefCounted {
 public:
  explicit CompiledFunction(TraceFn f, std::string name = "function");
  ~CompiledFunction();
  std::vector<Tensor> call(const std::vector<Tensor>& inputs);
  void prepare(const std::vector<Tensor>& inputs);  // traces and compiles; runs nothing
  std::string report() const;                        // JSON: programs, kernels, times

 private:
  struct Entry;
  struct Traced;
  Entry& find(const std::vector<Tensor>& inputs, Ints& sizes);
  bool fits(Entry& e, const std::vector<Tensor>& inputs, Ints& sizes);
  Traced trace(const std::vector<Tensor>& inputs);
  Traced trace_for_sizes(const std::vector<Tensor>& inputs);
  std::unique_ptr<Entry> compile(Traced traced, Device& device);
  Device& choose_device(Entry& e, const std::vector<Tensor>& inputs) const;

  TraceFn f_;
  std::string name_;
  mutable std::mutex calls_;  // calls from several threads run one after another: programs, plans and state are shared
  std::vector<std::unique_ptr<Entry>> entries_;
};

}  // namespace phlox
