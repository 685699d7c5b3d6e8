// Every case through every engine:
//   oracle     the graph interpreter on contiguous tensors, exact: what the ops mean
//   eager      call_op on tensors in the case's layout, through generated kernels: the oracle's bits
//   compiled   the same call as a graph of known sizes and strides, compiled: eager's bits (this is what strict promises;
//              for one op there is no fusion that could round otherwise)
//   traced     a part of the cases through compile() itself
//   doubles    low precision against the same values in float64, within the dtype's tolerance
//   forms      the in-place and out= forms give the functional result
//   gradients  in float64 against finite differences along a random direction
// Kernels of all cases are asked for together before any case runs.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <mutex>
#include <set>

#include "base/error.h"
#include "base/hash.h"
#include "cases.h"
#include "compile/compile.h"
#include "eager/trace.h"
#include "ops/forms.h"
#include "ops/interpret.h"
#include "ops/registry.h"
#include "run.h"
#include "toolchain/kernel_store.h"

namespace phlox::conformance {

namespace {

struct Outcome {
  std::vector<std::string> failures;
  bool refused = false;        // the op does not take this dtype or these shapes, and says so
  bool gradient = false;
  std::string refusal;
};

class Runner {
 public:
  Runner(const Case& c, const Samples& samples, uint64_t seed)
      : case_(c), samples_(samples), sample_(samples.calls[c.sample]), op_(*c.op), seed_(combine(seed, hash_text(c.name()))),
        call_(sample_, c.dtype, c.layout, seed_) {}

  // Before kernels are there: finds out whether the case works, and what it will launch.
  void prepare(std::vector<KernelText>& texts) {
    if (is_host_op(op_)) return;
    attempt("graph", [&] {
      DimEnv env;
      DimEnvScope scope(env);
      Graph g = graph_of(op_, call_, true);
      if (case_.layout != Layout::scalar && case_.layout != Layout::empty) {
        program_ = compile_graph(g, cpu_device().target());
        take(*program_, texts);
      }
      graph_ = std::make_unique<Graph>(graph_of(op_, call_, false));
    });
    if (done()) return;
    attempt("signature", [&] {
      const std::vector<Arg> args = call_.args();
      const CallKey key = make_key(op_, args);
      const Ref<Signature> s = find_signature(op_, args, key);
      take(s->graph, s->env, texts);
      if (!wants_gradients()) return;
      std::vector<bool> needs;
      size_t k = 0;
      for (TensorImpl* t : key.tensors) needs.push_back(has_gradient(t->dtype) && !call_.is_constant(k++));
      needs.resize(needs.size() + key.numbers.size() + s->random);
      Recorded& r = s->recorded(needs, key.symbols);
      take(r.forward->graph, r.env, texts);
      take(r.backward->graph, r.env, texts);
    });
  }

  void run() {
    if (outcome.refused) check_refusal();
    if (outcome.refused || !outcome.failures.empty()) return;
    attempt("eager", [&] { eager_ = call_eager(call_); });
    if (done()) return;
    if (is_host_op(op_)) {
      attempt("layout", [&] {
        Call dense(sample_, case_.dtype, Layout::contiguous, seed_);
        if (case_.layout == Layout::transposed || case_.layout == Layout::sliced) same("eager and contiguous", eager_, call_eager(dense));
      });
      return;
    }
    attempt("oracle", [&] {
      try {
        oracle_ = interpret_graph(*graph_, oracle_inputs(op_, call_, random_));
      } catch (const Error& e) {
        // An index into a dimension of size 0 or 1 does not show in an address that is computed in one piece: it may pass.
        if (e.code() != ErrorCode::out_of_range || case_.layout < Layout::empty) throw;
        outcome.refused = true;
        return;
      }
      if (!bits_) same_types(oracle_);
      else if (!is_reduced_float(case_.dtype)) same("eager and oracle", eager_, oracle_);
      else near_oracle();  // which rounds after every primitive
    });
    if (program_ && !done()) attempt("compiled", [&] { compiled(); });
    if (!done() && traced()) attempt("traced", [&] { trace(); });
    // Means of nothing and variances of equal elements are rounding alone.
    const bool degenerate = is_reduced_float(case_.dtype) && (case_.layout == Layout::empty || case_.layout == Layout::expanded);
    if (!done() && samples_.values && tolerance_of(case_.dtype) > 0 && !degenerate) attempt("doubles", [&] { doubles(); });
    if (!done() && bits_) attempt("in place", [&] { in_place(); });
    if (!done() && bits_) attempt("out=", [&] { into_given(); });
    if (!done() && wants_gradients()) attempt("gradient", [&] { gradients(); });
  }

