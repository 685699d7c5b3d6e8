// The forms of an op: what its name with an underscore and its name with ".out" mean. They are derived from the
// functional op and its record's `.forms`, never declared.
#pragma once
#include <string>
#include <string_view>

#include "graph/op.h"

namespace phlox {

enum class OpForm : uint8_t { functional, in_place, out };

struct FormedOp {
  const OpInfo* info = nullptr;  // null: there is no such op, or it does not have this form
  OpForm form = OpForm::functional;
};
// "add_.Tensor" is the in-place form of add.Tensor; "add.out" fills given tensors from add.Tensor (or the overload
// without a name), "sum.IntList_out" from sum.IntList.
FormedOp find_form(std::string_view name);

bool has_form(const OpInfo& op, Forms form);
std::string form_name(const OpInfo& op, OpForm form);    // a name that find_form gives this form for
std::string form_schema(const OpInfo& op, OpForm form);  // the schema as a user of the form reads it

}  // namespace phlox
