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
  std::string steps(std::initializer_list<Val> outputs, const CompileOptions& options = {}) {
    b.outputs(std::vector<Val>(outputs));
    const Ref<Program> p = compile_graph(g, hopper(), options);
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

TEST(Skinny, OneQueryReadsTheKeysOfItsGroupOnce) {
  Maker m;
  const Val q = m.input({1, 32, 1, 64}), k = m.input({1, 8, 512, 64}), v = m.input({1, 8, 512, 64}), mask = m.b.input({.dtype = DType::boolean, .shape = {1, 1, 1, 512}});
  EXPECT_EQ(m.steps({m.call("scaled_dot_product_attention", {Maker::of(q), Maker::of(k), Maker::of(v), Maker::of(mask), Arg::of_real(0), Arg::of_bool(false), Arg{}, Arg::of_bool(true)})}),
            "attention of one query");
}

// One layer of a decoder: its cache is written in place, nothing is copied.
TEST(Skinny, ALayerOfADecoder) {
  Maker m;
  constexpr int64_t width = 2048, heads = 32, kv = 8, head = 64, length = 512;
  const Val h = m.input({1, width}), gain = m.input({width}), wqkv = m.input({(heads + 2 * kv) * head, width}), wo = m.input({width, heads * head});
  const Val cosines = m.input({1, head}), sines = m.input({1, head}), cache = m.input({2, kv, length, head});
  const Val at = m.b.input({.dtype = DType::i64, .shape = {1}}), mask = m.b.input({.dtype = DType::boolean, .shape = {1, 1, 1, length}});
  const auto view = [&](Val x, std::initializer_list<int64_t> shape) {
    std::vector<Arg> sizes;
    for (int64_t d : shape) sizes.push_back(Arg::of_dim(d));
    return m.call("reshape", {Maker::of(x), Arg::of_list(sizes)});
  };
  const auto part = [&](Val x, int64_t dim, int64_t from, int64_t to) {
    return m.call("slice.Tensor", {Maker::of(x), Arg::of_dim(dim), Arg::of_dim(from), Arg::of_dim(to), Arg::of_dim(1)});
  };
  const Val qkv = view(m.linear(m.norm(h, gain, width), wqkv), {heads + 2 * kv, head});
  const auto cat = [&](const char* op, Val x, Val y, int64_t dim) {
    const Arg list[] = {Maker::of(x), Maker::of(y)};
    return m.call(op, {Arg::of_list(list), Arg::of_dim(dim)});
  };
  const auto turned = [&](Val x) {
    const Val other = cat("cat", m.call("neg", {Maker::of(part(x, 1, head / 2, head))}), part(x, 1, 0, head / 2), 1);
    return m.add(m.mul(x, cosines), m.mul(other, sines));
  };
  const Val pair = cat("stack", turned(part(qkv, 0, heads, heads + kv)), part(qkv, 0, heads + kv, heads + 2 * kv), 0);
  const Val kept = m.call("index_copy", {Maker::of(cache), Arg::of_dim(2), Maker::of(at), Maker::of(view(pair, {2, kv, 1, head}))});
  const auto half = [&](int64_t i) { return view(m.call("select.int", {Maker::of(kept), Arg::of_dim(0), Arg::of_dim(i)}), {1, kv, length, head}); };
  const Val o = m.call("scaled_dot_product_attention", {Maker::of(view(turned(part(qkv, 0, 0, heads)), {1, heads, 1, head})), Maker::of(half(0)), Maker::of(half(1)), Maker::of(mask),
                                                        Arg::of_real(0), Arg::of_bool(false), Arg{}, Arg::of_bool(true)});
  const Val out = m.add(h, m.linear(view(o, {1, heads * head}), wo));
  CompileOptions options;
  options.donate = {{1, 6}};
  EXPECT_EQ(m.steps({out, kept}, options), "few rows: contract | scatter | add | attention of one query | few rows: add");
}

TEST(Skinny, ManyRowsAreTheLibrarys) {
  Maker m;
  const Val x = m.input({64, 2048}), w = m.input({1024, 2048});
  EXPECT_EQ(m.steps({m.linear(x, w)}), "cublaslt.matmul");
}

}  // namespace
}  // namespace phlox
