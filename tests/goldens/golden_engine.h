// A GoldenEngine runs a case: one way of getting from ops to numbers.
#pragma once
#include <array>
#include <deque>
#include <memory>

#include "golden_case.h"
#include "graph/builder.h"

namespace phlox {

// A call of an op that does not exist: the case is unsupported, not failed.
struct UnsupportedOp {
  std::string op;
};

class GoldenEngine {
 public:
  virtual ~GoldenEngine() = default;
  // Throws UnsupportedOp, or Error as the ops do. Safe to call from several threads.
  virtual GoldenResult run(const GoldenFile& file, const GoldenCase& c) = 0;
};

std::unique_ptr<GoldenEngine> interpreter_engine(bool print);  // print: each case's graph, to stdout
std::unique_ptr<GoldenEngine> compiled_engine(bool print);
std::unique_ptr<GoldenEngine> eager_engine(const std::string& device);

// --- shared by engines

// The op that a recorded call names ("aten::add.Tensor", "aten::zero_.default"), found by its functional form.
struct GoldenOp {
  const OpInfo* op;
  bool in_place;  // the result replaces the first argument
};
GoldenOp find_golden_op(const std::string& name);

// Recorded arguments by the op's schema, defaults filled in. Lists and strings live in the object.
// `lookup(context, name)` gives the tensor arguments that a recorded name stands for (several where it is a list).
class GoldenArgs {
 public:
  using Lookup = std::vector<Arg> (*)(void* context, const std::string& name);
  GoldenArgs(const OpInfo& op, const GoldenNode& node, Lookup lookup, void* context);
  std::span<const Arg> args() const { return args_; }

 private:
  Arg convert(const GoldenArg& a, const SchemaParam& p);
  std::vector<Arg> args_;
  std::deque<std::vector<Arg>> lists_;
  std::deque<std::string> strings_;
  std::deque<std::array<double, 2>> complexes_;
  Lookup lookup_;
  void* context_;
};

}  // namespace phlox
