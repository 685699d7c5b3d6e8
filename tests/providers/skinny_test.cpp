// Products of few rows on a GPU: what their kernels take in, seen in the programs that are compiled for one.
#include <gtest/gtest.h>

#include "base/format.h"
#include "compile/compile.h"
#include "graph/builder.h"
#include "ops/registry.h"

namespace phlox {
namespace {

Target hopper() {
  Target t;
  t.kind = DeviceKind::cuda;
  t.arch = "sm_90a";
  t.threads = 132;
  t.features = {"+cublaslt"};
  return t;
}

struct Maker {
  Graph g;
  GraphBuilder b{g};
  Val input(Dims shape) { return b.input({.dtype = DType::bf16, .shape = std::move(shape)}); }
  Val call(const char* op, std::initializer_list<Arg> args) { return b.call(*find_op(op), std::vector<Arg>(args))[0]; }
  static Arg of(Val v) { return Arg::of_value(v.id); }
  Val linear(Val x, Val w) { return call("linear", {of(x), of(w), Arg{}}); }
  Val add(Val x, Val y) { return call("add.Tensor", {of(x), of(y)}); }
  Val mul(Val x, Val y) { return call("mul.Tensor", {of(x), of(y)}); }
  Val norm(Val x, Val g, int64_t width) {
    const Arg size[] = {Arg::of_dim(width)};
    return call("rms_norm", {of(x), Arg::of_list(size), of(g), Arg::of_real(1e-5)});
  }
  std::string steps(std::initializer_list<Val> outputs) {
    b.outputs(std::vector<Val>(outputs));
    const Ref<Program> p = compile_graph(g, hopper());
    std::string s;
    for (const Program::Step& step : p->steps) {
      const bool few_rows = step.kind == Program::Step::Kind::launch && p->kernels[step.kernel].source.find("skinny<") != std::string::npos;
      s += cat(s.empty() ? "" : " | ", few_rows ? "few rows: " : "", step.name);
    }
    return s;
  }
};

TEST(Skinny, NormAndResidualAreTakenIn) {
  Maker m;
  const Val x = m.input({1, 1, 2048}), h = m.input({1, 1, 1024}), gain = m.input({2048}), w = m.input({1024, 2048});
  EXPECT_EQ(m.steps({m.add(h, m.linear(m.norm(x, gain, 2048), w))}), "few rows: add");
}

TEST(Skinny, AFeedForwardBlockIsThreeLaunches) {
  Maker m;
  const Val h = m.input({1, 2048}), gain = m.input({2048}), gate = m.input({8192, 2048}), up = m.input({8192, 2048}), down = m.input({2048, 8192});
  const Val n = m.norm(h, gain, 2048);
  const Val a = m.mul(m.call("silu", {Maker::of(m.linear(n, gate))}), m.linear(n, up));
  EXPECT_EQ(m.steps({m.add(h, m.linear(a, down))}), "few rows: mul | few rows: mul | few rows: add");
}

TEST(Skinny, ManyRowsAreTheLibrarys) {
  Maker m;
  const Val x = m.input({64, 2048}), w = m.input({1024, 2048});
  EXPECT_EQ(m.steps({m.linear(x, w)}), "cublaslt.matmul");
}

}  // namespace
}  // namespace phlox
