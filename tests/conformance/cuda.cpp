// Every case on a GPU against the CPU: the eager call and, in f32 and f64, its gradients. The CPU's side is the oracle: the
// kernels of the call in the interpreter, and where the dtype is narrow the same call in float64. What the CPU refuses the
// GPU refuses too, but for bad indices, which a GPU meets later. The GPU's answer is asked for bit by bit in integers, within
// the dtype's tolerance in floats.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <mutex>
#include <set>

#include "base/error.h"
#include "base/hash.h"
#include "cases.h"
#include "device/cuda/cuda_device.h"
#include "eager/interpret_kernels.h"
#include "ops/registry.h"
#include "run.h"

namespace phlox::conformance {

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

enum class Verdict : uint8_t { passed, failed, refused, left_out };

class CudaRunner {
 public:
  CudaRunner(const Case& c, const Samples& samples, uint64_t seed, Device& gpu)
      : case_(c), samples_(samples), sample_(samples.calls[c.sample]), op_(*c.op), seed_(combine(seed, hash_text(c.name()))), gpu_(gpu) {}

  Verdict run(std::string& words) {
    now_doing(cat(case_.name(), " (", sample_.text, ")"));
    std::vector<HostTensor> want;
    bool gradients = wants_gradients();
    try {
      const InterpretKernels interpreted;
      try {
        want = results(cpu_device(), gradients);
      } catch (const Error& e) {
        if (e.code() != ErrorCode::autograd) throw;
        gradients = false;  // it has none
        want = results(cpu_device(), false);
      }
    } catch (const InternalError& e) {
      words = cat("cpu: ", e.what());
      return Verdict::failed;
    } catch (const Error& e) {
      return e.code() == ErrorCode::out_of_range ? Verdict::left_out : refused(words);
    }
    try {
      const std::vector<HostTensor> got = results(gpu_, gradients);
      words = compare(got, want);
    } catch (const std::exception& e) {
      words = e.what();
    }
    return words.empty() ? Verdict::passed : Verdict::failed;
  }

 private:
  Verdict refused(std::string& words) {
    try {
      results(gpu_, false);
      words = "the CPU refuses it, the GPU does not";
    } catch (const InternalError& e) {
      words = cat("refusal: ", e.what());
    } catch (const Error&) {
      return Verdict::refused;
    }
    return Verdict::failed;
  }
  // Results, then gradients of the sum of weighted results.
  std::vector<HostTensor> results(Device& device, bool gradients) {
    Call call(sample_, case_.dtype, case_.layout, seed_, device);
    std::vector<Tensor> wrt;
    if (gradients)
      for (size_t k = 0; k < call.tensors().size(); ++k) {
        const Tensor& t = call.tensors()[k];
        if (call.is_constant(k) || t->dtype != case_.dtype || !has_gradient(t->dtype) || t->numel() == 0) continue;
        t->requires_grad = true;
        wrt.push_back(t);
      }
    if (is_random(op_)) set_random_state(device, {77, 5});
    const Tensors out = call_op(op_, call.args(), &device);
    std::vector<HostTensor> r;
    for (const Tensor& t : out) r.push_back(to_host(t));
    forward_ = out.size();
    std::vector<Tensor> roots, weights;
    for (size_t i = 0; i < out.size() && !wrt.empty(); ++i) {
      if (!out[i]->requires_grad || out[i]->dtype != case_.dtype) continue;
      roots.push_back(out[i]);
      weights.push_back(stored(fill_sample({.shape = out[i]->sizes, .low = 0.5, .high = 1.5}, out[i]->dtype, seed_ + i), Layout::contiguous, device));
    }
    if (roots.empty()) return r;
    for (const Tensor& g : run_backward(roots, weights, false, false, &wrt)) r.push_back(g ? to_host(g) : HostTensor{});
    return r;
  }
  bool wants_gradients() const {
    return samples_.gradients && samples_.values && (case_.dtype == DType::f32 || case_.dtype == DType::f64) && case_.layout != Layout::empty &&
           case_.layout != Layout::expanded && !is_host_op(op_);
  }
  std::string compare(const std::vector<HostTensor>& got, const std::vector<HostTensor>& want) {
    if (got.size() != want.size()) return cat(got.size(), " results, expected ", want.size());
    double scale = 0;
    Call operands(sample_, case_.dtype, case_.layout, seed_);
    for (const HostTensor& h : operands.hosts()) scale = std::max(scale, largest(h));
    for (size_t i = 0; i < got.size(); ++i) {
      const std::string which = i < forward_ ? cat("result ", i, ": ") : cat("gradient ", i - forward_, ": ");
      if (got[i].dtype != want[i].dtype || got[i].shape != want[i].shape) return cat(which, text_of(got[i]), ", expected ", text_of(want[i]));
      if (!got[i].data || (!samples_.values && !is_random(op_))) continue;
      double t = tolerance_of(got[i].dtype) * samples_.tolerance;
      if (is_floating(got[i].dtype) && t <= 0) t = 1e-10 * samples_.tolerance;
      if (i >= forward_) t *= 10;
      const std::string d = t > 0 ? distance(got[i], want[i], t, scale) : difference(got[i], want[i]);
      if (!d.empty()) return which + d;
    }
    return {};
  }
  static bool is_floating(DType d) { return is_float(d) || is_complex(d); }

  const Case case_;
  const Samples& samples_;
  const Sample& sample_;
  const OpInfo& op_;
  const uint64_t seed_;
  Device& gpu_;
  size_t forward_ = 0;
};

}  // namespace

int64_t run_cuda(const Options& o) {
  if (cuda::cuda_device_count() == 0) {
    std::printf("no GPU here\n");
    return -1;
  }
  Device& gpu = cuda_device(0);
  const double start = now();
  Cases chosen = choose_cases(o);
  std::mutex mutex;
  int64_t counts[4] = {};
  std::atomic<bool> lost{false};
  std::set<const OpInfo*> worked;
  const auto run = [&](const Case& c) {
    if (lost || now() - start > o.seconds) return;
    std::string words;
    const Verdict v = CudaRunner(c, chosen.samples.at(c.op), o.seed, gpu).run(words);
    const std::lock_guard lock(mutex);
    ++counts[int(v)];
    if (v == Verdict::passed) worked.insert(c.op);
    if (v == Verdict::failed) std::printf("%s: %s\n", c.name().c_str(), words.c_str());
    std::fflush(stdout);
    if (words.find("context is lost") != std::string::npos) lost = true;
  };
  std::vector<Case> plain, random;
  for (const Case& c : chosen.cases) (is_random(*c.op) ? random : plain).push_back(c);
  // Many threads wait for NVRTC at the same time.
  const int threads = o.threads > 0 ? o.threads : int(std::max(1u, std::thread::hardware_concurrency()));
  on_threads(threads, plain.size(), [&](size_t i) { run(plain[i]); });
  for (const Case& c : random) run(c);  // the generator's state is one
  const int64_t done = counts[0] + counts[1] + counts[2] + counts[3];
  std::printf("cuda: %zu ops, %lld of %zu cases in %.1f s: %lld passed (%zu ops), %lld refused as on the CPU, %lld left out, %lld failed\n",
              chosen.samples.size(), (long long)done, chosen.cases.size(), now() - start, (long long)counts[0], worked.size(),
              (long long)counts[2], (long long)counts[3], (long long)counts[1]);
  return counts[1];
}

}  // namespace phlox::conformance
