// Random programs. A program is made while it runs: each step is drawn for the tensors that are there, tried on them, and
// kept when it was accepted. Equal seeds make equal programs.
#pragma once
#include "program.h"

namespace phlox::fuzz {

FuzzProgram generate(uint64_t seed);

}  // namespace phlox::fuzz
