// phlox_op: an op by the name that a user calls it, which is the functional op itself or one of the forms derived from
// it. Handles are made on first look-up and live as long as the process.
#pragma once
#include <string>
#include <string_view>

#include "eager/call.h"
#include "ops/forms.h"
#include "phlox/phlox.h"

struct phlox_op {
  const phlox::OpInfo* info;
  phlox::OpForm form;
  std::string name, schema;
};

namespace phlox {

const phlox_op* find_op_handle(std::string_view name);  // null when there is no such op or form

// Checks the arguments against the schema, converts what may stand for something else, and runs the op. Results of the
// in-place and out forms are the tensors that were changed. `key` (may be null) is of these arguments: it remembers them.
Tensors call_handle(const phlox_op& op, std::span<const Arg> args, const ExactKey* key = nullptr);
// The same to handles; a call that was met before takes its short way.
void call_handle(const phlox_op& op, std::span<const Arg> args, phlox_tensor** outs, int32_t* n_outs);

void forget_waiting_results();  // of this thread: what phlox_take_results would give out
// Into `outs` where there is room for all, else into the waiting ones; *n_outs becomes their number.
void give_results(std::span<Tensor> results, phlox_tensor** outs, int32_t* n_outs);

}  // namespace phlox
