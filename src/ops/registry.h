// The op registry: every op that exists, by an explicit list of families. Constant once built, but for ops that users
// register at run time, which only add to it.
#pragma once
#include <span>
#include <string_view>
#include <vector>

#include "graph/op.h"

namespace phlox {

using OpFamily = std::span<const Op* const>;

const OpInfo* find_op(std::string_view full_name);  // "add.Tensor", "relu", "prim::add"; null when there is none
const OpInfo& op_info(const Op& op);                // of a record in ops/
std::vector<const OpInfo*> all_ops();               // in registration order
const OpInfo& register_op(const Op& op);            // a user's; the record must outlive the process

}  // namespace phlox
