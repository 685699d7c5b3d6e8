// Contractions take the maps that read them as their epilogue when a provider accepts the two as one.
#include <gtest/gtest.h>

#include <functional>

#include "base/format.h"
#include "compile/compile.h"
#include "eager/signature.h"
#include "graph/builder.h"
#include "ops/prims.h"

namespace phlox {
namespace {

struct Built {
  Graph g;
  std::vector<int64_t> input_counts, output_counts;
};

using Body = std::function<std::vector<Val>(GraphBuilder&)>;

std::vector<std::vector<float>> run(const Body& body, bool fuse, size_t& steps, std::vector<std::pair<uint32_t, uint32_t>> donate = {}) {
  Graph g;
  GraphBuilder b(g);
  const std::vector<Val> out = body(b);
  b.outputs(out);
  Device& d = cpu_device();
  CompileOptions o;
  o.fuse = fuse;
  o.donate = donate;
  const Ref<Program> p = compile_graph(g, d.target(), o);
  steps = p->steps.size();
  const Ref<Executable> e = make_executable(p, d);
  std::vector<std::vector<float>> in, results;
  for (GraphValue v : g.inputs()) {
    in.emplace_back(size_t(g.type(v).numel().value()));
    uint32_t x = uint32_t(in.size());
    for (float& f : in.back()) x = x * 1664525u + 1013904223u, f = float(int(x >> 8) % 2001 - 1000) * 1e-3f;
  }
  for (const Val& v : out) results.emplace_back(size_t(v.numel().value()));
  std::vector<void*> pi, po;
  for (auto& v : in) pi.push_back(v.data());
  for (auto& v : results) po.push_back(v.data());
  for (auto& [output, input] : donate) po[output] = pi[input];
  const std::vector<int64_t> numbers(in.size());
  e->run(e->plan({}), pi, numbers, po, 0);
  for (auto& [output, input] : donate) results[output] = in[input];
  return results;
}

void same_bits(const Body& body, size_t fused_steps, std::vector<std::pair<uint32_t, uint32_t>> donate = {}) {
  size_t fused = 0, apart = 0;
  EXPECT_EQ(run(body, true, fused, donate), run(body, false, apart));
  EXPECT_EQ(fused, fused_steps);
  EXPECT_LT(fused, apart);
}

Val relu(Val x) { return map(Scalar::max, x, full(*x.g, x.shape(), DType::f32, 0)); }
Val product(Val x, Val y) { return contract(x, y, {}, {}, {1}, {0}); }

TEST(Epilogue, BiasAndActivation) {
  same_bits([](GraphBuilder& b) {
    const Val x = b.input({.shape = {70, 300}}), w = b.input({.shape = {300, 50}}), bias = b.input({.shape = {50}});
    return std::vector{relu(map(Scalar::add, product(x, w), broadcast_in(bias, {70, 50}, {1})))};
  }, 1);
}

TEST(Epilogue, ResidualAndSavedSum) {
  same_bits([](GraphBuilder& b) {
    const Val x = b.input({.shape = {33, 300}}), w = b.input({.shape = {300, 40}}), r = b.input({.shape = {33, 40}});
    const Val p = product(x, w);
    return std::vector{relu(map(Scalar::add, p, r)), p};
  }, 1);
}

TEST(Epilogue, ThroughReshape) {
  same_bits([](GraphBuilder& b) {
    const Val x = b.input({.shape = {24, 64}}), w = b.input({.shape = {64, 48}}), bias = b.input({.shape = {48}});
    const Val p = reshape(product(x, w), {4, 6, 48});
    return std::vector{relu(map(Scalar::add, p, broadcast_in(bias, {4, 6, 48}, {2})))};
  }, 1);
}

// The softmax-like row reduction stays a kernel of its own.
TEST(Epilogue, RowReductionStaysApart) {
  same_bits([](GraphBuilder& b) {
    const Val x = b.input({.shape = {24, 64}}), w = b.input({.shape = {64, 48}});
    const Val p = product(x, w), m = reduce(p, {1}, "max", true);
    return std::vector{map(Scalar::sub, p, broadcast_in(m, {24, 48}, {0, 1}))};
  }, 2);
}

// Something else lies between the product and a reader of it.
TEST(Epilogue, NoCycle) {
  size_t steps = 0, apart = 0;
  const Body body = [](GraphBuilder& b) {
    const Val x = b.input({.shape = {32, 300}}), w = b.input({.shape = {300, 32}});
    const Val p = product(x, w), q = product(p, w.g->wrap(reshape(slice(w, 0, 0, 32), {32, 32}).id));
    return std::vector{map(Scalar::add, p, q)};
  };
  EXPECT_EQ(run(body, true, steps), run(body, false, apart));
  EXPECT_EQ(steps, 2u);
}

// New values that take the memory of old ones, which the epilogue reads.
TEST(Epilogue, UpdateInPlace) {
  const Body body = [](GraphBuilder& b) {
    const Val w = b.input({.shape = {40, 50}}), x = b.input({.shape = {40, 600}}), y = b.input({.shape = {600, 50}});
    return std::vector{map(Scalar::add, w, product(x, y))};
  };
  same_bits(body, 1, {{0, 0}});
}

TEST(Epilogue, Convolution) {
  same_bits([](GraphBuilder& b) {
    const Val x = b.input({.shape = {3, 5, 12, 11}}), w = b.input({.shape = {7, 5, 3, 3}}), bias = b.input({.shape = {7}});
    const Val y = conv(x, w, {{1, 1}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 1});
    return std::vector{relu(map(Scalar::add, y, broadcast_in(bias, y.shape(), {1})))};
  }, 2);  // with the copy into a frame
}

}  // namespace
}  // namespace phlox
