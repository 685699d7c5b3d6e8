// Promises of parse_graph under any text: no crash, every refusal is Error(invalid_argument) of bounded text that names its
// place, and what is accepted is well formed and prints to a text that reads back as the same graph.
#include <algorithm>
#include <cstring>
#include <random>

#include "base/error.h"
#include "fuzz_target.h"
#include "graph/verify.h"
#include "ops/decompose.h"
#include "ops/prims.h"
#include "ops/registry.h"

namespace phlox {

static const char* const handwritten[] = {
    "graph(%0: f32[s0,4], %1: f32[4]) {\n  %2 = prim::broadcast(%1, [s0, 4], [1]) : f32[s0,4]\n  %3 = prim::add(%0, %2) : "
    "f32[s0,4]\n  return %3\n}\n",
    "graph(%0: f32[2,3]{1,2}, %1: number f64?[], %2: i64[2]@cuda) {\n  return %0, %1\n}\n",
    "graph(%0: f32[2,3]) {\n  %1 = prim::permute(%0, [1, 0]) : f32[3,2]\n  %2 = prim::reduce(%1, [0], 'max') : f32[2]\n  %3 = "
    "prim::full([2], nan(0xfff8000000000001), dtype:f32) : f32[2]\n  return %2, %3\n}\n",
    "graph(%0: i64[2]) {\n  %1 = prim::random(%0, [3, 4], 0) : i64[3,4]\n  %2 = prim::slice(%1, 1, 1, 2, 1) : i64[3,2]\n  %3 = "
    "prim::pad(%2, [0, 1], [1, 0], [0, 0]) : i64[4,3]\n  %4 = prim::cat([%2, %2], 0) : i64[6,2]\n  return %3, %4\n}\n",
};

// A graph that has most primitives in it.
static Graph wide() {
  Graph g;
  GraphBuilder b(g);
  TensorType t;
  t.shape = {4, 6};
  const Val x = b.input(t), y = b.input(t);
  TensorType rows;
  rows.dtype = DType::i64;
  rows.shape = {3};
  const Val index = b.input(rows);
  const Val picked = gather(x, {index}, {0});
  const Val put = scatter(x, {index}, {0}, picked, ScatterMode::add);
  const Val product = contract(x, y, {}, {}, {1}, {1});
  const Val windows = unfold(x, 1, 3, 2);
  const Val back = fold(windows, 1, 6, 2);
  const Val diag = diag_embed(diagonal(x, 0, 1, 1), 1, 0, 1);
  const Val strided = as_strided(x, {2, 2}, {6, 1}, Dim(1));
  const Val sums = scan(reshape(x, {2, 12}), 1, "sum");
  const Val flags = map(Scalar::lt, x, y);
  const Val chosen = map(Scalar::select, flags, x, y);
  const Val outputs[] = {put, product, back, diag, strided, sums, chosen, cast(flags, DType::bf16), iota(b, {2, 3}, 1, DType::i32)};
  b.outputs(outputs);
  return g;
}

std::vector<std::string> fuzz_seeds() {
  std::vector<std::string> seeds(std::begin(handwritten), std::end(handwritten));
  seeds.push_back(print_graph(wide()));
  return seeds;
}

static void require(bool ok, const char* promise) {
  if (!ok) fuzz_failure(promise);
}

static void check_accepted(const Graph& g) {
  require(graph_defect(g).text.empty(), "what is accepted is well formed");
  const Graph again = parse_graph(print_graph(g), find_op);
  require(same_graph(again, g) && hash_of(again) == hash_of(g), "everything reads back");
}

// Moves whole lines and words about, or puts another op's name, which bytes alone seldom do.
static std::string mutate(const std::string& text, unsigned seed) {
  std::mt19937 rng(seed);
  const auto words = words_of(text, rng() % 4 == 0 ? "\n" : " \n,()[]");
  if (words.empty()) return text;
  const auto [b, n] = words[rng() % words.size()];
  std::string with;
  switch (rng() % 4) {
    case 0: {
      static const std::vector<const OpInfo*> ops = all_ops();
      with = ops[rng() % ops.size()]->schema.full_name();
      break;
    }
    case 1: {
      static const char* const odd[] = {"0", "-1", "7", "None", "True", "1.5", "''", "s1", "[]", "4611686018427387904", "%0", "dtype:i8"};
      with = odd[rng() % std::size(odd)];
      break;
    }
    default: {
      const auto [b2, n2] = words[rng() % words.size()];
      with = text.substr(b2, n2);
    }
  }
  return text.substr(0, b) + with + text.substr(b + n);
}

}  // namespace phlox

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace phlox;
  check_text_parser(data, size, "parse_graph", [](const std::string& text) { check_accepted(parse_graph(text, find_op)); });
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  if (seed % 4 == 0) return LLVMFuzzerMutate(data, size, max_size);
  return phlox::mutate_text(data, size, max_size, [&](const std::string& text) {
    std::string changed = phlox::mutate(text, seed);
    for (unsigned more = seed / 4 % 3; more > 0; --more) changed = phlox::mutate(changed, seed + more);
    return changed;
  });
}
