// The rules of a well-formed Program as a question: what the runtime takes for granted of one.
//
// Checked: steps name kernels and buffers that exist, with as many operands as the kernel's words use; a temporary is
// written before it is read and used only while it lives; an input is written only where an output is said to be its new
// value; every other output is written. What a step computes is not looked at.
#pragma once
#include <string>

#include "program/program.h"

namespace phlox {

std::string program_defect(const Program& p);  // empty: none
void verify_program(const Program& p);         // InternalError with the defect

}  // namespace phlox
