// Convolutions as matrix products whose factors are gathered while they are packed: forward, both gradients, strides,
// dilations, groups; against the interpreter, bit for bit.
#include "base/format.h"
#include "check.h"
#include "compile/collapse.h"
#include "graph/builder.h"
#include "ops/fuse.h"
#include "ops/prims.h"
#include "providers/providers.h"

namespace phlox {
namespace {

using namespace harness;
using Body = Val (*)(GraphBuilder&);

struct Convs {
  std::vector<Loop> loops;
  std::vector<Arguments> arguments;
  std::vector<bool> expected;

  void add(Body body, bool taken = true) {
    Graph g;
    GraphBuilder b(g);
    const Val out = body(b);
    std::vector<bool> is_buffer(g.value_count());
    for (GraphValue v : g.inputs()) is_buffer[v] = true;
    const GraphValue outputs[] = {out.id};
    FusedLoop f = fuse_loop(g, outputs, is_buffer);
    verify_loop(f.loop);
    Arguments a;
    size_t n = 0;
    const auto buffer = [&](GraphValue v) {
      a.buffers.emplace_back(g.type(v).dtype, g.type(v).numel().value());
      fill(a.buffers.back(), ++n);
    };
    for (GraphValue v : f.inputs) buffer(v);
    for (GraphValue v : f.outputs) buffer(v);
    a.numbers.resize(f.loop.params.size());
    loops.push_back(std::move(f.loop));
    arguments.push_back(std::move(a));
    expected.push_back(taken);
  }
  void run(std::span<const Config> where) {
    for (const Config& c : where) {
      for (size_t n = 0; n < loops.size(); ++n) {
        std::string why;
        EXPECT_EQ(provided(collapse_axes(loops[n]), c.target, why), expected[n]) << n << ": " << why << "\n" << print_loop(loops[n]);
      }
      std::vector<Compiled> k = build(loops, c.target, c.cc);
      for (size_t n = 0; n < loops.size(); ++n)
        for (int64_t pieces : {1, 3}) EXPECT_EQ(compare(loops[n], k[n], arguments[n], pieces), "") << n << " " << c.cc << " " << c.target.arch;
    }
  }
};

ConvParams same(int64_t pad, int64_t stride = 1, int64_t groups = 1, int64_t dilation = 1) {
  return {{stride, stride}, {pad, pad}, {pad, pad}, {1, 1}, {dilation, dilation}, groups};
}

TEST(Conv, Forward) {
  Convs c;
  c.add([](GraphBuilder& b) { return conv(b.input({.shape = {2, 5, 14, 14}}), b.input({.shape = {17, 5, 3, 3}}), same(1)); });
  c.add([](GraphBuilder& b) { return conv(b.input({.shape = {1, 33, 28, 28}}), b.input({.shape = {8, 33, 3, 3}}), same(1)); });
  c.add([](GraphBuilder& b) { return conv(b.input({.shape = {3, 1, 9, 10}}), b.input({.shape = {6, 1, 5, 4}}), same(2)); });
  c.add([](GraphBuilder& b) { return conv(b.input({.shape = {2, 20, 7, 7}}), b.input({.shape = {24, 20, 1, 1}}), same(0)); });
  c.add([](GraphBuilder& b) { return conv(b.input({.shape = {2, 3, 17, 19}}), b.input({.shape = {10, 3, 3, 3}}), same(1, 2)); });
  c.add([](GraphBuilder& b) { return conv(b.input({.shape = {2, 4, 17, 33}}), b.input({.shape = {5, 4, 3, 3}}), same(2, 1, 1, 2)); });
  c.run(configs());
}

TEST(Conv, GradInput) {
  Convs c;
  // Stride 1: turned weights, channels exchanged.
  c.add([](GraphBuilder& b) {
    const Val g = b.input({.shape = {2, 17, 14, 14}}), w = b.input({.shape = {17, 5, 3, 3}});
    return conv(g, flip(flip(permute(w, {1, 0, 2, 3}), 2), 3), same(1));
  });
  // Stride 2: the gradient with holes.
  c.add([](GraphBuilder& b) {
    const Val g = b.input({.shape = {2, 6, 8, 9}}), w = b.input({.shape = {6, 3, 3, 3}});
    return conv(g, flip(flip(permute(w, {1, 0, 2, 3}), 2), 3), {{1, 1}, {1, 1}, {2, 2}, {2, 2}, {1, 1}, 1});
  });
  c.run(clang_only());
}

TEST(Conv, GradWeight) {
  Convs c;
  c.add([](GraphBuilder& b) {
    const Val x = b.input({.shape = {3, 5, 14, 14}}), g = b.input({.shape = {3, 17, 14, 14}});
    return transpose(conv(transpose(x, 0, 1), transpose(g, 0, 1), same(1)), 0, 1);
  });
  c.add([](GraphBuilder& b) {
    const Val x = b.input({.shape = {3, 1, 12, 12}}), g = b.input({.shape = {3, 32, 10, 10}});
    return transpose(conv(transpose(x, 0, 1), transpose(g, 0, 1), same(0)), 0, 1);
  });
  c.run(clang_only());
}

TEST(Conv, Groups) {
  Convs c;
  c.add([](GraphBuilder& b) { return conv(b.input({.shape = {2, 8, 9, 9}}), b.input({.shape = {12, 4, 3, 3}}), same(1, 1, 2)); }, false);
  c.run(clang_only());
}

}  // namespace
}  // namespace phlox
