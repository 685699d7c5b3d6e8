// Where files that ship with phlox may be: beside its own library or executable, in lib/ there, or in ../lib.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace phlox {

std::vector<std::string> shipped_file_places(
    std::string_view name);  // full paths, best first; none need exist

}  // namespace phlox
