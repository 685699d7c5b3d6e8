// Signature: what phlox knows about one kind of call: an op with its static arguments, dtypes, layout class and the
// pattern of its sizes. Holds the graph that the op expands to, the program that eager runs, and, per set of inputs
// that need gradients, the split into a recorded forward and a backward signature. Found by key in one look-up; where
// building the graph had to answer questions about sizes, the answers are guards and a key has several signatures.
#pragma once
#include <map>
#include <memory>
#include <mutex>

#include "graph/graph.h"
#include "runtime/executable.h"
#include "tensor/tensor.h"
#include "transform/vjp.h"

namespace phlox {

// A call taken apart: the key, the run-time sizes and numbers, and the tensors, in the order of the graph's inputs.
// Tensor arguments are Args of kind value whose bits are a TensorImpl*.
struct CallKey {
  SmallVector<uint64_t, 48> words;
  Ints symbols;                          // sizes (one per class of equal sizes), run-time ints, strides
  int size_symbols = 0, int_symbols = 0; // the first are keyed by pattern
  SmallVector<TensorImpl*, 6> tensors;
  SmallVector<int64_t, 4> numbers;       // bits
  SmallVector<DType, 4> number_types;
  uint64_t hash() const;
};

struct Signature;
struct Recorded {
  DimEnv env;                            // guards of the gradient rules
  std::vector<SplitVjp::Saved> saved;
  std::vector<uint32_t> grads_of, wrt;
  Ref<Signature> forward, backward;
  // The same where some outputs got no gradient: their zeros are no part of the arithmetic. Null: they have to be.
  struct Partial { std::vector<bool> missing; std::vector<uint32_t> grads_of, wrt; Ref<Signature> backward; };
  std::vector<std::unique_ptr<Partial>> partial;
  SplitVjp whole;                        // without its graphs
  std::vector<bool> needs_grad;
};

struct Signature : RefCounted {
  std::string name;
  Graph graph;
  DimEnv env;
  size_t tensor_count = 0;               // graph inputs: tensors, then numbers, then the random state if any
  bool random = false;
  bool pointwise = false;                // every result element depends on the same element of each operand only
  bool has_extern = false;
  bool has_windows = false;              // convolutions and the like
  const OpInfo* host_op = nullptr;       // an op whose result sizes depend on data: run by its reference
  SmallVector<TensorType, 2> outputs;

  // The program for a device; on a GPU one for sizes like these, since rows of different lengths are shared in other ways.
  // Large windows of known sizes run several times as fast on a CPU: sizes that come again get a program of their own.
  Executable& executable(Device& device, const Ints& symbols);
  bool settled(Device& device, const Ints& symbols);  // the program for these sizes stays what it is
  Ref<Signature> dense();  // the same for inputs that are contiguous
  // A view's function of its base and numbers alone: other tensors only told it sizes.
  Ref<Signature> of_base();
  // For inputs of these sizes, of which `needs_grad` need a gradient.
  Recorded& recorded(const std::vector<bool>& needs_grad, const Ints& symbols);
  const Recorded::Partial& partial(Recorded& r, const std::vector<bool>& missing);

 private:
  uint64_t sizes_key(Device& device, const Ints& symbols) const;
  bool pays_own_program(uint64_t sizes, Device& device, const Ints& symbols);
  struct Made { Device* device; uint64_t sizes; Ints own; Ref<Executable> executable; };  // own: the only sizes it serves
  std::mutex mutex_;
  std::vector<std::unique_ptr<Made>> made_;
  std::map<uint64_t, int> asked_;            // by sizes: how often, while they have no program of their own
  size_t own_sizes_ = 0;
  std::atomic<const Made*> ready_{nullptr};  // what was asked for last: read without the lock
  Ref<Signature> dense_, of_base_;
  std::map<std::vector<bool>, std::vector<std::unique_ptr<Recorded>>> recorded_;
};

CallKey make_key(const OpInfo& op, std::span<const Arg> args);
// Remembered are at most signature_limit() kinds of calls: beyond that, those that were not asked for lately go, with an
// event. Whoever holds one of them keeps it; asked for again, it is made again.
Ref<Signature> find_signature(const OpInfo& op, std::span<const Arg> args, const CallKey& key);
size_t signature_limit();
size_t signature_count();
Ref<Signature> signature_of_graph(std::string name, Graph g, const DimEnv& env);

// Compiles and loads a program's kernels; those that cannot be had now stay interpreted, with an event.
Ref<Executable> make_executable(Ref<Program> program, Device& device);
// Whether kernels that the interpreter does not know may be part of a program.
bool makes_code(Device& device);

}  // namespace phlox
