// What a GPU must not get wrong: more elements than 32 bits count, memory that runs out, random numbers and sizes under
// replay, programs that are cut. Skipped where there is no GPU, or not enough memory.
#include "phlox/compile.hpp"

#include "check.h"

namespace phlox_test {
namespace {

#define NEED_GPU() \
  if (!cuda_is_available()) GTEST_SKIP() << "no GPU here"

constexpr int64_t rows = (int64_t(1) << 21) + 3, columns = 1024;  // 2^31 + 3072 elements

// The last rows are told apart by their values; the others are ones.
Tensor large(DType d) {
  const Tensor t = full({rows, columns}, 1, {.dtype = d, .device = "cuda"});
  for (int64_t i = 1; i <= 3; ++i) t.select(0, rows - i).fill_(i + 1);
  return t;
}
double at(const Tensor& t, int64_t i, int64_t j) { return t.select(0, i < 0 ? t.size(0) + i : i).select(0, j).to(f64).item<double>(); }

struct Large : testing::Test {
  void SetUp() override {
    NEED_GPU();
    try {  // the largest of the tests, in one piece
      empty({int64_t(24) << 30}, {.dtype = u8, .device = "cuda"});
    } catch (const Error&) {
      GTEST_SKIP() << "less than 24 GiB of GPU memory";
    }
  }
};

TEST_F(Large, Add) {
  const Tensor x = large(u8), y = x + x;
  for (int64_t i = 1; i <= 3; ++i) EXPECT_EQ(at(y, -i, columns - 1), 2 * double(i + 1));
  EXPECT_EQ(at(y, rows - 4, 0), 2);
  EXPECT_EQ(at(y, 0, 0), 2);
}

TEST_F(Large, Sum) {
  const Tensor x = large(u8);
  EXPECT_EQ(x.sum().item<int64_t>(), rows * columns + (1 + 2 + 3) * columns);
  const Tensor by_row = x.sum({1}), by_column = x.sum({0});
  EXPECT_EQ(by_row.select(0, rows - 3).item<int64_t>(), 4 * columns);
  EXPECT_EQ(by_column.select(0, columns - 1).item<int64_t>(), rows + 6);
}

TEST_F(Large, Softmax) {
  const Tensor x = large(bf16);
  x.select(0, rows - 1).select(0, columns - 1).fill_(8);
  const Tensor y = phlox::softmax(x, -1), last = phlox::softmax(x.narrow(0, rows - 1, 1), -1);
  EXPECT_EQ(at(y, -1, columns - 1), at(last, 0, columns - 1));
  EXPECT_GT(at(y, -1, columns - 1), 0.2);
  EXPECT_EQ(at(y, 5, 7), 1.0 / columns);
}

TEST_F(Large, MatMul) {
  const Tensor x = large(bf16), w = full({columns, columns}, 0.5, {.dtype = bf16, .device = "cuda"});
  const Tensor y = phlox::matmul(x, w);
  for (int64_t i = 1; i <= 3; ++i) EXPECT_EQ(at(y, -i, columns - 1), 0.5 * columns * double(i + 1));
  EXPECT_EQ(at(y, 0, 0), 0.5 * columns);
  EXPECT_EQ(at(y, rows / 2, 9), 0.5 * columns);
}

TEST_F(Large, Index) {
  const Tensor x = large(u8);
  const std::vector<int64_t> wanted{rows - 1, 0, rows - 3, rows - 2};
  const Tensor index = from_data(wanted.data(), {4}).to("cuda"), y = x.index_select(0, index);
  const double expected[] = {2, 1, 4, 3};
  for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(at(y, i, columns - 1), expected[i]);
  // And into: the last rows take other values.
  const Tensor z = x.index_copy(0, index, full({4, columns}, 9, {.dtype = u8, .device = "cuda"}));
  EXPECT_EQ(at(z, -1, columns - 1), 9);
  EXPECT_EQ(at(z, 0, 3), 9);
  EXPECT_EQ(at(z, 1, 3), 1);
}

TEST_F(Large, Copy) {
  const Tensor x = large(u8);
  const Tensor turned = x.transpose(0, 1).contiguous(), wide = x.to(f16);
  EXPECT_EQ(turned.select(0, columns - 1).select(0, rows - 2).item<uint8_t>(), 3);
  EXPECT_EQ(at(wide, -3, columns - 1), 4);
  const Tensor back = x.narrow(0, rows - 3, 3).cpu();
  EXPECT_EQ(back.select(0, 2).select(0, 0).item<uint8_t>(), 2);
}

TEST(CudaTrust, MemoryRunsOutAHundredTimes) {
  NEED_GPU();
  const Tensor kept = full({1000}, 3, {.dtype = f32, .device = "cuda"});
  std::string words;
  for (int i = 0; i < 100; ++i) {
    try {
      (void)(full({int64_t(1) << 40}, 1, {.dtype = f32, .device = "cuda"}) + 1.0);
      FAIL() << "4 TiB";
    } catch (const Error& e) {
      ASSERT_EQ(e.code(), ErrorCode::out_of_memory) << e.what();
      words = e.what();
    }
    ASSERT_EQ((kept * 2.0).sum().item<float>(), 6000);
  }
  EXPECT_NE(words.find("full"), std::string::npos) << words;  // the op
  EXPECT_NE(words.find("4 TiB"), std::string::npos) << words;  // the request
  std::printf("%s\n", words.c_str());
}

TEST(CudaTrust, TwoDevicesAreNamed) {
  NEED_GPU();
  const Tensor here = randn({4, 5}), there = randn({5, 6}).to("cuda");
  for (int which = 0; which < 3; ++which) try {
      if (which == 0) (void)phlox::matmul(here, there);
      if (which == 1) (void)phlox::cat({here.reshape({5, 4}), there});
      if (which == 2) (void)nn::functional::linear(there.t(), here.t());
      FAIL() << which;
    } catch (const Error& e) {
      const std::string words = e.what();
      for (const char* part : {"cpu", "cuda:0", ".to("}) EXPECT_NE(words.find(part), std::string::npos) << words;
      EXPECT_TRUE(words.find("self") != std::string::npos || words.find("argument") != std::string::npos ||
                  words.find("weight") != std::string::npos || words.find("tensors") != std::string::npos)
          << words;
    }
}

// --- Replay. Programs of some launches each: what is summed along an axis does not fuse with what follows.

Tensor long_chain(Tensor x) {
  for (int i = 0; i < 4; ++i) x = phlox::softmax(x.cumsum(0), -1);
  return x;
}
// Results of f on some inputs, replayed or not; all are kept until the last call is done.
template <class F>
std::vector<std::vector<float>> results(const char* capture, const std::vector<Tensor>& in, F f, std::string* report = nullptr) {
  setenv("PHLOX_CAPTURE", capture, 1);
  manual_seed(11);
  auto compiled = compile(f);
  std::vector<Tensor> out;
  for (const Tensor& t : in) out.push_back(compiled(t));
  unsetenv("PHLOX_CAPTURE");
  std::vector<std::vector<float>> r;
  for (const Tensor& t : out) r.push_back(t.cpu().to_vector<float>());
  if (report) *report = compiled.report();
  return r;
}
std::vector<Tensor> inputs(int n, int64_t size) {
  std::vector<Tensor> r;
  for (int i = 0; i < n; ++i) r.push_back(randn({size, size}).to("cuda"));
  return r;
}

TEST(CudaReplay, AHostOpIsACutWithItsReason) {
  NEED_GPU();
  const auto f = [](Tensor x) {
    const Tensor a = long_chain(x), b = long_chain(x * 2.0);  // two chains, and a host op in each: one cut
    const Tensor p = phlox::linalg_inv(a + phlox::eye(24, {.device = "cuda"})), q = phlox::linalg_inv(b + phlox::eye(24, {.device = "cuda"}));
    return long_chain(p) + long_chain(q);
  };
  const std::vector<Tensor> in = inputs(6, 24);
  std::string report;
  const auto plain = results("off", in, f), replayed = results("on", in, f, &report);
  EXPECT_EQ(plain, replayed);
  EXPECT_NE(report.find("\"graphs\": 2, \"cuts\": 2"), std::string::npos) << report;
  const std::string events = phlox::report("events");
  EXPECT_NE(events.find("cut: "), std::string::npos);
  EXPECT_NE(events.find("runs on the host"), std::string::npos);
}

TEST(CudaReplay, RandomNumbersGoOn) {
  NEED_GPU();
  const auto f = [](Tensor x) { return long_chain(phlox::dropout(x, 0.5, true)); };
  const std::vector<Tensor> one = inputs(1, 64), in(6, one[0]);
  std::string report;
  const auto plain = results("off", in, f), replayed = results("on", in, f, &report);
  EXPECT_EQ(plain, replayed);
  for (size_t i = 1; i < in.size(); ++i) EXPECT_NE(replayed[0], replayed[i]);
  EXPECT_NE(report.find("\"cuts\": 0"), std::string::npos) << report;
}

TEST(CudaReplay, SizesAreRecordedWithABound) {
  NEED_GPU();
  std::vector<Tensor> in;
  for (int round = 0; round < 3; ++round)
    for (int64_t size = 20; size < 32; ++size) in.push_back(full({size, size}, 0.01 * double(size + round), {.dtype = f32, .device = "cuda"}));
  std::string report;
  const auto plain = results("off", in, long_chain), replayed = results("on", in, long_chain, &report);
  EXPECT_EQ(plain, replayed);
  size_t recorded = 0;
  for (size_t at = 0; (at = report.find("\"recordings\"", at)) != std::string::npos; ++at) ++recorded;
  EXPECT_LE(recorded, 10u) << report;
}

TEST(CudaReplay, WhatTheUserChangesIsSeen) {
  NEED_GPU();
  const Tensor state = full({32, 32}, 1, {.dtype = f32, .device = "cuda"}), x = randn({32, 32}).to("cuda");
  auto step = compile([&](Tensor in) {
    state.add_(long_chain(in + state));
    return long_chain(state);
  });
  Tensor twin = state.clone();
  for (int i = 0; i < 8; ++i) {
    if (i == 5) state.mul_(0.5), twin = twin * 0.5;
    const Tensor y = step(x);
    twin = twin + long_chain(x + twin);
    EXPECT_LT((y - long_chain(twin)).abs().max().item<float>(), 1e-5) << i;
    EXPECT_LT((state - twin).abs().max().item<float>(), 1e-5) << i;
  }
}

}  // namespace
}  // namespace phlox_test
