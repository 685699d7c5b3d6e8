#include <gtest/gtest.h>

#include "eager/trace.h"
#include "ops/registry.h"

namespace phlox {
namespace {

Tensor make(const Ints& sizes, std::initializer_list<float> v) {
  Tensor t = make_tensor(cpu_device(), DType::f32, sizes);
  std::copy(v.begin(), v.end(), reinterpret_cast<float*>(t->bytes()));
  return t;
}
std::vector<float> values(const Tensor& t) {
  const Tensor c = contiguous(t);
  const float* p = reinterpret_cast<const float*>(c->bytes());
  return {p, p + c->numel()};
}
Tensor call(const char* op, const Tensor& a, const Tensor& b) { return call1(op, {tensor_arg(a), tensor_arg(b)}); }

// One step of gradient descent on sum((x * w - y)^2), written as a user would.
std::vector<Tensor> step(const Tensor& w, const std::vector<Tensor>& in) {
  set_grad(*w, nullptr);
  const Tensor d = call("sub.Tensor", call("mul.Tensor", in[0], w), in[1]);
  const Tensor loss = call("mul.Tensor", d, d);
  run_backward({loss}, {full_tensor(cpu_device(), DType::f32, loss->sizes, 1)}, false, false, nullptr);
  const NoGrad guard;
  const Arg args[] = {tensor_arg(w), tensor_arg(grad_of(*w)), Arg::of_real(0.1)};
  call_in_place(*find_op("sub.Tensor"), args);
  return {loss};
}

TEST(Trace, a_train_step_compiles_whole_and_matches_eager) {
  const Tensor x = make({3}, {1, 2, 3}), y = make({3}, {2, 1, 5});
  Tensor eager = make({3}, {0.5, 0.5, 0.5}), compiled = make({3}, {0.5, 0.5, 0.5});
  eager->requires_grad = compiled->requires_grad = true;
  auto f = make_ref<CompiledFunction>([&](const std::vector<Tensor>& in) { return step(compiled, in); });
  for (int i = 0; i < 4; ++i) {
    const Tensor a = step(eager, {x, y})[0], b = f->call({x, y})[0];
    EXPECT_EQ(values(a), values(b)) << i;
    EXPECT_EQ(values(eager), values(compiled)) << i;
    EXPECT_EQ(values(grad_of(*eager)), values(grad_of(*compiled))) << i;
  }
  EXPECT_NE(f->report().find("\"calls\": 4"), std::string::npos) << f->report();
}

TEST(Trace, frozen_state_that_changes_is_an_error) {
  const Tensor x = make({3}, {1, 2, 3});
  double k = 1;
  auto f = make_ref<CompiledFunction>([&](const std::vector<Tensor>& in) {
    k += 1;
    return std::vector<Tensor>{call1("mul.Scalar", {tensor_arg(in[0]), Arg::of_real(k)})};
  });
  f->call({x});
  EXPECT_THROW(f->call({x}), Error);
}

TEST(Trace, changes_through_views_of_captured_tensors_are_written_back) {
  const Tensor table = make({2, 2}, {1, 2, 3, 4});
  auto f = make_ref<CompiledFunction>([&](const std::vector<Tensor>& in) {
    const Tensor row = call1("prim::slice", {tensor_arg(table), Arg::of_dim(0), Arg::of_dim(1), Arg::of_dim(1), Arg::of_dim(1)});
    const Arg args[] = {tensor_arg(row), tensor_arg(in[0])};
    call_in_place(*find_op("add.Tensor"), args);
    return std::vector<Tensor>{call("add.Tensor", table, in[0])};
  });
  const Tensor x = make({1, 2}, {10, 20});
  EXPECT_EQ(values(f->call({x})[0]), (std::vector<float>{11, 22, 23, 44}));
  EXPECT_EQ(values(table), (std::vector<float>{1, 2, 13, 24}));
}

// Elements 0, 2 and 4 of a tensor: in memory they have gaps.
Tensor every_second(const Tensor& t) { return make_view(t, 0, {3}, {2}); }

TEST(Trace, arguments_and_captured_tensors_with_gaps_are_changed_in_place) {
  const Tensor a = make({5}, {1, 2, 3, 4, 5}), b = make({5}, {1, 2, 3, 4, 5}), captured = every_second(b);
  auto f = make_ref<CompiledFunction>([&](const std::vector<Tensor>& in) {
    const Arg args[] = {tensor_arg(in[0]), Arg::of_real(10)}, more[] = {tensor_arg(captured), Arg::of_real(20)};
    call_in_place(*find_op("add.Scalar"), args);
    call_in_place(*find_op("add.Scalar"), more);
    return std::vector<Tensor>{};
  });
  f->call({every_second(a)});
  f->call({every_second(a)});
  EXPECT_EQ(values(a), (std::vector<float>{21, 2, 23, 4, 25}));
  EXPECT_EQ(values(b), (std::vector<float>{41, 2, 43, 4, 45}));
}

// A reshape that has to copy copies in the trace as well: what is written to it does not reach the argument.
TEST(Trace, a_reshape_of_a_transposed_argument_is_a_copy) {
  const auto step = [](const std::vector<Tensor>& in) {
    const Arg size = Arg::of_dim(6);
    const Tensor flat = call1("reshape", {tensor_arg(in[0]), Arg::of_list(std::span(&size, 1))});
    const Arg args[] = {tensor_arg(flat), Arg::of_real(10)};
    call_in_place(*find_op("add.Scalar"), args);
    return std::vector<Tensor>{flat};
  };
  const auto transposed = [](const Tensor& t) { return make_view(t, 0, {3, 2}, {1, 3}); };
  const Tensor a = make({2, 3}, {1, 2, 3, 4, 5, 6}), b = make({2, 3}, {1, 2, 3, 4, 5, 6});
  auto f = make_ref<CompiledFunction>(step);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(values(f->call({transposed(a)})[0]), (std::vector<float>{11, 14, 12, 15, 13, 16})) << i;
    EXPECT_EQ(values(a), (std::vector<float>{1, 2, 3, 4, 5, 6})) << i;
  }
  EXPECT_EQ(values(f->call({b})[0]), (std::vector<float>{11, 12, 13, 14, 15, 16}));  // this one is a view
  EXPECT_EQ(values(b), (std::vector<float>{11, 12, 13, 14, 15, 16}));
}

TEST(Trace, other_bits_of_an_argument_are_followed) {
  auto f = make_ref<CompiledFunction>([](const std::vector<Tensor>& in) {
    return std::vector<Tensor>{call1("view.dtype", {tensor_arg(in[0]), Arg::of_dtype(DType::i32)})};
  });
  const Tensor r = f->call({make({2}, {1, -2})})[0];
  EXPECT_EQ(r->dtype, DType::i32);
  EXPECT_EQ(reinterpret_cast<const int32_t*>(r->bytes())[0], 0x3f800000);
  EXPECT_EQ(reinterpret_cast<const uint32_t*>(r->bytes())[1], 0xc0000000u);
}

TEST(Trace, a_scatter_into_a_tensor_with_gaps_begins_with_its_elements) {
  const Tensor x = every_second(make({5}, {1, 2, 3, 4, 5}));
  const Tensor index = call1("to.dtype", {tensor_arg(make({1}, {1})), Arg::of_dtype(DType::i64)});
  const Tensor r = call1("scatter.value", {tensor_arg(x), Arg::of_dim(0), tensor_arg(index), Arg::of_real(9)});
  EXPECT_EQ(values(r), (std::vector<float>{1, 9, 5}));
}

}  // namespace
}  // namespace phlox
