// Failing programs made small. Every try runs in a process of its own, so that what ends in a signal can be reduced too.
#pragma once
#include <functional>

#include "check.h"

namespace phlox::fuzz {

// What a check says in a child process: empty, its words, or the signal that ended it.
std::string in_child(const std::function<std::string()>& check);

// Leaves out steps and outputs for as long as the program fails in the same way.
FuzzProgram reduce_program(FuzzProgram p);
// The same for the graph of its trace: outputs and calls go, values become inputs. Empty text when the graph alone does not
// fail: then the fault lies in what is around the compiler.
std::string reduce_graph(const FuzzProgram& p);

// A case file: comment lines (`# donate OUTPUT INPUT`, `# seed N`) and a graph. Compiled and interpreted must agree.
std::string check_case(const std::string& text);

}  // namespace phlox::fuzz
