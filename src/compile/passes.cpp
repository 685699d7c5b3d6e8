#include "compile/passes.h"

#include <cstdlib>

#include "base/error.h"
#include "base/root.h"

namespace phlox {

static const char* const names[pass_count] = {"simplify", "fuse",  "epilogue",  "rows",  "flatten",
                                              "in_place", "dedup", "providers", "split", "row_scratch"};
const char* pass_name(Pass p) { return names[int(p)]; }

PassSet parse_passes(std::string_view text) {
  PassSet off = 0;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const std::string_view item = text.substr(0, comma);
    text = comma == text.npos ? std::string_view() : text.substr(comma + 1);
    PassSet bits = item == "-all" ? (PassSet(1) << pass_count) - 1 : 0;
    for (int p = 0; p < pass_count; ++p)
      if (item.size() > 1 && item[0] == '-' && item.substr(1) == names[p]) bits = pass_bit(Pass(p));
    if (!bits)
      fail(ErrorCode::invalid_argument, {.op = "PHLOX_PASSES", .fact = "no such pass", .got = cat("'", item, "'"),
                                         .expected = cat("a list of -all, -", join(names, ", -"))});
    off |= bits;
  }
  return off;
}

namespace {
struct Environment {
  PassDefaults defaults;
  Environment() {
    if (const char* passes = std::getenv("PHLOX_PASSES")) defaults.off = parse_passes(passes);
    if (const char* level = std::getenv("PHLOX_VERIFY"); level && *level >= '0' && *level <= '2') defaults.verify = *level - '0';
  }
};
}  // namespace

const PassDefaults& pass_defaults() { return root_object<Environment>().defaults; }

}  // namespace phlox
