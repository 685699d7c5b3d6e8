// Datasets, the loader's order, and files.
#include <unistd.h>

#include <cstdio>
#include <set>

#include "check.h"
#include "phlox/data/fashion_mnist.hpp"

namespace phlox_test {
namespace {

std::vector<int64_t> order_of(const auto& loader, int64_t epoch, int64_t first = 0) {
  std::vector<int64_t> r;
  for (auto& [x, y] : loader.epoch(epoch, first))
    for (int64_t v : y.template to_vector<int64_t>()) r.push_back(v);
  return r;
}

TEST(Data, order_depends_on_seed_and_epoch_alone) {
  const data::TensorDataset set(rand({50, 2}), arange(50));
  const data::DataLoader a(set, {.batch_size = 8, .shuffle = true, .seed = 7});
  const data::DataLoader b(set, {.batch_size = 8, .shuffle = true, .seed = 7, .prefetch = 0});
  const data::DataLoader c(set, {.batch_size = 8, .shuffle = true, .seed = 8});
  const std::vector<int64_t> first = order_of(a, 0);
  EXPECT_EQ(std::set<int64_t>(first.begin(), first.end()).size(), 50u);
  EXPECT_EQ(order_of(a, 0), first);
  EXPECT_EQ(order_of(b, 0), first);
  EXPECT_NE(order_of(a, 1), first);
  EXPECT_NE(order_of(c, 0), first);
  EXPECT_EQ(order_of(a, 0, 3), std::vector<int64_t>(first.begin() + 24, first.end()));
  const data::DataLoader plain(set, {.batch_size = 8, .drop_last = true});
  EXPECT_EQ(plain.size(), 6);
  EXPECT_EQ(order_of(plain, 5).size(), 48u);
  EXPECT_EQ(order_of(plain, 5)[9], 9);
}

TEST(Data, batches_hold_the_examples) {
  const data::TensorDataset set(arange(12, {.dtype = f32}).reshape({4, 3}), tensor({10, 11, 12, 13}));
  const auto [x, y] = set.batch({3, 1});
  expect_near(x, {9, 10, 11, 3, 4, 5});
  EXPECT_EQ(y.to_vector<int64_t>(), (std::vector<int64_t>{13, 11}));
  EXPECT_NE(error_of([&] { set.batch({4}); }).find("no example of this number"), std::string::npos);
  EXPECT_NE(error_of([] { data::TensorDataset(zeros({2}), zeros({3})); }).find("first dimensions differ"),
            std::string::npos);
}

struct Squares {
  int64_t size() const { return 6; }
  std::tuple<Tensor, Tensor> get(int64_t i) const {
    if (i == 5) throw std::runtime_error("five is bad");
    return {full({2}, double(i)), scalar_tensor(i * i, {.dtype = i64})};
  }
};
TEST(Data, examples_are_stacked_and_exceptions_arrive) {
  const data::DataLoader loader(data::Stacked{Squares{}}, {.batch_size = 2});
  int batches = 0;
  const std::string error = error_of([&] {
    for (auto& [x, y] : loader.epoch(0)) {
      EXPECT_EQ(x.describe(), "f32[2,2]");
      EXPECT_EQ(y.to_vector<int64_t>()[1], (2 * batches + 1) * (2 * batches + 1));
      ++batches;
    }
  });
  EXPECT_EQ(batches, 2);
  EXPECT_EQ(error, "five is bad");
  for (auto& batch : loader.epoch(0)) {
    EXPECT_EQ(std::get<0>(batch).size(0), 2);
    break;
  }  // an epoch may be left in the middle
}

TEST(Data, text_windows) {
  const data::TextDataset set("abcdefgh", 3);
  EXPECT_EQ(set.size(), 2);
  const auto [x, y] = set.batch({1, 0});
  EXPECT_EQ(x.to_vector<int64_t>(), (std::vector<int64_t>{'d', 'e', 'f', 'a', 'b', 'c'}));
  EXPECT_EQ(y.to_vector<int64_t>(), (std::vector<int64_t>{'e', 'f', 'g', 'b', 'c', 'd'}));
  EXPECT_EQ(data::TextDataset("abcdefgh", 3, 1).size(), 5);
  EXPECT_NE(error_of([] { data::TextDataset("abc", 3); }).find("no window"), std::string::npos);
}

struct TemporaryFile {
  std::string path = "/tmp/phlox_data_test_" + std::to_string(getpid());
  void write(const std::string& bytes) const {
    FILE* f = fopen(path.c_str(), "wb");
    fwrite(bytes.data(), 1, bytes.size(), f);
    fclose(f);
  }
  ~TemporaryFile() { remove(path.c_str()); }
};
TEST(Data, idx_files) {
  const TemporaryFile f;
  const std::string good(
      "\0\0\x08\x02\0\0\0\x02\0\0\0\x03"
      "abcdef",
      18);
  f.write(good);
  const Tensor t = data::read_idx(f.path);
  EXPECT_EQ(t.describe(), "u8[2,3]");
  EXPECT_EQ(t.to_vector<uint8_t>()[5], 'f');
  f.write(good + "g");
  EXPECT_NE(error_of([&] { data::read_idx(f.path); }).find("goes on"), std::string::npos);
  f.write(good.substr(0, 15));
  EXPECT_NE(error_of([&] { data::read_idx(f.path); }).find("ends early"), std::string::npos);
  f.write("hello");
  EXPECT_NE(error_of([&] { data::read_idx(f.path); }).find("header"), std::string::npos);
  f.write(std::string("\0\0\x08\x02\xff\xff\xff\xff\xff\xff\xff\xff", 12));
  EXPECT_NE(error_of([&] { data::read_idx(f.path); }).find("absurd"), std::string::npos);
  EXPECT_NE(error_of([] { data::read_idx("/nowhere"); }).find("cannot be opened"), std::string::npos);
}

TEST(Data, checkpoints_hold_model_optimizer_schedule_and_generator) {
  const TemporaryFile f;
  manual_seed(11);
  nn::Linear a(3, 2), b(3, 2);
  optim::AdamW opt_a(a.parameters()), opt_b(b.parameters());
  optim::StepLR schedule_a(opt_a, 1, 0.5), schedule_b(opt_b, 1, 0.5);
  a(ones({1, 3})).sum().backward();
  opt_a.step();
  schedule_a.step();
  save_checkpoint(
      f.path,
      {.model = &a, .optimizer = &opt_a, .scheduler = &schedule_a, .step = 5, .notes = {{"corpus", "none"}}});
  const Tensor next = rand({4});
  const Training found =
      load_checkpoint(f.path, {.model = &b, .optimizer = &opt_b, .scheduler = &schedule_b});
  EXPECT_EQ(found.step, 5);
  ASSERT_EQ(found.notes.size(), 1u);
  EXPECT_EQ(found.notes[0].second, "none");
  expect_same(a.state_dict(), b.state_dict());
  expect_same(opt_a.state_dict(), opt_b.state_dict());
  EXPECT_EQ(schedule_b.count(), 1);
  EXPECT_EQ(opt_b.lr(), 5e-4);
  expect_same(rand({4}), next);
}

}  // namespace
}  // namespace phlox_test
