// Compiled functions from C++, and whole train steps whose bits are those of eager steps.
#include <unistd.h>

#include "models.h"

namespace phlox_test {
namespace {

TEST(Compile, results_arguments_and_reports) {
  auto one = compile([](Tensor a, Tensor b) { return a * b + 1; });
  expect_near(one(tensor({1.0, 2.0}), tensor({3.0, 4.0})), {4, 9});
  expect_near(one(tensor({1.0}), tensor({3.0})), {4});
  EXPECT_NE(one.report().find("\"kernels\""), std::string::npos) << one.report();
  auto two = compile([](Tensor a) { return std::make_tuple(a + 1, a * 2); });
  const auto [x, y] = two(tensor({1.0, 2.0}));
  expect_near(x, {2, 3});
  expect_near(y, {2, 4});
  auto list = compile([](Tensor a) { return std::vector<Tensor>{a, a.sum()}; });
  EXPECT_EQ(list(tensor({1.0, 2.0})).size(), 2u);
  Tensor total = zeros({2});
  auto none = compile([&](Tensor a) { total += a; });
  none(tensor({1.0, 2.0}));
  none(tensor({1.0, 2.0}));
  expect_near(total, {2, 4});
}

TEST(Compile, exceptions_come_through) {
  auto f = compile([](Tensor a) -> Tensor {
    if (a.dim() == 1) throw std::out_of_range("mine");
    return a;
  });
  EXPECT_THROW(f(tensor({1.0})), std::out_of_range);
  auto read = compile([](Tensor a) { return a * a.sum().item<double>(); });
  EXPECT_NE(error_of([&] { read(tensor({1.0})); }).find("item"), std::string::npos)
      << error_of([&] { read(tensor({1.0})); });
}

TEST(Compile, train_flags_have_programs_of_their_own) {
  nn::BatchNorm1d norm(2);
  auto f = compile([&](Tensor x) { return norm(x); });
  const Tensor x = make({1, 10, 3, 20, 5, 60}, {3, 2});
  f(x);
  f(x);
  const Tensor before = norm.running_mean.clone();
  norm.eval();
  const Tensor want = norm(x);
  const std::vector<float> w = floats(want);
  expect_near(f(x), std::vector<double>(w.begin(), w.end()), 1e-6);
  expect_same(norm.running_mean, before);
  norm.train();
  f(x);
  EXPECT_EQ(norm.num_batches_tracked.item<int64_t>(), 3);
}

// Two equal models, one stepped eagerly and one compiled, from equal states of the generator.
// Returns the report of the compiled one.
template <class Model, class MakeBatch, class Loss>
std::string expect_equal_training(const MakeBatch& batch, const Loss& loss_of, int steps,
                                  bool learns = true) {
  manual_seed(1);
  Model a, b;
  b.load_state_dict(a.state_dict());
  optim::AdamW opt_a(a.parameters(), {.lr = 0.01}), opt_b(b.parameters(), {.lr = 0.01});
  auto step = [&](Model& m, optim::AdamW& opt, const Tensor& x, const Tensor& y) {
    const Tensor loss = loss_of(m.forward(x), y);
    loss.backward();
    optim::clip_grad_norm_(m.parameters(), 1.0);
    opt.step();
    opt.zero_grad();
    return loss;
  };
  auto compiled = compile([&](Tensor x, Tensor y) { return step(b, opt_b, x, y); }, "train_step");
  float first = 0, last = 0;
  for (int i = 0; i < steps; ++i) {
    const auto [x, y] = batch(i);
    opt_a.set_lr(0.01 / (i + 1)), opt_b.set_lr(0.01 / (i + 1));
    manual_seed(uint64_t(100 + i));
    const Tensor la = step(a, opt_a, x, y);
    const std::string after_a = rng_state();
    manual_seed(uint64_t(100 + i));
    const Tensor lb = compiled(x, y);
    expect_same(la.detach(), lb.detach(), "loss of step " + std::to_string(i));
    EXPECT_EQ(rng_state(), after_a) << "generator after step " << i;
    expect_same(a.state_dict(), b.state_dict());
    if (::testing::Test::HasFailure()) {
      ADD_FAILURE() << "step " << i;
      break;
    }
    (i ? last : first) = la.item<float>();
  }
  if (learns) {
    EXPECT_LT(last, first);
  }
  expect_same(opt_a.state_dict(), opt_b.state_dict());
  return compiled.report();
}
// The largest number behind `key` in a report.
int largest(const std::string& report, const std::string& key) {
  int most = -1;
  for (size_t at = 0; (at = report.find("\"" + key + "\": ", at)) != std::string::npos; ++at)
    most = std::max(most, std::atoi(report.c_str() + at + key.size() + 4));
  return most;
}
int programs(const std::string& report) {
  int n = 0;
  for (size_t at = 0; (at = report.find("\"launches\"", at)) != std::string::npos; ++at) ++n;
  return n;
}

TEST(Compile, a_train_step_of_a_cnn_has_the_bits_of_eager_steps) {
  expect_equal_training<SmallCnn>(
      [](int i) {
        manual_seed(uint64_t(i % 3));
        return std::make_tuple(rand({8, 1, 8, 8}), randint(10, {8}, {.dtype = i64}));
      },
      [](const Tensor& logits, const Tensor& y) { return F::cross_entropy(logits, y); }, 6);
}

// Rows of 16,384 numbers behind each mean: the kernels are others than for short ones.
struct WideCnn : nn::Module {
  nn::Conv2d c1 = register_module("c1", nn::Conv2d(1, 3, 3, {.padding = 1}));
  nn::BatchNorm2d n1 = register_module("n1", nn::BatchNorm2d(3));
  nn::Linear fc = register_module("fc", nn::Linear(3 * 16 * 16, 4));
  Tensor forward(const Tensor& x) { return fc(max_pool2d(relu(n1(c1(x))), 2).flatten(1)); }
};
TEST(Compile, a_train_step_with_long_rows_has_the_bits_of_eager_steps) {
  expect_equal_training<WideCnn>(
      [](int i) {
        manual_seed(uint64_t(i % 3));
        return std::make_tuple(rand({16, 1, 32, 32}), randint(4, {16}, {.dtype = i64}));
      },
      [](const Tensor& logits, const Tensor& y) { return F::cross_entropy(logits, y); }, 4, false);
}

TEST(Compile, a_train_step_of_a_gpt_has_the_bits_of_eager_steps) {
  expect_equal_training<SmallGpt>(
      [](int i) {
        manual_seed(uint64_t(i % 3));
        return std::make_tuple(randint(32, {4, 8}, {.dtype = i64}), randint(32, {4, 8}, {.dtype = i64}));
      },
      [](const Tensor& logits, const Tensor& y) {
        return F::cross_entropy(logits.reshape({-1, 32}), y.reshape({-1}));
      },
      6);
}

// Batches of a second size give a program whose batch is a symbol; it serves all others.
constexpr int batches[] = {8, 8, 5, 3, 1, 7, 8, 20};
TEST(Compile, one_program_of_a_cnn_step_serves_batches_of_all_sizes) {
  const std::string report = expect_equal_training<SmallCnn>(
      [](int i) {
        const int64_t n = batches[i];
        manual_seed(uint64_t(i));
        return std::make_tuple(rand({n, 1, 8, 8}), randint(10, {n}, {.dtype = i64}));
      },
      [](const Tensor& logits, const Tensor& y) { return F::cross_entropy(logits, y); }, 8, false);
  EXPECT_LE(programs(report), 3) << report;  // one more for a single picture, whose graph is another
  EXPECT_EQ(largest(report, "symbols"), 1) << report;
}
TEST(Compile, one_program_of_a_gpt_step_serves_batches_of_all_sizes) {
  const std::string report = expect_equal_training<SmallGpt>(
      [](int i) {
        const int64_t n = batches[i];
        manual_seed(uint64_t(i));
        return std::make_tuple(randint(32, {n, 8}, {.dtype = i64}), randint(32, {n, 8}, {.dtype = i64}));
      },
      [](const Tensor& logits, const Tensor& y) {
        return F::cross_entropy(logits.reshape({-1, 32}), y.reshape({-1}));
      },
      8, false);
  EXPECT_EQ(programs(report), 2) << report;
}
TEST(Compile, a_function_that_asks_for_the_size_gets_a_program_for_each_answer) {
  auto f = compile([](Tensor x) { return x.size(0) > 4 ? x * 2 : x + 1; });
  for (const int64_t n : {2, 3, 5, 6, 2, 3, 5, 7}) {
    const Tensor x = rand({n, 3});
    expect_same(f(x), n > 4 ? x * 2 : x + 1, "size " + std::to_string(n));
  }
  EXPECT_LE(programs(f.report()), 6) << f.report();
  // A number made of the size cannot be a formula.
  auto scaled = compile([](Tensor x) { return x * (1.0 / double(x.size(0))); });
  for (const int64_t n : {2, 3, 4, 2}) {
    const Tensor x = rand({n, 3});
    expect_same(scaled(x), x * (1.0 / double(n)), "size " + std::to_string(n));
  }
}

TEST(Compile, updates_and_norms_of_all_parameters_are_few_launches) {
  const auto launches = [](auto optimizer) {
    nn::Sequential net;
    for (int i = 0; i < 12; ++i) net.add(nn::Linear(8, 8));
    auto opt = optimizer(net.parameters());
    auto step = compile([&](Tensor x) {
      const Tensor loss = (net(x) * 2).sum();
      loss.backward();
      optim::clip_grad_norm_(net.parameters(), 1.0);
      opt.step();
      opt.zero_grad();
      return loss;
    });
    step.prepare(rand({4, 8}));
    return largest(step.report(), "launches");
  };
  // 24 parameters; forward and backward take about five launches a layer.
  EXPECT_LT(launches([](const auto& p) { return optim::AdamW(p); }), 12 * 5 + 14);
  EXPECT_LT(launches([](const auto& p) { return optim::Adam(p); }), 12 * 5 + 14);
  EXPECT_LT(launches([](const auto& p) { return optim::SGD(p, {.momentum = 0.9}); }), 12 * 5 + 14);
}

// A run that is saved, dropped and loaded goes on with the bits of one that was not.
TEST(Compile, a_resumed_run_has_the_bits_of_one_that_went_on) {
  const std::string path = "/tmp/phlox_resume_test_" + std::to_string(getpid());
  struct Run {
    SmallGpt model;
    optim::AdamW opt{model.parameters(), {.lr = 0.01}};
    optim::CosineAnnealingLR schedule{opt, 20};
    void go(int from, int to) {
      auto step = compile([&](Tensor x, Tensor y) {
        const Tensor loss =
            F::cross_entropy(F::dropout(model.forward(x), 0.1).reshape({-1, 32}), y.reshape({-1}));
        loss.backward();
        opt.step();
        opt.zero_grad();
        return loss;
      });
      const data::DataLoader loader(data::TextDataset(std::string(400, '\1') + std::string(400, '\2'), 8),
                                    {.batch_size = 4, .shuffle = true, .seed = 3});
      int i = from;
      for (auto& [x, y] : loader.epoch(0, from)) {
        if (i++ == to) break;
        step(x, y);
        schedule.step();
      }
    }
  };
  manual_seed(5);
  Run whole;
  whole.go(0, 3);
  save_checkpoint(path,
                  {.model = &whole.model, .optimizer = &whole.opt, .scheduler = &whole.schedule, .step = 3});
  whole.go(3, 6);
  manual_seed(77);
  Run again;
  const Training t =
      load_checkpoint(path, {.model = &again.model, .optimizer = &again.opt, .scheduler = &again.schedule});
  again.go(int(t.step), 6);
  expect_same(whole.model.state_dict(), again.model.state_dict());
  expect_same(whole.opt.state_dict(), again.opt.state_dict());
  remove(path.c_str());
}

}  // namespace
}  // namespace phlox_test
