// call_op: the one way to run an op eagerly. Finds the signature, aliases views, runs the program, records the tape.
#pragma once
#include "eager/autograd.h"

namespace phlox {

using Tensors = SmallVector<Tensor, 2>;

// Tensors in `args` are Args of kind value whose bits are a TensorImpl* that lives through the call. Missing trailing
// arguments take the schema's defaults. `device` is where a result without tensor operands is made.
Tensors call_op(const OpInfo& op, std::span<const Arg> args, Device* device = nullptr);
// The in-place and out= forms, derived from the functional op: the result is written through to the destination.
void call_in_place(const OpInfo& op, std::span<const Arg> args);               // into argument 0
void call_out(const OpInfo& op, std::span<const Arg> args, std::span<const Tensor> out);

// The two halves of call_op: a call that was met before, and one that was not, which `exact` (may be null) then remembers.
// The first one's results are the first of `out`, which has room for ExactKey::max_results; it returns their number.
class ExactKey;
struct ExactEntry;
size_t run_exact(const ExactEntry& entry, const ExactKey& call, std::span<Tensor> out);
// An error of a call, with what it left unsaid: the op as the user named it, the call as it was made, what it takes.
[[noreturn]] void complete_error(const OpInfo& op, std::span<const Arg> args, const Error& e);
Tensors call_new(const OpInfo& op, std::span<const Arg> args, Device* device, const ExactKey* exact);

inline Arg tensor_arg(const Tensor& t) { Arg a; a.kind = ArgKind::value; a.bits = reinterpret_cast<uint64_t>(t.get()); return a; }

// Runs a signature's graph. `inputs` by graph input; numbers as bits. Records when gradients are on and needed.
struct CallInput { TensorImpl* tensor = nullptr; int64_t number = 0; };
Tensors run_signature(Signature& s, std::span<const CallInput> inputs, const Ints& symbols, Device& device);

// The gradient record of a call with these inputs; null where none is wanted.
Recorded* recorded_for(Signature& s, std::span<const CallInput> inputs, const Ints& symbols);

// Runs it into given outputs; no tape.
void execute_signature(Signature& s, std::span<const CallInput> inputs, const Ints& symbols, Device& device,
                       std::span<const Tensor> outputs);

Tensor call1(const char* op, std::initializer_list<Arg> args);  // by full name, one result
Tensor contiguous(const Tensor& t);
void copy_into(const Tensor& dst, const Tensor& src);           // values only, broadcasting and casting; no tape
void assign(const Tensor& dst, const Tensor& src, const char* op);  // copy_into with version counter and tape
Tensor detach(const Tensor& t);
Tensor full_tensor(Device& d, DType dtype, const Ints& sizes, double value);

// The generator behind random ops: Philox, counted by calls.
struct RandomState { uint64_t seed, offset; };
RandomState random_state(Device& d);
void set_random_state(Device& d, RandomState s);

}  // namespace phlox
