#include "../loop/random_loop.h"
#include <chrono>

#include "../loop/samples.h"
#include "harness.h"
#include "providers/attention.h"
#include "providers/scatter_rows.h"
#include "providers/skinny.h"
#include "loop/builder.h"

using namespace phlox;
using namespace phlox::harness;
using samples::bit;
using samples::row_major;

namespace {

constexpr double f32_sum = 1e-4, f16_sum = 1e-2;

void add(std::vector<GpuLoop>& all, std::string name, const Loop& loop, std::initializer_list<int64_t> counts, double tolerance = 0) {
  all.push_back({std::move(name), loop, gpu_arguments(loop, counts), tolerance});
}

TEST(Cuda, Maps) {
  std::vector<GpuLoop> all;
  for (auto [m, n] : {std::pair<int64_t, int64_t>{1, 1}, {3, 5}, {64, 1024}, {33, 4097}, {700, 1000}})
    for (DType d : {DType::f32, DType::bf16, DType::f16}) {
      const Loop l = samples::map(m, n, d);
      std::vector<int64_t> counts;
      GpuLoop g{cat("map ", m, " ", n, " ", d), l, {}, d == DType::f32 ? 1e-6 : 1e-2};
      for (const Param& p : l.params) g.args.buffers.emplace_back(p.dtype, p.kind == Param::Kind::number ? 0 : m * n);
      for (size_t b = 0; b < g.args.buffers.size(); ++b) fill(g.args.buffers[b], b + 1, true);
      g.args.numbers.assign(l.params.size(), constant_bits(DType::f32, 0.75));
      all.push_back(std::move(g));
    }
  check_on_gpu(all);
}

TEST(Cuda, Rows) {
  std::vector<GpuLoop> all;
  for (auto [m, n] : {std::pair<int64_t, int64_t>{5, 1}, {7, 33}, {9, 100}, {300, 256}, {64, 1000}, {64, 1024}, {40, 1500}, {200, 4096}, {150, 5000},
                      {140, 16384}, {133, 32768}, {133, 65536}, {133, 40001}, {20, 262144}, {9, 131071}, {2, 100000}, {1, 1 << 20}}) {
    add(all, cat("softmax ", m, " ", n), samples::softmax(m, n), {m * n, m * n}, f32_sum);
    add(all, cat("layer_norm ", m, " ", n), samples::layer_norm(m, n), {m * n, n, m * n, 0}, f32_sum);
  }
  check_on_gpu(all);
}

TEST(Cuda, Columns) {
  std::vector<GpuLoop> all;
  for (Order o : {Order::tree1, Order::tree32, Order::chain})
    for (auto [m, n] : {std::pair<int64_t, int64_t>{5, 70}, {300, 33}, {5000, 3}, {9000, 17}, {100000, 64}, {4096, 256}, {777, 4096}})
      add(all, cat("column_sum ", m, " ", n, " ", order_name(o)), samples::column_sum(m, n, o), {m * n, n}, f32_sum);
  check_on_gpu(all);
}

TEST(Cuda, Contractions) {
  std::vector<GpuLoop> all;
  add(all, "matmul", samples::matmul(7, 40, 33), {7 * 33, 33 * 40, 7 * 40}, f32_sum);
  add(all, "dot", samples::matmul(1, 1, 50000), {50000, 50000, 1}, f32_sum);
  add(all, "matmul 2", samples::matmul(65, 130, 600), {65 * 600, 600 * 130, 65 * 130}, f32_sum);
  add(all, "matmul f16", samples::matmul(33, 64, 9, Order::chain, DType::f16), {33 * 9, 9 * 64, 33 * 64}, f16_sum);
  add(all, "matmul bf16", samples::matmul(3, 18, 300, Order::chain, DType::bf16), {900, 300 * 18, 54}, f16_sum);
  check_on_gpu(all);
}

// A linear layer of few rows; the rows may be normed before, and results activated and added to something after.
Loop linear(int64_t m, int64_t n, int64_t k, DType d, bool norm, bool more) {
  LoopBuilder b;
  const int am = b.new_axis(m), an = b.new_axis(n), ak = b.new_axis(k), ar = b.new_axis(k);
  const uint32_t x = b.param(Param::Kind::in, d), w = b.param(Param::Kind::in, d), g = b.param(Param::Kind::in, d), h = b.param(Param::Kind::in, d),
                 out = b.param(Param::Kind::out, d);
  const auto f32 = [&](Sv v) { return b.cast(v, DType::f32); };
  Sv a = b.load(x, row_major(b, {am, ak}, {m, k}));
  if (norm) {
    const Sv r = f32(b.load(x, row_major(b, {am, ar}, {m, k})));
    const Sv mean = b.reduce(Combine::add, Order::tree32, r * r, bit(ar)) * b.constant(DType::f32, 1.0 / double(k));
    a = b.cast(f32(a) * b.op(Scalar::rsqrt, mean + b.constant(DType::f32, 1e-5)) * f32(b.load(g, b.axis(ak))), d);
  }
  Sv y = b.reduce(Combine::add, Order::chain, f32(a) * f32(b.load(w, row_major(b, {an, ak}, {n, k}))), bit(ak));
  if (more) y = y * b.op(Scalar::normal_cdf, y) + f32(b.load(h, row_major(b, {am, an}, {m, n})));
  b.store(out, row_major(b, {am, an}, {m, n}), b.cast(y, d), bit(am) | bit(an));
  return b.take();
}

TEST(Cuda, FewRows) {
  std::vector<GpuLoop> all;
  for (auto [m, n, k] : {std::tuple<int64_t, int64_t, int64_t>{1, 64, 128}, {1, 100, 1000}, {1, 2048, 4096}, {2, 64, 136}, {8, 72, 512}, {9, 100, 256}, {16, 77, 1032}})
    for (DType d : {DType::f32, DType::bf16, DType::f16})
      for (int form = 0; form < 4; ++form) {
        const bool norm = form & 1, more = form & 2;
        const Loop l = linear(m, n, k, d, norm, more);
        std::string refusal;
        const bool fits = m * k <= 16384 && (d != DType::f32 || m * k <= 8192);
        EXPECT_EQ(takes_skinny(collapse_axes(l), chip("sm_90a"), refusal), !norm || fits) << m << " " << n << " " << k << " " << cat(d) << ": " << refusal;
        if (norm && !fits) continue;
        add(all, cat("few rows ", m, " ", n, " ", k, " ", d, " ", form), l, {m * k, n * k, k, m * n, m * n}, d == DType::f32 ? f32_sum : f16_sum);
      }
  check_on_gpu(all);
}

TEST(Cuda, FewRowsAreRefused) {
  std::string refusal;
  const auto why = [&](const Loop& l, const char* arch = "sm_90a") {
    refusal.clear();
    return takes_skinny(collapse_axes(l), chip(arch), refusal) ? std::string("taken") : refusal;
  };
  EXPECT_EQ(why(linear(17, 64, 128, DType::bf16, false, false)), "it has more than 16 rows");
  EXPECT_EQ(why(linear(2, 64, 100, DType::bf16, false, false)), "its matrix is small");
  EXPECT_EQ(why(samples::matmul(2, 512, 512, Order::chain, DType::bf16)), "its matrix does not lie along k");
  EXPECT_EQ(why(linear(2, 64, 128, DType::bf16, false, false), "sm_75"), "the matrix units of sm_80 are needed");
}

TEST(Cuda, Indices) {
  std::vector<GpuLoop> all;
  for (int64_t n : {1, 30, 400, 5000}) add(all, cat("pad ", n), samples::pad(n), {n, n + 4});
  add(all, "gather", samples::gather(60, 40, 30), {60 * 40, 30, 30 * 40});
  add(all, "gather, bad", samples::gather(10, 40, 30), {10 * 40, 30, 30 * 40});
  add(all, "scatter_add", samples::scatter_add(60, 40, 300), {300 * 40, 300, 60 * 40});
  add(all, "scatter_add 1", samples::scatter_add(60, 1, 300), {300, 300, 60});
  add(all, "dropout", samples::dropout(1000), {1000, 1000, 0, 0});
  check_on_gpu(all);
}

// Along rows a warp, a block; along columns one block, clusters, with and without wide accesses.
TEST(Cuda, Scans) {
  std::vector<GpuLoop> all;
  for (auto [m, n] : {std::pair<int64_t, int64_t>{20, 70}, {1, 5}, {3000, 132}, {3000, 1000}, {2200, 77}, {40, 4096}, {3, 100000}, {5, 33333}})
    add(all, cat("cumsum last ", m, " ", n), samples::cumsum(m, n, 1), {m * n, m * n}, f32_sum);
  for (auto [m, n] : {std::pair<int64_t, int64_t>{20, 70}, {1, 5}, {300, 64}, {4096, 256}, {5000, 3}, {7000, 133}, {1000, 4100}, {100000, 16}})
    add(all, cat("cumsum first ", m, " ", n), samples::cumsum(m, n, 0), {m * n, m * n}, f32_sum);
  check_on_gpu(all);
}

TEST(Cuda, SymbolicSizes) {
  DimEnv env;
  DimEnvScope scope(env);
  const Dim m = env.new_symbol(30), n = env.new_symbol(1024);
  std::vector<GpuLoop> all;
  for (auto [a, b] : {std::pair<int64_t, int64_t>{3, 7}, {1, 1000}, {2, 17000}, {0, 5}, {200, 2048}, {50, 1024}}) {
    all.push_back({cat("softmax ", a, " ", b), samples::softmax(m, n), {}, f32_sum});
    all.back().args = gpu_arguments(all.back().loop, {a * b, a * b}, {});
    all.back().args.symbols = {a, b};
    all.push_back({cat("column_sum ", a, " ", b), samples::column_sum(m, n, Order::tree1), {}, f32_sum});
    all.back().args = gpu_arguments(all.back().loop, {a * b, b}, {});
    all.back().args.symbols = {a, b};
  }
  check_on_gpu(all);
}

TEST(Cuda, RandomLoops) {
  std::vector<GpuLoop> all;
  constexpr int64_t elements = 4000;
  int refused = 0;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    GpuLoop g{cat("random ", seed), samples::random_loop(seed, elements), {}, 0};
    for (size_t p = 0; p < g.loop.params.size(); ++p) {
      const Param& q = g.loop.params[p];
      g.args.buffers.emplace_back(q.dtype, q.kind == Param::Kind::number ? 0 : elements);
      fill(g.args.buffers.back(), seed * 100 + p, false);
      g.args.numbers.push_back(q.kind == Param::Kind::number ? constant_bits(q.dtype, 0.5 + double(p)) : 0);
    }
    g.args.symbols = {1, 1, 1};
    for (const Inst& i : g.loop.insts)
      if ((i.op == Scalar::reduce || is_math(i.op)) && is_float(i.dtype)) g.tolerance = std::max(g.tolerance, dtype_bytes(i.dtype) == 2 ? f16_sum : f32_sum);
    try {
      lower_for(g.loop, chip("sm_90a"));
    } catch (const std::exception& e) {  // few: scans inside reductions over other axes
      EXPECT_LE(++refused, 5) << e.what();
      continue;
    }
    all.push_back(std::move(g));
  }
  check_on_gpu(all);
}

