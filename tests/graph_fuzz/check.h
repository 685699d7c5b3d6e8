// What is asked of a program, and of the graph that its trace gives.
//
// Sizes: of half of the programs that leave it open, called with four sizes, one after the other: eager and compiled alike.
// Bits: compiled = eager, and (where no 16-bit float is in the graph) the exact graph interpreter = eager. All NaNs count as
// one value. Tolerance: against the graph with every float made f64, run by the interpreter, and against the same graph with
// every float result disturbed by a relative error of one unit of the narrowest type: an element may differ by a few times
// what the disturbance does to it. Not asked: results that depend on a float through a discontinuous op (a comparison, a
// rounding, a cast to an integer, a sort), graphs with infinities or NaNs, and graphs whose values leave the range of the
// narrowest type. Gradients of smooth f64 programs: against central differences of the f64 interpreter along a random
// direction, where two step sizes agree about the derivative.
#pragma once
#include "compile/compile.h"
#include "program.h"

namespace phlox::fuzz {

struct TracedProgram {
  Graph graph;
  std::vector<std::pair<uint32_t, uint32_t>> donate;  // as CompileOptions has it
  std::vector<int> sources;                           // per graph input: the program's input, or -1 for the random state
  size_t results = 0, forward = 0;                    // outputs that are returned; those of them that are no gradients
};
TracedProgram trace_program(const FuzzProgram& p, const std::vector<Tensor>& inputs);

// A result of any engine: dtype, sizes, elements.
struct Bits {
  DType dtype = DType::f32;
  Ints sizes;
  std::string bytes;
};
// Empty when equal; else the first element that differs.
std::string difference(const Bits& a, const Bits& b);

std::vector<Bits> run_graph(const TracedProgram& t, std::span<const Bits> inputs, const CompileOptions& options);
// Compiles the graph with all passes (generated code) and without any (interpreted); empty when the bits agree.
std::string check_graph(const TracedProgram& t, std::span<const Bits> inputs, PassSet off = 0);
std::vector<Bits> graph_inputs(const TracedProgram& t, const FuzzProgram& p);
std::vector<Bits> random_graph_inputs(const Graph& g, uint64_t seed);

struct Tally {
  int64_t graphs = 0, refused = 0, bit_results = 0, interpreted = 0, gradients = 0, differences = 0, differences_skipped = 0;
  int64_t wide_checked = 0, wide_discontinuous = 0, wide_range = 0, steps = 0, nodes = 0, jit_eager = 0, twice = 0, sizes = 0, symbolic = 0;
};

// The first broken promise, in words, or nothing. `jit_eager`: eager kernels are generated code too.
std::string check_program(const FuzzProgram& p, bool jit_eager, Tally& tally);

// `f64_too`: also where everything is f64, which the exact interpreter judges otherwise.
std::string check_wide(const TracedProgram& t, const FuzzProgram& p, const std::vector<Bits>& eager, Tally& tally, bool f64_too = false);
std::string check_differences(const TracedProgram& t, const FuzzProgram& p, Tally& tally);

// A value in memory with the strides of its type, and back.
std::vector<char> placed(const Bits& b, const TensorType& type);
Bits collected(const char* memory, DType dtype, const Ints& sizes, const TensorType& type);

// The programs on a GPU, on several streams; see check_cuda.cpp.
struct CudaFailure {
  const FuzzProgram* program;
  std::string words;
};
bool has_gpu();
std::vector<CudaFailure> check_on_gpu(const std::vector<FuzzProgram>& programs, uint64_t seed, Tally& tally);

}  // namespace phlox::fuzz