  Outcome outcome;

 private:
  // An Error in the first attempts means that the op does not take these arguments; later it is a failure.
  template <class F>
  void attempt(const char* what, F&& f) {
    now_doing(cat(case_.name(), " (", sample_.text, "): ", what));
    try {
      f();
    } catch (const InternalError& e) {
      outcome.failures.push_back(cat(what, ": ", e.what()));
    } catch (const Error& e) {
      const bool may_refuse = std::string_view(what) == "graph" || std::string_view(what) == "signature" || std::string_view(what) == "eager";
      if (may_refuse && e.code() != ErrorCode::internal) { outcome.refused = true; outcome.refusal = e.what(); }
      else outcome.failures.push_back(cat(what, ": ", e.what()));
    } catch (const std::exception& e) {
      outcome.failures.push_back(cat(what, ": ", e.what()));
    }
  }
  // What a user hears when an op does not take a dtype or a shape.
  void check_refusal() {
    now_doing(cat(case_.name(), " (", sample_.text, "): refusal"));
    try {
      call_eager(call_);  // some ops run where they make no graph
    } catch (const InternalError& e) {
      fail("refusal", e.what());
    } catch (const Error& e) {
      const ErrorParts& p = e.parts();
      if (p.op.empty() || p.fact.empty() || p.got.empty() || p.expected.empty() || p.remedy.empty()) fail("refusal", cat("says too little: ", e.what()));
    } catch (const std::exception& e) {
      fail("refusal", e.what());
    }
  }
  bool done() const { return outcome.refused || !outcome.failures.empty(); }
  void fail(const char* what, const std::string& text) { outcome.failures.push_back(cat(what, ": ", text)); }

  static void take(const Program& p, std::vector<KernelText>& texts) {
    for (const Program::Kernel& k : p.kernels) texts.push_back({k.source, k.entry});
  }
  static void take(const Graph& g, const DimEnv& env, std::vector<KernelText>& texts) {
    DimEnv scratch = env;
    DimEnvScope scope(scratch);
    take(*compile_graph(g, cpu_device().target()), texts);
  }

  std::vector<HostTensor> call_eager(Call& call) {
    if (is_random(op_)) set_random_state(cpu_device(), random_);
    return hosts_of(call_op(op_, call.args(), &cpu_device()));
  }
  static std::vector<HostTensor> hosts_of(std::span<const Tensor> tensors) {
    std::vector<HostTensor> r;
    for (const Tensor& t : tensors) r.push_back(to_host(t));
    return r;
  }
  void same(const char* what, const std::vector<HostTensor>& a, const std::vector<HostTensor>& b) {
    if (a.size() != b.size()) return fail(what, cat(a.size(), " and ", b.size(), " results"));
    for (size_t i = 0; i < a.size(); ++i)
      if (const std::string d = difference(a[i], b[i]); !d.empty()) return fail(what, cat("result ", i, ": ", d));
  }
  void same_types(const std::vector<HostTensor>& b) {
    for (size_t i = 0; i < eager_.size(); ++i)
      if (eager_[i].dtype != b[i].dtype || eager_[i].shape != b[i].shape) fail("types", cat(text_of(eager_[i]), " and ", text_of(b[i])));
  }

