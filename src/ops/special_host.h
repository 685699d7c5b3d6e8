// Special functions that have no loop-level expansion: in f64, on the host, element by element. The public ops are in
// op_special.cpp.
#pragma once
#include <string_view>

namespace phlox {

using SpecialFunction1 = double (*)(double);
using SpecialFunction2 = double (*)(double, double);

SpecialFunction1 special_function1(std::string_view name);  // null: none of this name
SpecialFunction2 special_function2(std::string_view name);

}  // namespace phlox
