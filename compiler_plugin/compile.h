// One compile inside the plug-in, in three steps: clang's front end on a buffer in memory, a short list of
// passes, code generation to an object in memory. Everything lives in the call; nothing is shared between
// compiles.
#pragma once
#include <string>

#include "llvm/ADT/SmallVector.h"
#include "toolchain/plugin_abi.h"

namespace llvm {
class Module;
class TargetMachine;
}  // namespace llvm

namespace phlox_plugin {

struct Compilation {
  const phlox_plugin_request* request = nullptr;
  llvm::SmallVector<char, 0> object;
  std::string log;
  uint64_t parse_ns = 0, passes_ns = 0, code_ns = 0;
};

void initialise_llvm();        // once a process
bool compile(Compilation& c);  // false: refused, the log says why
void run_passes(llvm::Module& module, llvm::TargetMachine& machine);

}  // namespace phlox_plugin