  void near_oracle() {
    same_types(oracle_);
    for (size_t i = 0; i < eager_.size() && !done(); ++i)
      if (const double t = tolerance_of(eager_[i].dtype) * samples_.tolerance; t > 0 && eager_[i].shape == oracle_[i].shape)
        if (const std::string d = distance(eager_[i], oracle_[i], t, magnitude()); !d.empty()) fail("eager and oracle", cat("result ", i, ": ", d));
  }
  // Of the largest operand: what rounding is in proportion to where results cancel.
  double magnitude() {
    double m = 0;
    for (const HostTensor& h : call_.hosts()) m = std::max(m, largest(h));
    return m;
  }

  void compiled() {
    Ref<Executable> e = make_executable(program_, cpu_device());
    const Executable::Plan& plan = e->plan({});
    std::vector<void*> in, out;
    std::vector<int64_t> numbers;
    std::vector<Tensor> results;
    for (const Tensor& t : call_.tensors()) in.push_back(t->bytes());
    int64_t state[2] = {int64_t(random_.seed), int64_t(random_.offset)};
    if (is_random(op_)) in.push_back(state);
    numbers.resize(in.size());
    for (size_t i = 0; i < plan.output_shapes.size(); ++i) {
      results.push_back(make_tensor(cpu_device(), e->program().outputs[i].dtype, plan.output_shapes[i]));
      out.push_back(results.back()->bytes());
    }
    e->run(plan, in, numbers, out, 0);
    // Complex results are pairs to a program.
    for (size_t i = 0; i < results.size(); ++i)
      if (results[i]->dtype != eager_[i].dtype && is_complex(eager_[i].dtype)) {
        results[i]->dtype = eager_[i].dtype;
        results[i]->sizes.pop_back();
        results[i]->strides = contiguous_strides(results[i]->sizes);
      }
    if (bits_) same("compiled and eager", hosts_of(results), eager_);
  }

  bool traced() const { return !is_random(op_) && bits_ && call_.has_tensors() && seed_ % 16 == 0; }
  void trace() {
    CompiledFunction f([&](const std::vector<Tensor>& in) {
      const std::vector<Arg> args = call_.args([&](uint32_t k) { return tensor_arg(in[k]); });
      const Tensors out = call_op(op_, args, &cpu_device());
      return std::vector<Tensor>(out.begin(), out.end());
    });
    same("traced and eager", hosts_of(f.call(call_.tensors())), eager_);
  }

  // The same call in float64, by the oracle.
  void doubles() {
    const DType wide = is_complex(case_.dtype) ? DType::c128 : DType::f64;
    Call call(with_layout(sample_, case_.layout), call_, wide);
    DimEnv env;
    DimEnvScope scope(env);
    const std::vector<HostTensor> want = interpret_graph(graph_of(op_, call, false), oracle_inputs(op_, call, random_));
    for (size_t i = 0; i < want.size(); ++i) {
      const double t = tolerance_of(eager_[i].dtype) * samples_.tolerance;
      if (t <= 0) continue;
      if (const std::string d = distance(eager_[i], want[i], t, magnitude()); !d.empty()) return fail("eager and float64", cat("result ", i, ": ", d));
    }
  }

  void in_place() {
    if (!has_form(op_, Forms::in_place) || call_.tensors().empty() || sample_.args[0].kind != SampleArg::Kind::tensor) return;
    if (case_.layout == Layout::expanded || eager_.size() != 1) return;
    const HostTensor& self = call_.hosts()[0];
    if (eager_[0].dtype != self.dtype || eager_[0].shape != self.shape) return;
    Call call(sample_, case_.dtype, case_.layout, seed_);
    if (is_random(op_)) set_random_state(cpu_device(), random_);
    call_in_place(op_, call.args());
    same("in place and functional", {to_host(call.tensors()[0])}, eager_);
  }