// What the library of matrix products does not take must not keep the run-time compiler busy: long sums stay loops.
TEST(Cuda, LongSumsStayLoops) {
  std::string why;
  Nvrtc* c = Nvrtc::find(why);
  if (!c) GTEST_SKIP() << why;
  for (DType d : {DType::i32, DType::f32, DType::f16, DType::f64}) {
    const std::vector<KernelText> texts = lower_for(samples::matmul(512, 2048, 4096, Order::chain, d), chip("sm_90a")).texts;
    const auto start = std::chrono::steady_clock::now();
    EXPECT_NO_THROW(c->compile(texts, chip("sm_90a"))) << cat(d);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    EXPECT_LT(seconds, 5) << cat(d);
    size_t bytes = 0;
    for (const KernelText& t : texts) bytes += t.source.size();
    EXPECT_LT(bytes, 30000u) << cat(d);
  }
}

TEST(Cuda, OtherChips) {
  std::string why;
  Nvrtc* c = Nvrtc::find(why);
  if (!c) GTEST_SKIP() << why;
  for (const char* arch : {"sm_80", "sm_90a", "sm_100"}) {
    std::vector<KernelText> texts;
    for (const Loop& l : {samples::softmax(64, 1024), samples::map(64, 100, DType::bf16), samples::map(64, 100, DType::f16), samples::column_sum(9000, 17)})
      for (const KernelText& t : lower_for(l, chip(arch)).texts) texts.push_back(t);
    EXPECT_NO_THROW(c->compile_each(texts, chip(arch))) << arch;
  }
}

