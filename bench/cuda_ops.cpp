// rows-cuda, cumsum-cuda, attention-cuda: eager calls on large bfloat16 tensors of a GPU. Seconds of one call.
//   OP-LENGTH, OP-grad-LENGTH   2^26 elements in rows of LENGTH: softmax, layer_norm, rms_norm, gelu, row_sum, column_sum,
//                               cross_entropy; with -grad the backward call alone
//   cumsum-last, cumsum-first   of 8192 x 8192, along either axis
//   causal-WIDTH-LENGTH[-grad]  attention of heads of WIDTH over LENGTH tokens, 16 times 1024 of them in all
#include <array>

#include "bench/cuda.h"

namespace {

using phlox::Tensor;
using Call = std::function<Tensor(const Tensor&)>;
constexpr int64_t elements = int64_t(1) << 26;
constexpr size_t turns = 3;

bench::Round timed(std::function<void(size_t)> f) {
  return [f, i = size_t(0)]() mutable { return bench::per_call_cuda([&] { f(i++ % turns); }); };
}

// Calls of f on inputs that take turns; with `grad` the gradients with respect to x and `more`.
bench::Round calls(const std::vector<Tensor>& x, Call f, bool grad, const std::vector<Tensor>& more = {}) {
  if (!grad) return timed([=](size_t i) {
    const phlox::NoGrad guard;
    bench::keep(f(x[i]));
  });
  std::vector<Tensor> y, g;
  std::vector<std::vector<Tensor>> wrt;
  for (const Tensor& t : more) t.requires_grad_();
  for (const Tensor& t : x) {
    t.requires_grad_();
    y.push_back(f(t));
    g.push_back(phlox::ones_like(y.back()));
    wrt.push_back({t});
    wrt.back().insert(wrt.back().end(), more.begin(), more.end());
  }
  return timed([=](size_t i) { bench::keep(phlox::grad({y[i]}, wrt[i], {g[i]}, {.retain_graph = true})); });
}

bench::Round rows(const std::string& op, int64_t n, bool grad) {
  const int64_t m = elements / n;
  std::vector<Tensor> x;
  for (size_t i = 0; i < turns; ++i) x.push_back(bench::random_on_gpu({m, n}, phlox::bf16));
  const Tensor w = bench::random_on_gpu({n}, phlox::bf16), b = bench::random_on_gpu({n}, phlox::bf16);
  if (op == "softmax") return calls(x, [](const Tensor& t) { return phlox::softmax(t, -1); }, grad);
  if (op == "layer_norm") return calls(x, [=](const Tensor& t) { return phlox::layer_norm(t, {n}, w, b); }, grad, {w, b});
  if (op == "rms_norm") return calls(x, [=](const Tensor& t) { return phlox::rms_norm(t, {n}, w); }, grad, {w});
  if (op == "gelu") return calls(x, [](const Tensor& t) { return phlox::gelu(t); }, grad);
  if (op == "row_sum" && !grad) return calls(x, [](const Tensor& t) { return phlox::sum(t, {-1}); }, false);
  if (op == "column_sum" && !grad) return calls(x, [](const Tensor& t) { return phlox::sum(t, {0}); }, false);
  if (op != "cross_entropy") return nullptr;
  const Tensor target = phlox::randint(n, {m}, {.device = "cuda"});
  return calls(x, [=](const Tensor& t) { return phlox::cross_entropy_loss(t, target); }, grad);
}

bench::Round attention(int64_t width, int64_t length, bool grad) {
  const int64_t heads = 768 / width, batch = 16 * 1024 / length;
  std::array<Tensor, turns> q, k, v;
  std::vector<Tensor> y, g;
  for (size_t i = 0; i < turns; ++i)
    for (auto* t : {&q, &k, &v}) (*t)[i] = bench::random_on_gpu({batch, heads, length, width}, phlox::bf16);
  const auto call = [=](size_t i) { return phlox::scaled_dot_product_attention(q[i], k[i], v[i], {}, 0, true); };
  if (!grad) return timed([=](size_t i) {
    const phlox::NoGrad guard;
    bench::keep(call(i));
  });
  for (size_t i = 0; i < turns; ++i) {
    for (auto* t : {&q, &k, &v}) (*t)[i].requires_grad_();
    y.push_back(call(i));
    g.push_back(bench::random_on_gpu({batch, heads, length, width}, phlox::bf16));
  }
  return timed([=](size_t i) { bench::keep(phlox::grad({y[i]}, {q[i], k[i], v[i]}, {g[i]}, {.retain_graph = true})); });
}

bench::Round prepare(std::string line) {
  const bool grad = line.find("-grad") != std::string::npos;
  if (grad) line.erase(line.find("-grad"), 5);
  if (line == "cumsum-last" || line == "cumsum-first") {
    std::vector<Tensor> x;
    for (size_t i = 0; i < turns; ++i) x.push_back(bench::random_on_gpu({8192, 8192}, phlox::bf16));
    return calls(x, [dim = line == "cumsum-last" ? 1 : 0](const Tensor& t) { return phlox::cumsum(t, dim); }, false);
  }
  const auto [what, length] = bench::sized_name(line);
  if (length <= 0) return nullptr;
  if (what == "causal-64" || what == "causal-128") return attention(bench::sized_name(what).size, length, grad);
  return rows(what, length, grad);
}

}  // namespace

int main() { return bench::serve(prepare); }
