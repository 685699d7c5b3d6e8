// Schema: an op's name and signature, in PyTorch's schema grammar:
//   add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "graph/arg.h"

namespace phlox {

enum class ParamType : uint8_t {
  tensor, scalar, integer, real, boolean, string, dtype, device, layout, memory_format, generator,
};

struct SchemaParam {
  std::string name;
  ParamType type;
  bool list = false;           // int[], Tensor[]
  bool optional = false;       // T?
  bool optional_items = false; // Tensor?[]
  int fixed_size = 0;          // int[2]: one int stands for all
  bool symbolic = false;       // SymInt: may be a run-time size; a plain int is part of a call's key
  bool kwarg_only = false;
  bool mutated = false;        // Tensor(a!)
  bool has_default = false;
  Arg default_value;           // storage in the schema
};

struct Schema {
  std::string name;      // "add"
  std::string overload;  // "Tensor", or "" for the default overload
  std::vector<SchemaParam> params;
  std::vector<SchemaParam> returns;
  std::vector<std::vector<Arg>> lists;   // storage of default lists
  std::vector<std::string> strings;      // storage of default strings
  std::string full_name() const;         // "add.Tensor", "relu"
  int find(std::string_view param) const;  // -1: none
};

Schema parse_schema(std::string_view text);  // throws Error(invalid_argument) that points at the place
const char* param_type_name(ParamType t);

}  // namespace phlox
