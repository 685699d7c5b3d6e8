// Launches of one kernel on different tensors are one launch, with code and in the interpreter, and nothing moves past
// what it depends on.
#include "run_program.h"

namespace phlox {
namespace {

const Dims shapes[] = {{7}, {30, 41}, {1}, {5, 1, 9}, {100000}, {2, 3, 4, 5}, {64}};

TEST(List, maps_of_different_sizes_are_one_launch) {
  Net n;
  for (const Dims& s : shapes) n.input(s);
  std::vector<Val> out;
  for (const Val& v : n.x) out.push_back(v * v + v);
  n.b.outputs(out);
  const Ref<Program> p = check(n.g, n.values);
  int lists = 0;
  for (const Program::Step& s : p->steps) lists += s.rows > 1;
  EXPECT_EQ(lists, 1);
  EXPECT_LE(p->steps.size(), 2u);    // a tensor of one element may have a loop of its own
  EXPECT_LE(p->kernels.size(), 2u);  // the kernel without a list is gone
}

TEST(List, sums_of_whole_tensors_share_launches) {
  Net n;
  for (const Dims& s : shapes) n.input(s);
  Val total;
  for (const Val& v : n.x) {
    std::vector<int64_t> dims;
    for (int d = 0; d < v.rank(); ++d) dims.push_back(d);
    const Val s = sum(v * v, Ints(std::span<const int64_t>(dims)));
    total = total ? total + s : s;
  }
  const Val out[] = {total};
  n.b.outputs(out);
  const Ref<Program> p = check(n.g, n.values);
  EXPECT_LE(p->steps.size(), 5u);
}

TEST(List, a_launch_does_not_move_before_what_it_reads) {
  Net n;
  for (int i = 0; i < 6; ++i) n.input({100 + i});
  std::vector<Val> out;
  // Each tensor is scaled by the first element of the one before, which is scaled already.
  Val factor;
  for (const Val& v : n.x) {
    const Val scaled = factor ? v * broadcast_to(factor, v.shape(), "test") : v * v;
    out.push_back(scaled);
    factor = reduce(scaled, {0}, "max");
  }
  n.b.outputs(out);
  check(n.g, n.values);
}

}  // namespace
}  // namespace phlox
