// Autocast: while it is on for a kind of device, calls on tensors of that kind take their floating-point operands in the
// type that the op's record asks for: matrix products in the lower type, sums and losses in f32, the rest as they are.
// float64 and integers are never cast. The casts are calls like any other, so gradients flow through them; casts of
// leaves that need a gradient are made once while it is on. State of the thread.
#pragma once
#include <vector>

#include "tensor/tensor.h"
#include "graph/op.h"
#include "graph/rewrite.h"

namespace phlox {

struct AutocastState {
  bool on = false;
  DType dtype = DType::bf16;
};
AutocastState autocast_state(DeviceKind kind);
void set_autocast_state(DeviceKind kind, AutocastState s);
uint64_t autocast_key();  // all of it as a number, 0 while nothing is on: what a trace depends on
bool autocast_on();       // for any kind

// The arguments with the operands as the op wants them, in `memory`; empty where they are so already. `keep` owns the
// new tensors.
std::span<const Arg> autocast_args(const OpInfo& op, std::span<const Arg> args, ArgMap& memory, std::vector<Tensor>& keep);

}  // namespace phlox
