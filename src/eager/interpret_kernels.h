// While one lives on a thread, executables that are made there get no code: their kernels run in the interpreter. What
// generated code is held against.
#pragma once

namespace phlox {

struct InterpretKernels {
  InterpretKernels();
  InterpretKernels(const InterpretKernels&) = delete;
  ~InterpretKernels();
};

}  // namespace phlox
