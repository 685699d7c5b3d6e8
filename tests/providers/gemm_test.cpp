// The matrix product template against the interpreter, bit for bit: shapes with every kind of edge, layouts, batches,
// prologues and epilogues, sizes fixed and symbolic, both compilers, both vector widths.
#include "base/format.h"
#include "compile/collapse.h"
#include "product.h"

namespace phlox {
namespace {

using namespace harness;

// Many products, one translation unit a configuration.
struct Products {
  std::vector<Product> all;
  bool special = false;
  void add(Product p) { all.push_back(p); }
  void run(std::span<const Config> where) {
    std::vector<Loop> loops;
    std::vector<Arguments> arguments;
    for (const Product& p : all) {
      ProductLoop l = product_loop(p);
      verify_loop(l.loop);
      arguments.push_back(product_arguments(p, l, special));
      loops.push_back(std::move(l.loop));
    }
    for (const Config& c : where) {
      for (const Loop& l : loops) {
        std::string why;
        EXPECT_TRUE(provided(collapse_axes(l), c.target, why)) << why << "\n" << print_loop(l);
      }
      std::vector<Compiled> k = build(loops, c.target, c.cc);
      for (size_t n = 0; n < loops.size(); ++n)
        for (int64_t pieces : {1, 3}) {
          const std::string why = compare(loops[n], k[n], arguments[n], pieces);
          EXPECT_EQ(why, "") << c.cc << " " << c.target.arch << " " << cat(all[n].m, "x", all[n].n, "x", all[n].k) << " epilogue "
                             << all[n].epilogue << " " << all[n].a_transposed << all[n].b_transposed << all[n].c_transposed << " wild "
                             << all[n].wild << " pieces " << pieces;
          if (!why.empty()) return;
        }
    }
  }
};

TEST(Gemm, Shapes) {
  Products p;
  const int64_t shapes[][3] = {{14, 32, 256}, {1, 9, 2}, {5, 17, 3}, {29, 33, 257}, {64, 64, 64}, {65, 65, 65}, {130, 100, 600},
                               {3, 130, 300}, {127, 16, 1030}, {40, 50, 15}, {300, 70, 40}};
  for (auto& s : shapes) p.add({s[0], s[1], s[2]});
  p.run(configs());
}

TEST(Gemm, Layouts) {
  Products p;
  for (int t = 0; t < 8; ++t)
    for (int64_t pad : {0, 3}) {
      Product x{37, 45, 290};
      x.a_transposed = t & 1;
      x.b_transposed = t & 2;
      x.c_transposed = t & 4;
      x.pad = pad;
      p.add(x);
    }
  for (int t = 0; t < 4; ++t)
    for (int64_t m : {1, 2, 4}) {
      Product x{m, 77, 300};
      x.a_transposed = t & 1;
      x.b_transposed = t & 2;
      p.add(x);
    }
  Product batched{20, 33, 70, 5};
  p.add(batched);
  batched.b_transposed = true;
  p.add(batched);
  p.run(clang_only());
}

// The cut into blocks follows the number of threads; the bits do not.
TEST(Gemm, Threads) {
  Products p;
  p.add({130, 200, 300});
  Product tall{700, 40, 290};
  tall.b_transposed = true;
  tall.epilogue = Product::two_stores;
  p.add(tall);
  p.add({2, 700, 520});
  Product batched{60, 90, 270, 3};
  batched.a_transposed = true;
  batched.epilogue = Product::to_bf16;
  p.add(batched);
  std::vector<Config> many = clang_only();
  for (Config& c : many) c.target.threads = 7;
  p.run(many);
}

TEST(Gemm, SpecialValues) {
  Products p;
  p.special = true;
  p.add({30, 40, 300});
  p.add({2, 40, 300});
  p.run(clang_only());
}

TEST(Gemm, Epilogues) {
  Products p;
  for (int e = Product::bias; e <= Product::bias_rows; ++e)
    for (int64_t m : {2, 31}) {
      Product x{m, 41, 270};
      x.epilogue = Product::Epilogue(e);
      p.add(x);
      x.c_transposed = true;
      x.b_transposed = true;
      p.add(x);
    }
  p.run(configs());
}

TEST(Gemm, Prologues) {
  Products p;
  for (int t = 0; t < 4; ++t) {
    Product x{35, 37, 270};
    x.in = DType::bf16;
    x.a_transposed = t & 1;
    x.b_transposed = t & 2;
    x.epilogue = t & 1 ? Product::to_bf16 : Product::none;
    p.add(x);
  }
  Product wide{33, 29, 260};
  wide.in = wide.sum = DType::f64;
  p.add(wide);
  wide.a_transposed = wide.b_transposed = true;
  p.add(wide);
  p.run(clang_only());
}

TEST(Gemm, AnySize) {
  for (int t = 0; t < 4; ++t) {
    Product x{1, 1, 1};
    x.wild = true;
    x.a_transposed = t & 1;
    x.b_transposed = t & 2;
    x.epilogue = t == 2 ? Product::bias : Product::none;
    const Loop loop = product_loop(x).loop;
    for (const Config& c : clang_only()) {
      std::vector<Compiled> k = build({&loop, 1}, c.target, c.cc);
      const int64_t shapes[][4] = {{1, 1, 1, 1}, {1, 50, 300, 2}, {2, 64, 40, 1}, {3, 17, 256, 1}, {13, 31, 257, 2}, {14, 32, 1, 1},
                                   {29, 512, 30, 1}, {130, 77, 600, 1}, {300, 40, 20, 1}, {28, 1040, 9, 1}, {5, 6, 0, 1}, {0, 4, 4, 1}};
      for (auto& s : shapes) {
        x.m = s[0], x.n = s[1], x.k = s[2], x.batch = s[3];
        const ProductLoop l = product_loop(x);
        EXPECT_EQ(print_loop(l.loop), print_loop(loop));
        for (int64_t pieces : {1, 3}) {
          const std::string why = compare(loop, k[0], product_arguments(x, l), pieces);
          EXPECT_EQ(why, "") << c.target.arch << " " << s[0] << "x" << s[1] << "x" << s[2] << " transposed " << t;
        }
      }
    }
  }
}

// Without a compiler: the leaves have their meaning in the kernel interpreter too.
TEST(Gemm, Interpreted) {
  Product list[] = {{15, 37, 270}, {2, 40, 300}, {2, 40, 300}, {33, 20, 30}};
  list[0].epilogue = Product::bias;
  list[0].b_transposed = true;
  list[2].b_transposed = true;
  list[3].wild = true;
  list[3].in = DType::bf16;
  for (const Product& p : list) {
    const ProductLoop l = product_loop(p);
    Compiled k;
    k.lowered = lower_loop(l.loop, v4());
    EXPECT_EQ(compare(l.loop, k, product_arguments(p, l), 2), "") << cat(p.m, "x", p.n, "x", p.k);
  }
}

TEST(Match, Refusals) {
  LoopBuilder b;
  const int i = b.new_axis(8), k = b.new_axis(9);
  const uint32_t x = b.param(Param::Kind::in, DType::f32), y = b.param(Param::Kind::out, DType::f32);
  const Sv v = b.load(x, b.index_add(b.index_mul(b.axis(i), 9), b.axis(k)));
  b.store(y, b.axis(i), b.reduce(Combine::add, Order::chain, v * v, AxisMask(1) << k), AxisMask(1) << i);
  const ContractionMatch m = match_contraction(b.loop());
  EXPECT_FALSE(m.matched);
  EXPECT_EQ(m.refusal, "each sum is of its own rows: nothing is used twice");
  Product two{8, 9, 10};
  EXPECT_TRUE(match_contraction(collapse_axes(product_loop(two).loop)).matched);
  Target cuda = v4(), old = v3();
  cuda.kind = DeviceKind::cuda;
  old.arch = "x86-64-v2";
  std::string why;
  EXPECT_FALSE(provided(collapse_axes(product_loop(two).loop), cuda, why));
  EXPECT_EQ(why, "the matrix units of sm_80 are needed");
  EXPECT_FALSE(provided(collapse_axes(product_loop(two).loop), old, why));
  EXPECT_EQ(why, "the target has neither AVX-512 nor AVX2 with FMA");
}

TEST(Match, TextRoundTrips) {
  Product x{20, 30, 40};
  x.epilogue = Product::bias;
  std::string why;
  const auto k = provide_kernel(collapse_axes(product_loop(x).loop), v4(), why);
  ASSERT_TRUE(k) << why;
  const std::string text = print_kernel(*k);
  EXPECT_EQ(print_kernel(parse_kernel(text)), text);
}

}  // namespace
}  // namespace phlox
