// The tree of modules: names, moves, modes, saving and loading.
#include "check.h"

namespace phlox_test {
namespace {

struct Inner : nn::Module {
  nn::Linear a = register_module("a", nn::Linear(2, 3));
  Tensor scale = register_parameter("scale", ones({1}));
  Tensor count = register_buffer("count", zeros({2}));
  Tensor scratch = register_buffer("scratch", zeros({1}), false);
  Tensor forward(const Tensor& x) { return a(x) * scale; }
};
struct Outer : nn::Module {
  Inner inner = register_module("inner", Inner());
  nn::Sequential body = register_module(
      "body", nn::Sequential(nn::Linear(3, 4), nn::ReLU(), nn::Dropout(0.5), nn::Linear(4, 1, false)));
  nn::ModuleList<nn::Linear> list = register_module("list", nn::ModuleList<nn::Linear>(2, 1, 1));
  Tensor forward(const Tensor& x) {
    Tensor y = body(inner.forward(x));
    for (nn::Linear& l : list) y = l(y);
    return y;
  }
};

std::vector<std::string> names(const StateDict& d) {
  std::vector<std::string> r;
  for (const auto& [name, t] : d) r.push_back(name);
  return r;
}

TEST(Module, names_are_paths_in_order_of_registration) {
  const Outer m;
  EXPECT_EQ(names(m.named_parameters()),
            (std::vector<std::string>{"inner.scale", "inner.a.weight", "inner.a.bias", "body.0.weight",
                                      "body.0.bias", "body.3.weight", "list.0.weight", "list.0.bias",
                                      "list.1.weight", "list.1.bias"}));
  EXPECT_EQ(names(m.named_buffers()), (std::vector<std::string>{"inner.count", "inner.scratch"}));
  EXPECT_TRUE(m.state_dict().contains("inner.count"));
  EXPECT_FALSE(m.state_dict().contains("inner.scratch"));
  EXPECT_EQ(m.num_parameters(), 1 + 6 + 3 + 12 + 4 + 4 + 4);
}

TEST(StateDict, names_are_found_in_large_and_changed_states) {
  StateDict d;
  const Tensor one = ones({1}), two = zeros({1});
  constexpr size_t many = 20000;
  for (size_t i = 0; i < many; ++i) d.set("t" + std::to_string(i), one);
  for (size_t i = 0; i < many; i += 2) d.set("t" + std::to_string(i), two);  // in its place
  ASSERT_EQ(d.size(), many);
  EXPECT_EQ(d[5].first, "t5");
  EXPECT_TRUE(d["t4"].is_same(two));
  EXPECT_TRUE(d["t19999"].is_same(one));
  EXPECT_EQ(d.find("t20000"), nullptr);
  EXPECT_THROW(d.at("u"), Error);

  StateDict copy = d;
  d.set("u", one);
  EXPECT_FALSE(copy.contains("u"));
  const StateDict part = copy.section("t1999");
  EXPECT_EQ(part.size(), 11u);
  EXPECT_TRUE(part.contains("9") && part.contains(""));
  StateDict moved = std::move(copy);
  EXPECT_TRUE(moved["t0"].is_same(two));
}

TEST(Module, a_moved_module_keeps_its_parts) {
  Outer first;
  const Tensor x = make({1, 2, 3, 4}, {2, 2});
  first.eval();
  const Tensor y = first.forward(x);
  Outer second = std::move(first);
  expect_same(second.forward(x), y);
  EXPECT_EQ(names(second.named_parameters()).size(), 10u);
  second.train();
  EXPECT_TRUE(second.inner.a.is_training());
  std::vector<std::unique_ptr<Outer>> kept;
  kept.push_back(std::make_unique<Outer>(std::move(second)));
  kept[0]->eval();
  EXPECT_FALSE(kept[0]->inner.a.is_training());
  EXPECT_FALSE(kept[0]->list[1].is_training());
  expect_same(kept[0]->forward(x), y);
}

TEST(Module, loading_gives_the_same_function_and_names_what_does_not_fit) {
  Outer a, b;
  const Tensor x = make({1, 2, 3, 4}, {2, 2});
  a.eval(), b.eval();
  b.load_state_dict(a.state_dict());
  expect_same(a.forward(x), b.forward(x));

  StateDict odd;
  for (const auto& [name, t] : a.state_dict())
    if (name != "list.1.bias") odd.set(name, t);
  odd.set("extra", zeros({1}));
  const std::string error = error_of([&] { b.load_state_dict(odd); });
  EXPECT_NE(error.find("missing: list.1.bias"), std::string::npos) << error;
  EXPECT_NE(error.find("unexpected: extra"), std::string::npos) << error;
  const LoadResult r = b.load_state_dict(odd, false);
  EXPECT_EQ(r.missing, std::vector<std::string>{"list.1.bias"});
  EXPECT_EQ(r.unexpected, std::vector<std::string>{"extra"});

  StateDict wrong = a.state_dict();
  wrong.set("inner.scale", zeros({5}));
  const std::string shape = error_of([&] { b.load_state_dict(wrong); });
  EXPECT_NE(shape.find("inner.scale is f32[5] and should be f32[1]"), std::string::npos) << shape;
}

TEST(Module, a_tied_parameter_counts_once) {
  struct Tied : nn::Module {
    nn::Embedding in = register_module("in", nn::Embedding(5, 3));
    Tensor out = register_parameter("out", ones({2}));
  } m;
  EXPECT_EQ(m.parameters().size(), 2u);
  EXPECT_NE(error_of([&] { m.register_parameter("out", ones({1})); }).find("taken"), std::string::npos);
  EXPECT_NE(error_of([&] { m.register_parameter("a.b", ones({1})); }).find("dot"), std::string::npos);
}

TEST(Module, to_changes_the_members_tensors) {
  nn::Linear m(2, 2);
  nn::BatchNorm1d norm(2);
  m.to(f64);
  norm.to(f64);
  EXPECT_EQ(m.weight.dtype(), f64);
  EXPECT_TRUE(m.weight.requires_grad());
  EXPECT_TRUE(m.weight.is_leaf());
  EXPECT_EQ(norm.running_var.dtype(), f64);
  EXPECT_EQ(norm.num_batches_tracked.dtype(), i64);
  EXPECT_EQ(m(ones({1, 2}, {.dtype = f64})).dtype(), f64);
}

TEST(Module, default_initialisation_is_bounded_as_in_pytorch) {
  manual_seed(3);
  nn::Linear m(64, 100);
  nn::Conv2d c(4, 8, 3);
  for (float v : floats(m.weight)) EXPECT_LE(std::fabs(v), 1.0 / 8);
  for (float v : floats(m.bias)) EXPECT_LE(std::fabs(v), 1.0 / 8);
  for (float v : floats(c.weight)) EXPECT_LE(std::fabs(v), 1.0 / 6);
  double sum = 0, square = 0;
  for (float v : floats(m.weight)) sum += v, square += double(v) * v;
  EXPECT_NEAR(sum / 6400, 0, 0.005);
  EXPECT_NEAR(std::sqrt(square / 6400), 0.125 / std::sqrt(3.0), 0.003);
  nn::Embedding e(1000, 8, 0);
  double e_square = 0;
  for (float v : floats(e.weight)) e_square += double(v) * v;
  EXPECT_NEAR(e_square / 8000, 1, 0.06);
  expect_near(e.weight[0], {0, 0, 0, 0, 0, 0, 0, 0});
}

}  // namespace
}  // namespace phlox_test
