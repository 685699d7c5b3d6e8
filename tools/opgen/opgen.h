// opgen: what is written from the op registry: the C++ functions and methods, and the reference pages. One object per
// output; main.cpp writes them or, with --check, says which are out of date.
#pragma once
#include <string>
#include <vector>

#include "ops/registry.h"

namespace phlox {

struct Output {
  std::string path;  // from the root of the source tree
  std::string text;
};

// One op of the public API: no primitives, no names with a namespace.
bool is_public(const OpInfo& op);

std::vector<Output> cpp_outputs();
std::vector<Output> doc_outputs(const std::string& families_text);  // the text of src/ops/families.h, for their names

// The C++ declarations of all forms of an op, for the reference.
std::vector<std::string> cpp_declarations(const OpInfo& op);

}  // namespace phlox
