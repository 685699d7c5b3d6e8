// gradcheck: compares the gradients of a function with differences of its values, element by element, in float64.
//
//   phlox::gradcheck([](const std::vector<Tensor>& in) { return phlox::sigmoid(in[0]); },
//                    {phlox::randn({3}, f64).requires_grad_()});
//
// The function must give the same result each time. Throws Error(autograd) that names input, output and elements; or
// returns false with {.raise = false}. Refuses: inputs that require grad and are not float64.
#pragma once
#include <cmath>

#include "phlox/autograd.hpp"

namespace phlox {
inline namespace v1 {

struct GradcheckOptions {
  double eps = 1e-6, atol = 1e-5, rtol = 1e-3;
  bool raise = true;
};

namespace detail {

inline std::vector<Tensor> as_list(Tensor t) { return {std::move(t)}; }
inline std::vector<Tensor> as_list(std::vector<Tensor> l) { return l; }

// Fresh leaves with the inputs' values; element `at` of input `changed` moved by `by`.
inline std::vector<Tensor> moved_inputs(const std::vector<Tensor>& inputs, size_t changed, int64_t at, double by) {
  std::vector<Tensor> r;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const NoGrad guard;
    Tensor t = inputs[i].detach().clone();
    if (i == changed) t.data<double>()[at] += by;
    r.push_back(std::move(t));
  }
  for (size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i].requires_grad()) r[i].requires_grad_();
  return r;
}

inline std::vector<double> flat_values(const Tensor& t) { return t.detach().to(f64).to_vector<double>(); }

}  // namespace detail

template <class F>
bool gradcheck(F f, const std::vector<Tensor>& inputs, const GradcheckOptions& o = {}) {
  using detail::as_list;
  for (const Tensor& t : inputs)
    if (t.requires_grad() && (t.dtype() != f64 || !t.is_cpu()))
      throw Error(ErrorCode::invalid_argument, "gradcheck", "differences need float64 on the CPU", t.describe(), "f64");
  const std::vector<Tensor> leaves = detail::moved_inputs(inputs, inputs.size(), 0, 0);
  const std::vector<Tensor> outputs = as_list(f(leaves));
  std::vector<Tensor> wanted;
  std::vector<size_t> index;
  for (size_t i = 0; i < leaves.size(); ++i)
    if (leaves[i].requires_grad()) {
      wanted.push_back(leaves[i]);
      index.push_back(i);
    }
  // numeric[w][e][k]: how output element k (outputs one after another) moves with element e of wanted input w.
  std::vector<std::vector<std::vector<double>>> numeric;
  for (size_t w = 0; w < wanted.size(); ++w) {
    numeric.emplace_back();
    for (int64_t e = 0; e < wanted[w].numel(); ++e) {
      std::vector<double> column;
      const std::vector<Tensor> up = as_list(f(detail::moved_inputs(inputs, index[w], e, o.eps)));
      const std::vector<Tensor> down = as_list(f(detail::moved_inputs(inputs, index[w], e, -o.eps)));
      for (size_t k = 0; k < outputs.size(); ++k) {
        const std::vector<double> a = detail::flat_values(up[k]), b = detail::flat_values(down[k]);
        for (size_t j = 0; j < a.size(); ++j) column.push_back((a[j] - b[j]) / (2 * o.eps));
      }
      numeric.back().push_back(std::move(column));
    }
  }
  size_t row = 0;
  for (size_t k = 0; k < outputs.size(); ++k) {
    const int64_t n = outputs[k].numel();
    for (int64_t j = 0; j < n; ++j, ++row) {
      if (!outputs[k].requires_grad()) continue;
      Tensor seed = zeros(outputs[k].sizes(), {.dtype = outputs[k].dtype()});
      seed.view({-1}).index_put_({j}, 1);
      const std::vector<Tensor> g = grad({outputs[k]}, TensorList(wanted), {seed}, {.retain_graph = true, .allow_unused = true});
      for (size_t w = 0; w < wanted.size(); ++w) {
        const std::vector<double> analytic =
            g[w].defined() ? detail::flat_values(g[w]) : std::vector<double>(size_t(wanted[w].numel()), 0.0);
        for (size_t e = 0; e < analytic.size(); ++e) {
          const double expected = numeric[w][e][row];
          if (std::fabs(analytic[e] - expected) <= o.atol + o.rtol * std::fabs(expected)) continue;
          if (!o.raise) return false;
          throw Error(ErrorCode::autograd, "gradcheck",
                      "the gradient of output " + std::to_string(k) + " element " + std::to_string(j) + " by input " +
                          std::to_string(index[w]) + " element " + std::to_string(e) + " is wrong",
                      std::to_string(analytic[e]), std::to_string(expected) + " by differences");
        }
      }
    }
  }
  return true;
}

// The same for gradients of gradients: checks the function that computes the gradients.
template <class F>
bool gradgradcheck(F f, const std::vector<Tensor>& inputs, const GradcheckOptions& o = {}) {
  using detail::as_list;
  std::vector<Tensor> all = inputs;
  std::vector<size_t> live;  // outputs that have a gradient
  {
    const std::vector<Tensor> outputs = as_list(f(detail::moved_inputs(inputs, inputs.size(), 0, 0)));
    for (size_t k = 0; k < outputs.size(); ++k)
      if (outputs[k].requires_grad()) {
        live.push_back(k);
        all.push_back(randn(outputs[k].sizes(), {.dtype = f64}).requires_grad_());
      }
  }
  const size_t n = inputs.size();
  auto gradients = [&](const std::vector<Tensor>& in) {
    const std::vector<Tensor> outputs = as_list(f(std::vector<Tensor>(in.begin(), in.begin() + std::ptrdiff_t(n))));
    std::vector<Tensor> roots, wanted;
    for (size_t k : live) roots.push_back(outputs[k]);
    for (size_t i = 0; i < n; ++i)
      if (in[i].requires_grad()) wanted.push_back(in[i]);
    std::vector<Tensor> r;
    for (Tensor& g : grad(TensorList(roots), TensorList(wanted), TensorList(in.data() + n, live.size()),
                          {.create_graph = true, .allow_unused = true}))
      if (g.defined()) r.push_back(std::move(g));
    return r;
  };
  return gradcheck(gradients, all, o);
}

}  // namespace v1
}  // namespace phlox
