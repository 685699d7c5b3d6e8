// compile: Graph x Target -> Program, a pure function. The pipeline, in order; each pass has a name, a timer and a dump
// (PHLOX_DUMP=dir); passes.h lists what can be switched off and how passes are checked:
//   decompose   composites become loop and extern ops
//   simplify    equal nodes merge, identities vanish, dead nodes go
//   partition   which values are buffers, and which are computed together in one loop
//   lower       loops become kernels (schedule tables) and text
//   plan        buffers, lifetimes, steps
#pragma once
#include <optional>
#include <string>

#include "compile/passes.h"
#include "graph/graph.h"
#include "program/program.h"
#include "type/target.h"

namespace phlox {

struct CompileOptions {
  bool fuse = true;            // off: every op is a kernel of its own (a test axis)
  bool adds_guards = false;    // the caller checks the guards that compiling adds to the environment of sizes
  bool keep_loop_text = true;  // for the interpreter and reports
  bool whole_ops = false;      // cpu: providers may run ops by kernels that are no loop: the caller has a compiler for them
  PassSet off = pass_defaults().off;
  int verify = pass_defaults().verify;
  bool on(Pass p) const { return !(off & pass_bit(p)); }
  // Outputs that are new values of inputs: (output, input). They end up in the input's memory: written there in place
  // where nothing reads the old value later, else copied at the end.
  std::vector<std::pair<uint32_t, uint32_t>> donate;
};

struct CompileReport {
  struct Pass { const char* name; double ms; };
  std::vector<Pass> passes;
  int graph_nodes = 0, kernels = 0, unique_kernels = 0, steps = 0;
};

Ref<Program> compile_graph(const Graph& g, const Target& target, const CompileOptions& options = {},
                           CompileReport* report = nullptr);

// Passes, open to tests.
// `across_groups`: equal 16-bit values of different groups become one too, where their roundings need not be kept apart.
Graph simplify(const Graph& g, bool across_groups = false);
// The values that get memory, and the groups of them that one kernel computes, in an order that can run.
struct Partition {
  std::vector<bool> is_buffer;
  std::vector<bool> wide;  // 16-bit values that only this partition made buffers: they lie in memory as f32
  struct Group { std::vector<GraphValue> outputs; NodeId extern_node = no_node; };
  std::vector<Group> groups;
};
// Where the elements of a value lie that is a buffer or a view of one, in elements by dimension; the last ones side by side.
struct EvenOperand {
  GraphValue buffer;
  Dim base;
  SmallVector<Dim, 4> steps;
};
std::optional<EvenOperand> even_operand(const Graph& g, GraphValue v, const std::vector<bool>& is_buffer);
Partition partition(const Graph& g, const CompileOptions& options, const Target& target);
// What is wrong with a partition, or nothing: each group reads values that earlier groups gave memory, each value is
// computed once, and the outputs are among them.
std::string partition_defect(const Graph& g, const Partition& p);

}  // namespace phlox
