// Indexing, scatters, sorting, searching, pooling by adaptive windows, resampling: values by hand, and gradients.
#include "op_check.h"

namespace phlox::test {

TEST(Index, GathersAndScatters) {
  const HostTensor x = random_tensor({3, 4}), i = i64s({2, 2}, {0, 2, 1, 1});
  check_gradients("gather", {x, 0, i});
  check_gradients("index_select", {x, 1, i64s({3}, {3, 0, 0})});
  check_gradients("scatter_add", {x, 0, i, random_tensor({2, 3}, 2)});
  for (const char* how : {"sum", "mean", "prod", "amax", "amin"}) {
    check_gradients("scatter_reduce.two", {x, 0, i, random_tensor({2, 2}, 3), how, true});
    check_gradients("scatter_reduce.two", {x, 0, i, random_tensor({2, 2}, 3), how, false});
  }
  check_gradients("index_add", {x, 1, i64s({2}, {1, 1}), random_tensor({3, 2}, 4), 0.5});
  check_gradients("index_put", {x, std::vector<HostTensor>{HostTensor{}, i64s({2}, {1, 3})}, random_tensor({3, 2}, 5), true});
  check_gradients("index_fill.int_Tensor", {x, 1, i64s({2}, {2, 2}), random_tensor({}, 6)});
}

TEST(Index, AdvancedIndexing) {
  const HostTensor x = f64s({2, 3}, {1, 2, 3, 4, 5, 6});
  expect_near(run("index.Tensor", {x, std::vector<HostTensor>{i64s({2}, {1, 0}), i64s({2}, {2, -1})}})[0], {2}, {6, 3});
  expect_near(run("index.Tensor", {x, std::vector<HostTensor>{HostTensor{}, i64s({1, 2}, {2, 0})}})[0], {2, 1, 2}, {3, 1, 6, 4});
  EXPECT_THROW(run("index.Tensor", {x, std::vector<HostTensor>{i64s({1}, {2})}}), Error);
  expect_near(run("scatter.src", {f64s({3}, {0, 0, 0}), 0, i64s({3}, {1, 1, 2}), f64s({3}, {7, 8, 9})})[0], {3}, {0, 8, 9});
}

TEST(Sort, OrderOfSpecialValues) {
  const double nan = NAN, inf = INFINITY;
  const auto up = run("sort", {f64s({5}, {2, nan, -inf, 2, 1})});
  expect_near(up[1], {5}, {2, 4, 0, 3, 1});
  EXPECT_TRUE(std::isnan(at(up[0], 4)));
  expect_near(run("sort", {f64s({4}, {2, nan, 3, 2}), -1, true})[1], {4}, {1, 2, 0, 3});
  expect_near(run("topk", {f64s({2, 3}, {1, 3, 2, 6, 4, 5}), 2})[0], {2, 2}, {3, 2, 6, 5});
  expect_near(run("median", {f64s({4}, {4, 1, 3, 2})})[0], {}, {2});
  EXPECT_TRUE(std::isnan(at(run("median", {f64s({3}, {1, nan, 2})})[0], 0)));
  expect_near(run("nanmedian", {f64s({4}, {4, nan, 1, 2})})[0], {}, {2});
  expect_near(run("mode", {i64s({6}, {3, 1, 3, 1, 2, 1})})[0], {}, {1});
  check_gradients("sort", {random_tensor({2, 4})});
  check_gradients("kthvalue", {random_tensor({2, 4}), 2});
}

TEST(Search, PositionsAndCounts) {
  expect_near(run("searchsorted.Tensor", {f64s({4}, {1, 2, 2, 3}), f64s({3}, {2, 0, 4})})[0], {3}, {1, 0, 4});
  expect_near(run("searchsorted.Tensor", {f64s({4}, {1, 2, 2, 3}), f64s({1}, {2}), false, true})[0], {1}, {3});
  expect_near(run("histc", {f64s({5}, {0, 1, 2, 4, 9}), 4, 0, 4})[0], {4}, {1, 1, 1, 1});
  expect_near(run("bincount", {i64s({4}, {1, 3, 1, 0}), In(), 6})[0], {6}, {1, 2, 0, 1, 0, 0});
  const auto u = run("_unique2", {i64s({5}, {3, 1, 3, 2, 1}), true, true, true});
  expect_near(u[0], {3}, {1, 2, 3});
  expect_near(u[1], {5}, {2, 0, 2, 1, 0});
  expect_near(u[2], {3}, {2, 1, 2});
  expect_near(run("unique_consecutive", {i64s({5}, {1, 1, 2, 2, 1})})[0], {3}, {1, 2, 1});
}

TEST(Spatial, FractionalWindowsAreOfEachChannel) {
  // Two channels that differ in their random number alone: starts are 0, floor(1.5 + 1.5 u) - floor(1.5 u), 3.
  const HostTensor x = f64s({1, 2, 1, 5}, {1, 2, 3, 9, 0, 1, 2, 3, 9, 0});
  const auto r = run("fractional_max_pool2d", {x, Ints{1, 2}, Ints{1, 3}, f64s({1, 2, 2}, {0, 0, 0.9, 0})});
  expect_near(r[0], {1, 2, 1, 3}, {2, 3, 9, 2, 3, 9});
  expect_near(r[1], {1, 2, 1, 3}, {1, 2, 3, 1, 2, 3});
  // u 0.4: 0, floor(2.1) - 0 = 2, 3: another start for the middle window.
  expect_near(run("fractional_max_pool2d", {x, Ints{1, 2}, Ints{1, 3}, f64s({1, 2, 2}, {0.4, 0, 0, 0})})[1], {1, 2, 1, 3}, {1, 3, 3, 1, 2, 3});
  // No samples: no random numbers to read.
  expect_near(run("fractional_max_pool2d", {f64s({0, 2, 1, 5}, {}), Ints{1, 2}, Ints{1, 3}, f64s({0, 2, 2}, {})})[0], {0, 2, 1, 3}, {});
  EXPECT_THROW(run("fractional_max_pool2d", {x, Ints{1, 2}, Ints{1, 3}, f64s({0, 2, 2}, {})}), Error);
  EXPECT_THROW(run("prim::slice", {f64s({0, 2}, {}), 0, 0, 1, 1}), Error);
  EXPECT_THROW(run("prim::slice", {f64s({3}, {1, 2, 3}), 0, 1, 3, -1}), Error);
  check_gradients("fractional_max_pool2d", {random_tensor({2, 2, 4, 5}), Ints{2, 2}, Ints{2, 3}, random_tensor({2, 2, 2}, 5, 0, 1)}, 2e-6, 1);
}

TEST(Spatial, Gradients) {
  check_gradients("adaptive_avg_pool2d", {random_tensor({1, 2, 5, 4}), Ints{3, 2}});
  check_gradients("adaptive_max_pool2d", {random_tensor({2, 5, 4}), Ints{3, 2}});
  check_gradients("upsample_bilinear2d", {random_tensor({1, 1, 3, 4}), Ints{5, 3}, false});
  check_gradients("upsample_bicubic2d", {random_tensor({1, 1, 3, 4}), Ints{5, 3}, true});
  check_gradients("_upsample_bilinear2d_aa", {random_tensor({1, 1, 6, 5}), Ints{3, 3}, false});
  check_gradients("pad", {random_tensor({2, 4}), Ints{2, 1}, "reflect"});
  check_gradients("pad", {random_tensor({2, 4}), Ints{-1, 2}, "constant", 3.0});
  check_gradients("im2col", {random_tensor({2, 4, 5}), Ints{2, 2}, Ints{1, 2}, Ints{1, 0}, Ints{2, 1}});
  check_gradients("col2im", {random_tensor({8, 4}), Ints{3, 3}, Ints{2, 2}, Ints{1, 1}, Ints{0, 0}, Ints{1, 1}});
  for (int padding = 0; padding < 3; ++padding)
    check_gradients("grid_sampler_2d", {random_tensor({1, 2, 4, 3}), random_tensor({1, 2, 2, 2}, 2, -1.3, 1.3), 0, padding, false});
}

TEST(Einsum, Letters) {
  expect_near(run("einsum", {"ii->i", std::vector<HostTensor>{f64s({2, 2}, {1, 2, 3, 4})}})[0], {2}, {1, 4});
  expect_near(run("einsum", {"ij,jk", std::vector<HostTensor>{f64s({1, 2}, {1, 2}), f64s({2, 1}, {3, 4})}})[0], {1, 1}, {11});
  check_gradients("einsum", {"b...i,b...j->...ij", std::vector<HostTensor>{random_tensor({2, 3, 2}), random_tensor({2, 3, 2}, 2)}});
  EXPECT_THROW(run("einsum", {"ij->k", std::vector<HostTensor>{f64s({1, 1}, {1})}}), Error);
}

TEST(Distance, Gradients) {
  const HostTensor x = random_tensor({3, 2}), y = random_tensor({4, 2}, 2);
  for (double p : {1.0, 2.0, 3.0}) check_gradients("cdist", {x, y, p});
  check_gradients("pdist", {x, 2.0});
  check_gradients("cosine_similarity", {x, random_tensor({3, 2}, 3)});
  check_gradients("triplet_margin_loss", {x, random_tensor({3, 2}, 4), random_tensor({3, 2}, 5)});
  check_gradients("multi_margin_loss", {random_tensor({3, 4}), i64s({3}, {0, 3, 1})});
}

}  // namespace phlox::test
