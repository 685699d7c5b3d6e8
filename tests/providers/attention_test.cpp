// Attention that runs whole gives the bits of its expansion.
#include <gtest/gtest.h>

#include "base/format.h"
#include "compile/compile.h"
#include "eager/signature.h"
#include "graph/builder.h"
#include "ops/composite.h"
#include "providers/attention.h"

namespace phlox {
namespace {

struct Case {
  int64_t batch, heads, queries, keys, width;
  bool causal, rows_first;  // rows_first: operands lie as [batch, rows, heads, width]
  bool packed = false;      // q, k and v are parts of one tensor, and so are their gradients
};

// The parts of x[batch, rows, 3 * heads * width], heads first.
std::vector<Val> parts_of(Val x, const Case& c) {
  std::vector<Val> r;
  for (int64_t i = 0, n = c.heads * c.width; i < 3; ++i) r.push_back(permute(reshape(slice(x, 2, i * n, n), {c.batch, c.queries, c.heads, c.width}), {0, 2, 1, 3}));
  return r;
}
Val joined(const std::vector<Val>& parts, const Case& c) {
  Val sum;
  for (int64_t i = 3; i-- > 0;) {
    const int64_t n = c.heads * c.width;
    const Val x = pad(reshape(permute(parts[size_t(i)], {0, 2, 1, 3}), {c.batch, c.queries, n}), {0, 0, i * n}, {0, 0, (2 - i) * n});
    sum = sum ? sum + x : x;
  }
  return sum;
}

std::vector<std::vector<float>> run(const Case& c, bool whole, size_t& launches) {
  Graph g;
  GraphBuilder b(g);
  const auto operand = [&](int64_t rows) {
    if (!c.rows_first) return b.input({.shape = {c.batch, c.heads, rows, c.width}});
    return permute(b.input({.shape = {c.batch, rows, c.heads, c.width}}), {0, 2, 1, 3});
  };
  const std::vector<Val> in_parts = c.packed ? parts_of(b.input({.shape = {c.batch, c.queries, 3 * c.heads * c.width}}), c)
                                             : std::vector{operand(c.queries), operand(c.keys), operand(c.keys)};
  const Val q = in_parts[0], k = in_parts[1], v = in_parts[2], d = operand(c.queries);
  const Arg none = arg_of(Val{}), scale = Arg::of_real(0.37);
  Arg causal = Arg::of_bool(c.causal);
  const Vals f = call(b, "prim::attention", {arg_of(q), arg_of(k), arg_of(v), none, scale, causal});
  const Vals r = call(b, "prim::attention_backward", {arg_of(d), arg_of(q), arg_of(k), arg_of(v), none, arg_of(f[0]), arg_of(f[1]), scale, causal});
  std::vector<Val> out{f[0], f[1], r[0], r[1], r[2]};
  if (c.packed) out.resize(2), out.push_back(joined({r[0], r[1], r[2]}, c));
  b.outputs(out);
  Device& device = cpu_device();
  CompileOptions o;
  o.whole_ops = whole;
  const Ref<Program> p = compile_graph(g, device.target(), o);
  launches = 0;
  for (const Program::Step& s : p->steps) launches += s.name == "attention" || s.name == "attention_backward";
  if (c.packed && whole) {
    EXPECT_EQ(p->steps.size(), 4u);  // with the sums of g * out, and out itself heads first
  }
  const Ref<Executable> e = make_executable(p, device);
  std::vector<std::vector<float>> in, results;
  uint32_t x = 7;
  for (GraphValue i : g.inputs()) {
    in.emplace_back(size_t(g.type(i).numel().value()));
    for (float& y : in.back()) x = x * 1664525u + 1013904223u, y = float(int(x >> 8) % 4001 - 2000) * 1e-3f;
  }
  for (const Val& y : out) results.emplace_back(size_t(y.numel().value()));
  std::vector<void*> pi, po;
  for (auto& i : in) pi.push_back(i.data());
  for (auto& i : results) po.push_back(i.data());
  const std::vector<int64_t> numbers(in.size());
  e->run(e->plan({}), pi, numbers, po, 0);
  return results;
}

void same_bits(const Case& c, size_t expected = 2) {
  if (!makes_code(cpu_device())) GTEST_SKIP() << "no compiler";
  size_t whole = 0, apart = 0;
  const auto a = run(c, true, whole), b = run(c, false, apart);
  EXPECT_EQ(whole, expected);
  EXPECT_EQ(apart, 0u);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i], b[i]) << "result " << i;
}

TEST(Attention, Causal) { same_bits({2, 3, 128, 128, 32, true, true}); }
TEST(Attention, Packed) { same_bits({2, 3, 40, 40, 32, true, true, true}); }
TEST(Attention, Plain) { same_bits({2, 2, 50, 70, 48, false, true}); }
TEST(Attention, HeadsFirst) { same_bits({1, 2, 37, 37, 16, true, false}); }
TEST(Attention, MoreQueriesThanKeys) { same_bits({1, 2, 45, 20, 64, true, true}); }
TEST(Attention, SeveralChunks) { same_bits({1, 1, 600, 530, 32, true, true}); }
TEST(Attention, SeveralChunksPlain) { same_bits({1, 2, 300, 520, 80, false, true}); }
TEST(Attention, OneRow) { same_bits({1, 2, 1, 33, 32, false, true}); }
TEST(Attention, OddWidthIsRefused) { same_bits({1, 2, 8, 8, 24, false, true}, 0); }
TEST(Attention, HiddenKeysAreRefused) { same_bits({1, 2, 8, 9, 32, true, true}, 0); }

TEST(Attention, RefusalsHaveReasons) {
  std::string why;
  const auto type = [](int64_t rows, int64_t width, DType d) { return TensorType{.dtype = d, .shape = {1, rows, 2, width}}; };
  const TensorType ok = type(64, 32, DType::f32), half = type(64, 32, DType::bf16), longer = type(2048, 32, DType::f32);
  Target t = cpu_device().target();
  t.vector_bits = 128;
  EXPECT_FALSE(provides_attention(ok, ok, ok, false, t, why));
  EXPECT_NE(why.find("AVX"), why.npos);
  t = cpu_device().target();
  if (t.vector_bits < 256) return;
  EXPECT_FALSE(provides_attention(half, half, half, false, t, why));
  EXPECT_EQ(why, "it works on float32");
  EXPECT_FALSE(provides_attention(longer, longer, longer, false, t, why));
  EXPECT_EQ(why, "there are more than 1024 queries or keys");
}

}  // namespace
}  // namespace phlox