  void into_given() {
    if (!has_form(op_, Forms::out)) return;
    std::vector<Tensor> out;
    for (const HostTensor& h : eager_) {
      HostTensor other = make_host_tensor(h.dtype, h.shape);
      if (other.bytes()) std::fill_n(other.as<char>(), size_t(other.bytes()), char(1));
      out.push_back(stored(other, seed_ % 2 ? Layout::sliced : Layout::transposed));
    }
    if (is_random(op_)) set_random_state(cpu_device(), random_);
    call_out(op_, call_.args(), out);
    same("out= and functional", hosts_of(out), eager_);
  }

  bool wants_gradients() const {
    return samples_.gradients && (case_.dtype == DType::f64 || case_.dtype == DType::c128) &&
           case_.layout != Layout::empty && case_.layout != Layout::expanded &&  
           !is_host_op(op_);
  }
  // The change of sum(cotangent * results) along a direction, by the tape and by differences of differences.
  void gradients() {
    std::vector<Tensor> wrt;
    std::vector<size_t> which;
    Call call(sample_, case_.dtype, case_.layout, seed_);
    for (size_t k = 0; k < call.tensors().size(); ++k) {
      const Tensor& t = call.tensors()[k];
      if (call.is_constant(k) || dtype_bytes(real_dtype(t->dtype)) != 8 || !has_gradient(t->dtype) || t->numel() == 0) continue;
      t->requires_grad = true;
      wrt.push_back(t);
      which.push_back(k);
    }
    if (wrt.empty()) return;
    const Tensors results = call_op(op_, call.args(), &cpu_device());
    std::vector<Tensor> roots, cotangents;
    std::vector<HostTensor> weights(results.size());
    for (size_t i = 0; i < results.size(); ++i) {
      if (!results[i]->requires_grad || real_dtype(results[i]->dtype) != DType::f64) continue;
      weights[i] = fill_sample({.shape = results[i]->sizes, .low = 0.5, .high = 1.5}, results[i]->dtype, seed_ + i);
      roots.push_back(results[i]);
      cotangents.push_back(stored(weights[i], Layout::contiguous));
    }
    if (roots.empty()) return;
    outcome.gradient = true;
    const std::vector<Tensor> grads = run_backward(roots, cotangents, false, false, &wrt);
    std::vector<HostTensor> directions;
    double slope = 0, size = 0;
    for (size_t w = 0; w < wrt.size(); ++w) {
      directions.push_back(fill_sample({.shape = wrt[w]->sizes, .low = -1, .high = 1}, wrt[w]->dtype, seed_ + 100 + w));
      if (!grads[w]) continue;
      const HostTensor g = to_host(grads[w]);
      if (g.shape != wrt[w]->sizes) return fail("gradient", cat("of shape ", text_of(g)));
      const int64_t n = g.numel() * (is_complex(g.dtype) ? 2 : 1);
      for (int64_t i = 0; i < n; ++i) {
        const double term = element(g, i) * element(directions.back(), i);
        slope += term;
        size += std::fabs(term);
      }
    }
    auto loss = [&](double h) {
      std::vector<Tensor> moved = call_.tensors();
      for (size_t w = 0; w < wrt.size(); ++w) {
        HostTensor x = converted(call_.hosts()[which[w]], wrt[w]->dtype);
        const int64_t n = x.numel() * (is_complex(x.dtype) ? 2 : 1);
        for (int64_t i = 0; i < n; ++i) x.as<double>()[i] += h * directions[w].as<double>()[i];
        moved[which[w]] = stored(x, Layout::contiguous);
      }
      const Tensors y = call_op(op_, call_.args([&](uint32_t k) { return tensor_arg(moved[k]); }), &cpu_device());
      double s = 0;
      for (size_t i = 0; i < y.size(); ++i) {
        if (!weights[i].owner) continue;
        const HostTensor v = to_host(y[i]);
        const int64_t n = v.numel() * (is_complex(v.dtype) ? 2 : 1);
        for (int64_t j = 0; j < n; ++j) s += element(v, j) * element(weights[i], j);
      }
      return s;
    };
    // Differences of differences; a smaller step where a larger one runs into a corner.
    double want = 0;
    for (const double h : {1e-3, 1e-4, 1e-5}) {
      const double coarse = (loss(h) - loss(-h)) / (2 * h), fine = (loss(h / 2) - loss(-h / 2)) / h;
      want = (4 * fine - coarse) / 3;
      if (!std::isfinite(want) && !std::isfinite(slope)) return;
      if (std::fabs(slope - want) <= 1e-6 * std::max({std::fabs(want), size, 1e-2})) return;
    }
    fail("gradient", cat(slope, " along a direction, finite differences ", want));
  }

