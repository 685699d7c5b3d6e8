// The compiler's passes by name. Those that only make programs better can be switched off, one by one, to find the one that
// breaks a program: by PHLOX_PASSES=-simplify,-fuse (or -all), or in CompileOptions. A pass that is off says so in an event.
//
// PHLOX_VERIFY sets how much is checked between passes: 0 nothing, 1 graphs, the partition and the program, 2 loops and
// kernels as well (the tests' setting). A defect is an
// InternalError that names the pass that made it.
#pragma once
#include <cstdint>
#include <string_view>

namespace phlox {

enum class Pass : uint8_t {
  simplify,   // equal calls become one, calls that change nothing vanish
  fuse,       // several ops a kernel
  epilogue,   // what follows a contraction joins its kernel
  rows,       // what several passes over long rows read is stored once
  flatten,    // elementwise kernels over one axis, whatever the shape
  in_place,   // new values are written where the old ones lie
  dedup,      // equal loops share a kernel
  providers,  // hand-tuned kernels
  split,      // reductions with few results over blocks
  row_scratch,  // costly values of a row are kept for its later passes
};
constexpr int pass_count = 10;
const char* pass_name(Pass p);

using PassSet = uint32_t;  // bit: a Pass
constexpr PassSet pass_bit(Pass p) { return PassSet(1) << int(p); }
// "-simplify,-fuse", "-all" (every pass of the list), "" (none): the passes that are off. Throws Error(invalid_argument).
PassSet parse_passes(std::string_view text);

// What the environment says, read once.
struct PassDefaults {
  PassSet off = 0;
  int verify = 0;
};
const PassDefaults& pass_defaults();

}  // namespace phlox
