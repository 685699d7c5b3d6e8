// Results that are views of what a kernel computes: sums are taken once, and row-major memory is the same under every shape.
#include "ops/fuse.h"
#include "run_program.h"

namespace phlox {
namespace {

Val scaled_rows(Val x) { return x * broadcast_to(unsqueeze(sum(x, {1}), 1), x.shape()); }

TEST(Outputs, a_reshaped_result_is_stored_where_it_is_computed) {
  Net n;
  n.input({30, 41});
  const Val y = reshape(scaled_rows(n.x[0]), {5, 6, 41});
  n.b.outputs(std::span(&y, 1));
  EXPECT_EQ(check(n.g, n.values)->steps.size(), 1u);
}

TEST(Outputs, sums_behind_a_view_are_taken_once) {
  Net n;
  n.input({30, 41});
  const Val y = permute(scaled_rows(n.x[0]), {1, 0});
  n.b.outputs(std::span(&y, 1));
  EXPECT_EQ(check(n.g, n.values)->steps.size(), 2u);
  Net m;
  m.input({30, 41});
  const Val z = broadcast_to(sum(m.x[0], {1}), {41, 30});
  m.b.outputs(std::span(&z, 1));
  EXPECT_EQ(check(m.g, m.values)->steps.size(), 2u);
}

// A reshape of memory is an address: with sizes that are only known to be multiples of 8 too.
TEST(Outputs, reshaped_memory_is_read_without_divisions) {
  Graph g;
  GraphBuilder b(g);
  const Dim s = Dim::symbol(0);
  const Val x = b.input(f32_of({s, s}));
  const Val y = reshape(sum(reshape(x, {8, floordiv(s, 8), s}), {1, 2}), {2, 4});
  b.outputs(std::span(&y, 1));
  std::vector<bool> buffers(g.value_count());
  buffers[x.id] = true;
  const FusedLoop f = fuse_loop(g, g.outputs(), buffers);
  for (const Inst& i : f.loop.insts) EXPECT_TRUE(i.op != Scalar::floordiv && i.op != Scalar::floormod) << print_loop(f.loop);
}

}  // namespace
}  // namespace phlox
