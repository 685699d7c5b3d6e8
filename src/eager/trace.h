// Tracing: a user's function runs once on stand-in tensors and every call becomes part of one graph, backward passes
// and optimiser steps included. Real tensors that it touches (parameters, buffers, optimiser state) become inputs by
// themselves; changes in place are made functional and written back after each run.
//
// CompiledFunction keeps a program per set of guards: dtypes, sizes, strides and requires_grad of the inputs, whether
// gradients are on, and of each captured tensor its type and whether .grad is defined. State that is no tensor is frozen
// into the trace; the second call with equal guards traces again and compares, so that frozen state that changed is an
// error, not a wrong result.
#pragma once
#include <functional>
#include <memory>
#include <unordered_map>

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
  void note_grad(TensorImpl& t);          // before .grad of a real tensor changes

  // A captured storage: seen through the tensor that it was first met by.
  struct Captured { Tensor root; uint32_t input; bool mutated = false; };
  struct GradChange { Tensor leaf; Tensor before; };
  Graph& graph() { return graph_; }
  std::vector<Captured>& captured() { return captured_; }
  std::vector<GradChange>& grads() { return grads_; }
  GraphValue storage_value(const Storage* s) const { return values_.at(s); }
  int random_input() const { return random_input_; }
  int random_draws() const { return random_draws_; }
  void close();                           // undoes what the trace did to real tensors' .grad

 private:
  const Tensor& root_of(const Tensor& t);
  bool same_place(const TensorImpl& a, const TensorImpl& b) const;

  Graph graph_;
  GraphBuilder builder_;
  std::unordered_map<const Storage*, GraphValue> values_;
  std::unordered_map<const Storage*, Tensor> roots_;
  std::vector<Captured> captured_;
  std::vector<GradChange> grads_;
  std::vector<Ref<Storage>> keep_;
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
  Entry& find(const std::vector<Tensor>& inputs);
  std::unique_ptr<Entry> trace(const std::vector<Tensor>& inputs, bool compile);

  TraceFn f_;
  std::string name_;
  std::vector<std::unique_ptr<Entry>> entries_;
};

}  // namespace phlox
