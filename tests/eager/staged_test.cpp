// Ops that run as several calls: masks as indices, and running statistics that training changes.
#include <gtest/gtest.h>

#include "eager/call.h"
#include "ops/registry.h"

namespace phlox {
namespace {

Tensor floats(const Ints& sizes, std::initializer_list<float> v) {
  Tensor t = make_tensor(cpu_device(), DType::f32, sizes);
  std::copy(v.begin(), v.end(), reinterpret_cast<float*>(t->bytes()));
  return t;
}
Tensor bools(const Ints& sizes, std::initializer_list<int> v) {
  Tensor t = make_tensor(cpu_device(), DType::boolean, sizes);
  std::copy(v.begin(), v.end(), reinterpret_cast<uint8_t*>(t->bytes()));
  return t;
}
std::vector<float> values(const Tensor& t) {
  const Tensor c = contiguous(t);
  const float* p = reinterpret_cast<const float*>(c->bytes());
  return {p, p + c->numel()};
}
std::vector<float> gradient(const Tensor& t) { return values(find_autograd_extra(*t)->grad); }

TEST(Staged, a_mask_picks_elements_and_has_a_gradient) {
  Tensor x = floats({2, 2}, {1, 2, 3, 4});
  x->requires_grad = true;
  const Tensor mask = bools({2, 2}, {1, 0, 0, 1});
  const Arg list[] = {tensor_arg(mask)};
  const Tensor y = call1("index.Tensor", {tensor_arg(x), Arg::of_list(list)});
  EXPECT_EQ(values(y), (std::vector<float>{1, 4}));
  run_backward({y}, {floats({2}, {10, 20})}, false, false, nullptr);
  EXPECT_EQ(gradient(x), (std::vector<float>{10, 0, 0, 20}));

  const Tensor rows = bools({2}, {0, 1});
  const Arg first[] = {tensor_arg(rows)};
  EXPECT_EQ(values(call1("index.Tensor", {tensor_arg(x), Arg::of_list(first)})), (std::vector<float>{3, 4}));
  const Tensor longer = bools({3}, {0, 1, 1});
  const Arg wrong[] = {tensor_arg(longer)};
  EXPECT_THROW(call1("index.Tensor", {tensor_arg(x), Arg::of_list(wrong)}), Error);
}

TEST(Staged, masked_select_broadcasts) {
  Tensor x = floats({2, 1}, {1, 2});
  x->requires_grad = true;
  const Tensor y = call1("masked_select", {tensor_arg(x), tensor_arg(bools({2}, {1, 0}))});
  EXPECT_EQ(values(y), (std::vector<float>{1, 2}));
  run_backward({y}, {floats({2}, {3, 4})}, false, false, nullptr);
  EXPECT_EQ(gradient(x), (std::vector<float>{3, 4}));
  EXPECT_EQ(values(call1("masked_select", {tensor_arg(floats({}, {5})), tensor_arg(bools({}, {1}))})), (std::vector<float>{5}));
}

TEST(Staged, writing_through_a_mask_in_place) {
  const Tensor x = floats({3}, {1, 2, 3}), mask = bools({3}, {1, 0, 1}), nine = floats({}, {9});
  const Arg list[] = {tensor_arg(mask)};
  const Arg args[] = {tensor_arg(x), Arg::of_list(list), tensor_arg(nine)};
  call_in_place(*find_op("index_put"), args);
  EXPECT_EQ(values(x), (std::vector<float>{9, 2, 9}));
}

TEST(Staged, repeats_have_a_gradient) {
  Tensor x = floats({2}, {1, 2}), times = make_tensor(cpu_device(), DType::i64, {2});
  reinterpret_cast<int64_t*>(times->bytes())[0] = 2;
  reinterpret_cast<int64_t*>(times->bytes())[1] = 1;
  x->requires_grad = true;
  const Tensor y = call1("repeat_interleave.self_Tensor", {tensor_arg(x), tensor_arg(times)});
  EXPECT_EQ(values(y), (std::vector<float>{1, 1, 2}));
  run_backward({y}, {floats({3}, {1, 10, 100})}, false, false, nullptr);
  EXPECT_EQ(gradient(x), (std::vector<float>{11, 100}));
}

TEST(Staged, batch_norm_in_training_changes_running_statistics) {
  Tensor x = floats({2, 1, 2}, {1, 2, 3, 4});
  x->requires_grad = true;
  const Tensor mean = floats({1}, {1}), var = floats({1}, {2});
  auto norm = [&](bool training) {
    return call1("batch_norm", {tensor_arg(x), Arg{}, Arg{}, tensor_arg(mean), tensor_arg(var), Arg::of_bool(training),
                                Arg::of_real(0.5), Arg::of_real(0), Arg::of_bool(false)});
  };
  EXPECT_FLOAT_EQ(values(norm(false))[0], 0);
  EXPECT_EQ(values(mean), (std::vector<float>{1}));
  const Tensor y = norm(true);
  EXPECT_FLOAT_EQ(values(mean)[0], 1.75f);
  EXPECT_FLOAT_EQ(values(var)[0], (2 + 5.0f / 3) / 2);
  EXPECT_FALSE(mean->requires_grad);  // statistics do not hold the tape
  EXPECT_TRUE(y->requires_grad);
  run_backward({y}, {floats({2, 1, 2}, {1, 1, 1, 1})}, false, false, nullptr);
  for (float g : gradient(x)) EXPECT_NEAR(g, 0, 1e-6);
}

}  // namespace
}  // namespace phlox