// Kernels that are templates of text: every width, type and mask for every chip that they serve.
TEST(Cuda, TemplatesOfText) {
  std::string why;
  Nvrtc* c = Nvrtc::find(why);
  if (!c) GTEST_SKIP() << why;
  for (const char* arch : {"sm_80", "sm_90a", "sm_100"}) {
    std::vector<KernelText> texts;
    const auto add = [&](const Program::Kernel& k) { texts.push_back({k.source, k.entry}); };
    for (int64_t width : {64, 128})
      for (bool causal : {false, true}) {
        const AttentionShape s{causal ? DType::bf16 : DType::f16, 2, 100, 130, 4, width, 0.125, causal};
        const AttentionOperand o[4] = {};
        add(attention_forward(s, {o[0], o[1], o[2]}, chip(arch)));
        add(attention_backward_queries(s, o, chip(arch)));
        add(attention_backward_keys(s, o, chip(arch)));
        AttentionShape packed = s;
        packed.packed = true;
        if (causal) add(attention_backward_keys(packed, o, chip(arch)));
      }
    for (DType d : {DType::f32, DType::f16, DType::bf16}) add(scatter_rows(d, 100, 64, 1000));
    EXPECT_NO_THROW(c->compile_each(texts, chip(arch))) << arch;
  }
}

