// Launches of one kernel on different tensors are one launch, with code and in the interpreter, and nothing moves past
// what it depends on.
#include <gtest/gtest.h>

#include "compile/compile.h"
#include "eager/signature.h"
#include "ops/arith.h"
#include "ops/prims.h"

namespace phlox {
namespace {

TensorType f32_of(Dims shape) {
  TensorType t;
  t.shape = std::move(shape);
  return t;
}

using Buffers = std::vector<std::vector<float>>;

Buffers run(const Ref<Executable>& e, const Buffers& inputs) {
  const Executable::Plan& plan = e->plan({});
  Buffers in = inputs, out;
  std::vector<void*> in_p, out_p;
  for (auto& b : in) in_p.push_back(b.data());
  for (const Ints& shape : plan.output_shapes) {
    int64_t n = 1;
    for (int64_t s : shape) n *= s;
    out.emplace_back(size_t(n));
  }
  for (auto& b : out) out_p.push_back(b.data());
  const std::vector<int64_t> numbers(in.size());
  e->run(plan, in_p, numbers, out_p, 0);
  return out;
}

// The results with code, without, and of a program without fusion are the same; returns the program.
Ref<Program> check(const Graph& g, const Buffers& inputs) {
  Device& cpu = cpu_device();
  const Ref<Program> program = compile_graph(g, cpu.target(), {});
  const Buffers compiled = run(make_executable(program, cpu), inputs);
  const Buffers interpreted = run(make_ref<Executable>(program, cpu, std::vector<void*>(program->kernels.size())), inputs);
  const Buffers apart = run(make_executable(compile_graph(g, cpu.target(), {.fuse = false}), cpu), inputs);
  EXPECT_EQ(compiled, interpreted);
  EXPECT_EQ(compiled, apart);
  return program;
}

struct Net {
  Graph g;
  GraphBuilder b{g};
  std::vector<Val> x;
  Buffers values;
  void input(Dims shape) {
    x.push_back(b.input(f32_of(shape)));
    int64_t n = 1;
    for (Dim d : shape) n *= d.value();
    values.emplace_back();
    for (int64_t i = 0; i < n; ++i) values.back().push_back(float((i * 37 + int64_t(x.size()) * 11) % 101) / 7 - 5);
  }
};

const Dims shapes[] = {{7}, {30, 41}, {1}, {5, 1, 9}, {100000}, {2, 3, 4, 5}, {64}};

TEST(List, maps_of_different_sizes_are_one_launch) {
  Net n;
  for (const Dims& s : shapes) n.input(s);
  std::vector<Val> out;
  for (const Val& v : n.x) out.push_back(v * v + v);
  n.b.outputs(out);
  const Ref<Program> p = check(n.g, n.values);
  int lists = 0;
  for (const Program::Step& s : p->steps) lists += s.rows > 1;
  EXPECT_EQ(lists, 1);
  EXPECT_LE(p->steps.size(), 2u);    // a tensor of one element may have a loop of its own
  EXPECT_LE(p->kernels.size(), 2u);  // the kernel without a list is gone
}

TEST(List, sums_of_whole_tensors_share_launches) {
  Net n;
  for (const Dims& s : shapes) n.input(s);
  Val total;
  for (const Val& v : n.x) {
    std::vector<int64_t> dims;
    for (int d = 0; d < v.rank(); ++d) dims.push_back(d);
    const Val s = sum(v * v, Ints(std::span<const int64_t>(dims)));
    total = total ? total + s : s;
  }
  const Val out[] = {total};
  n.b.outputs(out);
  const Ref<Program> p = check(n.g, n.values);
  EXPECT_LE(p->steps.size(), 5u);
}

TEST(List, a_launch_does_not_move_before_what_it_reads) {
  Net n;
  for (int i = 0; i < 6; ++i) n.input({100 + i});
  std::vector<Val> out;
  // Each tensor is scaled by the first element of the one before, which is scaled already.
  Val factor;
  for (const Val& v : n.x) {
    const Val scaled = factor ? v * broadcast_to(factor, v.shape(), "test") : v * v;
    out.push_back(scaled);
    factor = reduce(scaled, {0}, "max");
  }
  n.b.outputs(out);
  check(n.g, n.values);
}

}  // namespace
}  // namespace phlox
