// Small graphs, run as compiled programs in every way there is.
#pragma once
#include <gtest/gtest.h>

#include "compile/compile.h"
#include "eager/signature.h"
#include "ops/arith.h"
#include "ops/prims.h"

namespace phlox {

inline TensorType f32_of(Dims shape) {
  TensorType t;
  t.shape = std::move(shape);
  return t;
}

using Buffers = std::vector<std::vector<float>>;

inline Buffers run(const Ref<Executable>& e, const Buffers& inputs) {
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
inline Ref<Program> check(const Graph& g, const Buffers& inputs) {
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

}  // namespace phlox