// Kernels with a list axis: the words of all calls are the parameters of one launch.
TEST(Cuda, Lists) {
  std::string why;
  Nvrtc* c = Nvrtc::find(why);
  if (!c) GTEST_SKIP() << why;
  for (const char* arch : {"sm_80", "sm_90a", "sm_100"}) {
    std::vector<KernelText> texts;
    for (const Loop& l : {samples::map(64, 1000), samples::softmax(64, 1024)}) {
      const GpuCode code = lower_for(l, chip(arch));
      const std::string entry = cat("k_", texts.size());
      texts.push_back({emit_cuda(code.lowered.kernels[0], entry, 7), entry});
      EXPECT_NE(texts.back().source.find("list.w["), std::string::npos) << texts.back().source;
    }
    EXPECT_NO_THROW(c->compile_each(texts, chip(arch))) << arch;
  }
}

TEST(Cuda, Text) {
  const GpuCode c = lower_for(samples::softmax(64, 4096), chip("sm_90a"));
  ASSERT_EQ(c.texts.size(), 1u);
  EXPECT_NE(c.texts[0].source.find("uint4"), std::string::npos) << c.texts[0].source;
  EXPECT_NE(c.texts[0].source.find("__shfl_xor_sync"), std::string::npos);
  if (const char* path = std::getenv("PHLOX_SHOW_TEXT")) {
    FILE* f = std::fopen(path, "w");
    LoopBuilder gelu;
    const uint32_t from = gelu.param(Param::Kind::in, DType::f32), to = gelu.param(Param::Kind::out, DType::f32);
    const int axis = gelu.new_axis(1 << 20);
    const Sv x = gelu.load(from, gelu.axis(axis));
    gelu.store(to, gelu.axis(axis), x * gelu.op(Scalar::normal_cdf, x), bit(axis));
    for (const KernelText& t : lower_for(gelu.take(), chip("sm_90a")).texts) std::fputs(t.source.c_str(), f);
    for (const Loop& l : {samples::softmax(64, 4096), samples::softmax(64, 256), samples::layer_norm(64, 4096), samples::map(4096, 4096), samples::column_sum(100000, 256)})
      for (const KernelText& t : lower_for(l, chip("sm_90a")).texts) std::fputs(t.source.c_str(), f);
    std::fclose(f);
  }
}

}  // namespace