  const Case case_;
  const Samples& samples_;
  const Sample& sample_;
  const OpInfo& op_;
  const uint64_t seed_;
  Call call_;
  RandomState random_{77, 5};
  const bool bits_ = samples_.values || is_random(op_);
  std::unique_ptr<Graph> graph_;
  Ref<Program> program_;
  std::vector<HostTensor> eager_, oracle_;
};

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

int64_t run_cases(const Options& o) {
  const int threads = o.threads > 0 ? o.threads : int(std::max(1u, std::thread::hardware_concurrency()));
  const double start = now();
  auto [samples, cases, sample_count, failed] = choose_cases(o);
  std::vector<std::unique_ptr<Runner>> runners(cases.size());
  std::vector<std::vector<KernelText>> texts(cases.size());
  on_threads(threads, cases.size(), [&](size_t i) {
    runners[i] = std::make_unique<Runner>(cases[i], samples.at(cases[i].op), o.seed);
    runners[i]->prepare(texts[i]);
  });
  std::vector<KernelText> all;
  std::set<std::string> seen;
  for (auto& v : texts)
    for (KernelText& t : v) if (seen.insert(t.entry).second) all.push_back(std::move(t));
  const double prepared = now();
  try {
    kernel_store().get(all, cpu_device().target());
  } catch (const Error& e) {
    if (e.code() != ErrorCode::not_found) { std::printf("kernels: %s\n", e.what()); ++failed; }
  }
  const double compiled = now();
  std::vector<size_t> plain, random;
  for (size_t i = 0; i < cases.size(); ++i) (is_random(*cases[i].op) ? random : plain).push_back(i);
  on_threads(threads, plain.size(), [&](size_t i) { runners[plain[i]]->run(); });
  for (size_t i : random) runners[i]->run();  // the generator's state is one
  int64_t refused = 0, gradients = 0;
  std::set<const OpInfo*> worked, differentiated;
  for (size_t i = 0; i < cases.size(); ++i) {
    const Outcome& r = runners[i]->outcome;
    for (const std::string& f : r.failures) std::printf("%s: %s\n", cases[i].name().c_str(), f.c_str());
    if (o.verbose && r.refused) std::printf("%s refused: %s\n", cases[i].name().c_str(), r.refusal.c_str());
    failed += !r.failures.empty();
    refused += r.refused;
    gradients += r.gradient;
    if (!r.refused && r.failures.empty()) worked.insert(cases[i].op);
    if (r.gradient) differentiated.insert(cases[i].op);
  }
  if (o.fraction >= 1 && o.only.empty())
    for (auto& [op, s] : samples)
      if (!worked.count(op)) { std::printf("%s: no case works\n", op->schema.full_name().c_str()); ++failed; }
  std::printf("%zu ops, %lld samples, %zu cases (%lld refused by their op, %lld with gradients of %zu ops), %zu kernels; "
              "%.1f s to plan, %.1f s to compile, %.1f s to run; %lld failed\n",
              samples.size(), (long long)sample_count, cases.size(), (long long)refused, (long long)gradients, differentiated.size(),
              all.size(), prepared - start, compiled - prepared, now() - compiled, (long long)failed);
  return failed;
}

}  // namespace phlox::conformance
