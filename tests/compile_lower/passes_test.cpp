// The passes' switches, and what is checked between them.
#include <gtest/gtest.h>

#include <chrono>

#include "base/error.h"
#include "compile/compile.h"
#include "graph/graph.h"
#include "ops/registry.h"
#include "program/verify.h"

namespace phlox {
namespace {

// With fusion off, a kernel for each of its calls.
Graph sums() {
  return parse_graph(R"(graph(%0: f32[8,64]) {
  %1 = prim::exp(%0) : f32[8,64]
  %2 = prim::reduce(%1, [1], 'sum') : f32[8]
  %3 = prim::broadcast(%2, [8, 64], [0]) : f32[8,64]
  %4 = prim::div(%1, %3) : f32[8,64]
  return %4, %2
})", find_op);
}

TEST(Passes, names_and_switches) {
  for (int p = 0; p < pass_count; ++p)
    EXPECT_EQ(parse_passes(std::string("-") + pass_name(Pass(p))), pass_bit(Pass(p)));
  EXPECT_EQ(parse_passes(""), 0u);
  EXPECT_EQ(parse_passes("-fuse,-dedup"), pass_bit(Pass::fuse) | pass_bit(Pass::dedup));
  EXPECT_EQ(parse_passes("-all"), (PassSet(1) << pass_count) - 1);
  for (const char* wrong : {"fuse", "-nothing", "-fuse,,", "-"}) EXPECT_THROW(parse_passes(wrong), Error) << wrong;
}

TEST(Passes, partitions_are_checked) {
  const Graph g = sums();
  CompileOptions options;
  options.off = pass_bit(Pass::fuse);
  const Partition good = partition(g, options, host_target());
  ASSERT_EQ(partition_defect(g, good), "");
  ASSERT_GE(good.groups.size(), 2u);
  const auto defect = [&](auto&& damage) {
    Partition p = good;
    damage(p);
    return partition_defect(g, p);
  };
  EXPECT_NE(defect([](Partition& p) { std::swap(p.groups.front(), p.groups.back()); }).find("before it is computed"), std::string::npos);
  EXPECT_NE(defect([](Partition& p) { p.groups.push_back(p.groups.back()); }).find("once more"), std::string::npos);
  EXPECT_NE(defect([](Partition& p) { p.groups.pop_back(); }), "");
  EXPECT_NE(defect([](Partition& p) { p.is_buffer[p.groups[0].outputs[0]] = false; }).find("no memory"), std::string::npos);
  EXPECT_NE(defect([](Partition& p) { p.groups[0].outputs.clear(); }).find("computes nothing"), std::string::npos);
}

TEST(Passes, programs_are_checked) {
  CompileOptions options;
  options.off = pass_bit(Pass::fuse);
  const Graph g = sums();
  const Ref<Program> good = compile_graph(g, host_target(), options);
  ASSERT_EQ(program_defect(*good), "");
  ASSERT_GE(good->steps.size(), 2u);
  const auto defect = [&](auto&& damage) {
    const Ref<Program> p = compile_graph(g, host_target(), options);
    damage(*p);
    return program_defect(*p);
  };
  EXPECT_NE(defect([](Program& p) { std::swap(p.steps.front(), p.steps.back()); }), "");
  EXPECT_NE(defect([](Program& p) { p.steps.pop_back(); }).find("never written"), std::string::npos);
  EXPECT_NE(defect([](Program& p) { p.steps[0].kernel = 99; }).find("does not exist"), std::string::npos);
  EXPECT_NE(defect([](Program& p) { p.steps[0].buffers[0] = 99; }).find("does not exist"), std::string::npos);
  EXPECT_NE(defect([](Program& p) { p.steps[0].buffers.pop_back(); }), "");
  EXPECT_NE(defect([](Program& p) { p.output_alias[0] = 3; }).find("does not exist"), std::string::npos);
  EXPECT_NE(defect([](Program& p) { p.steps.back().buffers.back() = p.steps[0].buffers[0]; }).find("writes input"), std::string::npos);
  EXPECT_NE(defect([](Program& p) {
    p.buffers.push_back({Program::Buffer::Kind::temp, 0, 64, 1, 1});
    p.steps[0].buffers.back() = uint32_t(p.buffers.size()) - 1;
  }).find("lives from"), std::string::npos);
}

// A graph that breaks a rule is noticed with the name of the pass behind which it is.
TEST(Passes, graphs_are_checked) {
  Graph g = sums();
  SmallVector<GraphValue, 4> outputs{GraphValue(77)};
  g.set_outputs(outputs);
  CompileOptions options;
  options.verify = 1;
  try {
    compile_graph(g, host_target(), options);
    FAIL() << "compiled";
  } catch (const InternalError& e) {
    EXPECT_NE(std::string(e.what()).find("after the pass 'build'"), std::string::npos) << e.what();
  }
}

// Values that are used several times on every way down, as the largest of a window's taps: the question whether to compute
// one again may not follow all ways.
TEST(Passes, long_chains_of_choices_compile_at_once) {
  std::string text = "graph(%0: f32[2,8,8], %1: f32[2,8,8]) {\n";
  int next = 2, best = 0;
  for (int k = 0; k < 60; ++k) {
    text += cat("  %", next, " = prim::reshape(%1, [2, 8, 8]) : f32[2,8,8]\n");
    text += cat("  %", next + 1, " = prim::lt(%", best, ", %", next, ") : bool[2,8,8]\n");
    text += cat("  %", next + 2, " = prim::add(%", next, ", %", best, ") : f32[2,8,8]\n");
    text += cat("  %", next + 3, " = prim::select(%", next + 1, ", %", next + 2, ", %", best, ") : f32[2,8,8]\n");
    best = next + 3;
    next += 4;
  }
  text += cat("  %", next, " = prim::reduce(%", best, ", [1], 'sum') : f32[2,8]\n");
  text += cat("  return %", best, ", %", next, "\n}");
  const auto start = std::chrono::steady_clock::now();
  compile_graph(parse_graph(text, find_op), host_target());
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 5);
}

}  // namespace
}  // namespace phlox
