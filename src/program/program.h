// Program: an executable as plain data. Kernels, buffers and steps; every decision is already made. The compiler writes
// programs, the runtime binds and runs them; neither knows the other.
//
// Sizes are formulas over the program's symbols, which are read off the inputs at binding. Temporary buffers carry the
// steps between which they live; binding lays them out when all sizes are known.
#pragma once
#include <string>
#include <vector>

#include "base/ref.h"
#include "program/image.h"
#include "type/host_call.h"
#include "type/tensor_type.h"

namespace phlox {

struct Program : RefCounted {
  struct Input { TensorType type; bool number = false; };
  // Where a symbol's value comes from: dimension `dim` of input `input`, or its stride, or the input number itself.
  struct Symbol { enum class Kind : uint8_t { size, stride, number } kind; uint32_t input; uint32_t dim; };

  struct Buffer {
    enum class Kind : uint8_t { input, output, temp } kind;
    uint32_t index = 0;                  // of the input or output
    Dim bytes = 0;                       // temp
    uint32_t first_step = 0, last_step = 0;
  };

  struct KernelWord {
    enum class Kind : uint8_t { pointer, dim, number, status, scratch } kind;
    uint32_t param = 0;                  // pointer: which of the step's buffers; number: which input
    Dim dim = 0;
  };
  struct Kernel {
    std::string entry;                   // "k_" and hex digits: a name by content
    std::string source;                  // the target text
    std::string loop_text;               // what it computes, for the interpreter and for people
    bool list = false;                   // runs a list of calls in one launch: Step::rows
    bool part = false;                   // of a loop that several kernels compute: the first one has the text of all
    std::vector<KernelWord> words;
    Dim items = 1;                       // work items of a launch
    double item_cost = 1;                // nanoseconds: decides how many items make a piece of work
    Dim scratch_bytes = 0;               // cpu: memory of each thread that the scratch word points to
    uint32_t threads = 1, shared_bytes = 0, cluster = 1;  // cuda
    bool early = false;                  // cuda: may start while the launch before it runs, and waits for that itself
  };

  struct Step {
    enum class Kind : uint8_t { launch, copy, native } kind;
    uint32_t kernel = 0;                 // launch
    uint32_t rows = 1;                   // launch of a list kernel: calls; buffers and sizes are those of one after another
    uint32_t inputs = 0;                 // launch: so many of the first buffers (of each call) are only read
    bool no_capture = false;             // may not be part of a captured graph
    std::vector<uint32_t> buffers;       // launch: by kernel parameter; copy: dst, src; native: results, then operands
    std::vector<Dim> sizes;              // launch: values of the kernel's own symbols; empty: they are the program's. native: its own
    Dim bytes = 0;                       // copy
    std::string name;                    // native: entry point; launch: what it is, for traces
    std::vector<HostAttr> args;          // native: the call's arguments; tensors count the operand buffers
    std::vector<TensorType> types;       // native: of buffers
  };

  std::vector<Input> inputs;
  std::vector<TensorType> outputs;
  std::vector<int32_t> output_alias;     // >= 0: the output is that input itself
  std::vector<Symbol> symbols;
  std::vector<Buffer> buffers;
  std::vector<Kernel> kernels;
  std::vector<Step> steps;
};

std::string print_program(const Program& p);

}  // namespace phlox
