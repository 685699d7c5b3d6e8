// A conformance case: one call of one op, in one dtype, with tensors stored in one way. Made from the registry's
// samples alone, so an op that is added is tested without a line here.
#pragma once
#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "eager/call.h"
#include "ops/sample.h"
#include "run.h"

namespace phlox::conformance {

enum class Layout : uint8_t { contiguous, transposed, sliced, expanded, empty, scalar };
constexpr int layout_count = 6;
constexpr const char* layout_names[layout_count] = {"contiguous", "transposed", "sliced", "expanded", "empty", "0-dim"};

constexpr DType tested_dtypes[] = {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i64, DType::i32,
                                   DType::i16, DType::i8,  DType::u8,   DType::boolean, DType::c64, DType::c128};

struct Case {
  const OpInfo* op;
  uint32_t sample;
  DType dtype;
  Layout layout;
  std::string name() const;
};

// The cases that the options ask for, in the registry's order; an op without samples is a failure.
struct Cases {
  std::map<const OpInfo*, Samples> samples;
  std::vector<Case> cases;
  int64_t sample_count = 0, failed = 0;
};
Cases choose_cases(const Options& o);

double tolerance_of(DType d);  // relative; negative: bits are asked for
bool is_host_op(const OpInfo& op);
bool is_random(const OpInfo& op);

template <class F>
void on_threads(int threads, size_t n, F&& f) {
  std::atomic<size_t> next{0};
  auto work = [&] { for (size_t i; (i = next++) < n;) f(i); };
  std::vector<std::thread> pool;
  for (int t = 1; t < threads; ++t) pool.emplace_back(work);
  work();
  for (std::thread& t : pool) t.join();
}

// The arguments of a case: host tensors as the oracle takes them, and the same values as tensors in the case's layout.
class Call {
 public:
  Call(const Sample& sample, DType dtype, Layout layout, uint64_t seed, Device& device = cpu_device());
  Call(const Sample& sample, const Call& values_of, DType dtype);  // the same values, converted: contiguous
  std::vector<HostTensor>& hosts() { return call_.tensors; }
  std::vector<Tensor>& tensors() { return tensors_; }
  bool has_tensors() const { return !tensors_.empty(); }
  bool is_constant(size_t k) const { return call_.constant[k]; }
  bool varies(size_t k) const { return call_.varies[k]; }
  std::vector<Arg> args() { return call_.args([&](uint32_t k) { return tensor_arg(tensors_[k]); }); }
  template <class F>
  std::vector<Arg> args(F&& tensor) { return call_.args(std::forward<F>(tensor)); }

 private:
  SampleCall call_;
  std::vector<Tensor> tensors_;
};

Sample with_layout(const Sample& s, Layout layout);                  // shapes of the empty and 0-dim layouts
// On the device; expanded: only the first of dim 0 counts.
Tensor stored(const HostTensor& h, Layout layout, Device& device = cpu_device());
HostTensor to_host(const Tensor& t);
HostTensor converted(const HostTensor& h, DType to);
double element(const HostTensor& t, int64_t i);                      // complex ones as pairs
std::string difference(const HostTensor& a, const HostTensor& b);    // of bits, NaNs being equal; empty: none
double largest(const HostTensor& t);                                 // of the finite magnitudes
// Relative to each element, to the largest one, and to `scale`; empty: near enough.
std::string distance(const HostTensor& got, const HostTensor& want, double tolerance, double scale);
std::string text_of(const HostTensor& t);

// A graph of the one call, with the sizes as they are. `lowered`: inputs keep the tensors' strides.
Graph graph_of(const OpInfo& op, Call& call, bool with_strides);
std::vector<HostTensor> oracle_inputs(const OpInfo& op, Call& call, RandomState random);

}  // namespace phlox::conformance
