// Matrix products of LLM and vision models on a GPU, bf16, x [M, K] times W [N, K] transposed: phlox's compiled linear beside
// the best of cuBLASLt's first eight suggestions, measured in the same program.
//   gemm_cuda [peer]      serves bench/run: lines are named as by --list, a round is the microseconds of a product
//   gemm_cuda --list      the lines
//   gemm_cuda --all [M]   JSON lines of all shapes (of these M), with the ratio and the share of the floor
// A round runs a CUDA graph of many products, each with weights of its own while these fit 256 MB, so that no product
// finds its weights in a cache. The floor is the time to read the factors and write the results once at the copy rate
// measured here, or the products at 989 TFLOP/s.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "bench/harness.h"
#include "compile/compile.h"
#include "device/cuda/cuda_device.h"
#include "eager/call.h"
#include "eager/signature.h"
#include "graph/builder.h"
#include "native/cuda/cublaslt.h"
#include "ops/registry.h"

using namespace phlox;

namespace {

struct Shape { int64_t m, n, k; };

std::vector<Shape> shapes() {
  std::vector<Shape> all;
  const Shape llama1[] = {{0, 3072, 2048}, {0, 2048, 2048}, {0, 8192, 2048}, {0, 2048, 8192}};
  const Shape llama8[] = {{0, 6144, 4096}, {0, 4096, 4096}, {0, 14336, 4096}, {0, 4096, 14336}};
  const auto add = [&](int64_t m, const Shape& s) { all.push_back({m, s.n, s.k}); };
  for (const Shape& s : llama1) add(1, s);
  for (const Shape& s : llama8) add(1, s);
  add(1, {0, 128256, 2048});
  for (int64_t m : {2, 4, 8, 16}) add(m, llama8[1]), add(m, llama8[2]);
  add(8, llama1[2]), add(16, llama1[3]);
  for (int64_t m : {64, 256, 1024, 4096}) add(m, llama8[0]), add(m, llama8[3]);
  for (int64_t m : {128, 2048, 8192}) add(m, llama1[2]);
  const Shape rest[] = {{8192, 4096, 4096}, {8192, 3072, 768}, {8192, 768, 3072}, {8192, 2304, 768},    // GPT-2
                        {6304, 3072, 1024}, {6304, 4096, 1024}, {6304, 1024, 4096},                      // ViT-L, 32 images
                        {6272, 1024, 256}, {1568, 512, 2048}, {256, 1000, 2048}};                        // ResNet-50
  for (const Shape& s : rest) all.push_back(s);
  return all;
}
std::string name_of(const Shape& s) { return cat("m", s.m, "-n", s.n, "-k", s.k); }

struct Machine {
  CudaDevice& d = cuda_device(0);
  StreamId stream = d.create_stream();
  double copy_rate() {  // bytes a second
    const int64_t bytes = int64_t(1) << 29;
    void *a = d.alloc(bytes, stream), *b = d.alloc(bytes, stream);
    double best = 0;
    for (int r = 0; r < 5; ++r) {
      CudaTimer t(d);
      t.start(stream);
      for (int i = 0; i < 5; ++i) d.copy(b, a, bytes, Device::CopyKind::on_device, stream);
      t.stop(stream);
      best = std::max(best, 10e3 * double(bytes) / t.milliseconds());
    }
    d.free(a, stream);
    d.free(b, stream);
    return best;
  }
};

// Products ready to be launched as one graph.
class Products {
 public:
  Products(Machine& machine, const Shape& s) : m_(machine), s_(s) {
    const int64_t weights = s.n * s.k * 2;
    copies_ = std::clamp<int64_t>((256 << 20) / weights, 1, 48);
    x_ = filled(s.m * s.k);
    for (int64_t i = 0; i < copies_; ++i) {
      w_.push_back(filled(s.n * s.k));
      out_.push_back(m_.d.alloc(s.m * s.n * 2, m_.stream));
    }
    m_.d.synchronize(m_.stream);
  }
  ~Products() {
    ours_ = {}, theirs_ = {};
    m_.d.free(x_, m_.stream);
    for (auto* list : {&w_, &out_})
      for (void* p : *list) m_.d.free(p, m_.stream);
  }

  void prepare_ours() {
    Graph g;
    GraphBuilder b(g);
    const Val x = b.input({.dtype = DType::bf16, .shape = {s_.m, s_.k}}), w = b.input({.dtype = DType::bf16, .shape = {s_.n, s_.k}});
    const Arg args[] = {Arg::of_value(x.id), Arg::of_value(w.id), Arg{}};
    const Val out[] = {b.call(*find_op("linear"), args)[0]};
    b.outputs(out);
    executable_ = make_executable(compile_graph(g, m_.d.target()), m_.d);
    const Executable::Plan& plan = executable_->plan({});
    const auto one = [&](int64_t i) {
      void* in[] = {x_, w_[size_t(i)]};
      const int64_t numbers[2] = {};
      void* out[] = {out_[size_t(i)]};
      executable_->run_plain(plan, in, numbers, out, m_.stream);
    };
    ours_ = recorded(one);
  }

  // The best of the library's first eight, and how many it offered.
  double prepare_theirs() {
    HostCall call;
    DeviceCall c{m_.d, m_.stream, call, sizes_};
    call.in.resize(2);
    call.out.resize(1);
    for (HostTensor* t : {&call.in[0], &call.in[1], &call.out[0]}) t->dtype = DType::bf16;
    call.in[0].data = x_;
    sizes_ = {1, s_.m, s_.n, s_.k, 0, s_.k, 1, 0, 0, 1, s_.k, 0, 0, s_.n, 0};
    const auto at = [&](int64_t i) -> const DeviceCall& {
      call.in[1].data = w_[size_t(i)];
      call.out[0].data = out_[size_t(i)];
      return c;
    };
    double best = 1e9;
    for (const MatmulAlgorithm& a : cublaslt_suggestions(at(0), 8)) {
      if (!cublaslt_matmul_by(at(0), a)) continue;
      const Ref<GraphExec> graph = recorded([&](int64_t i) { cublaslt_matmul_by(at(i), a); });
      double t = 1e9;
      for (int r = 0; r < 3; ++r) t = std::min(t, microseconds(*graph, 2000));
      if (t < best) best = t, theirs_ = graph;
    }
    return best;
  }

  double ours(double us) { return microseconds(*ours_, us); }
  double theirs(double us) { return microseconds(*theirs_, us); }

  // The largest difference of the two, relative to the largest result.
  double difference() {
    std::vector<uint16_t> a(size_t(s_.m * s_.n)), b(a.size());
    m_.d.launch(*ours_, m_.stream);
    read(a);
    m_.d.launch(*theirs_, m_.stream);
    read(b);
    double most = 1e-30, off = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      most = std::max(most, std::fabs(value(b[i])));
      const double e = std::fabs(value(a[i]) - value(b[i]));
      off = std::max(off, e == e ? e : 1e9);
    }
    return off / most;
  }

 private:
  static double value(uint16_t h) {
    const uint32_t bits = uint32_t(h) << 16;
    float f;
    std::memcpy(&f, &bits, 4);
    return f;
  }
  void read(std::vector<uint16_t>& to) {
    m_.d.copy(to.data(), out_.back(), int64_t(to.size()) * 2, Device::CopyKind::to_host, m_.stream);
    m_.d.synchronize(m_.stream);
  }
  void* filled(int64_t n) {
    static std::vector<uint16_t> host;
    if (int64_t(host.size()) < n) {
      host.resize(size_t(n));
      uint32_t x = 1;
      for (uint16_t& h : host) {  // of both signs, about one
        x = x * 1664525u + 1013904223u;
        h = uint16_t(0x3f00 + (x >> 25) + ((x >> 9) & 0x8000));
      }
    }
    void* p = m_.d.alloc(n * 2, m_.stream);
    m_.d.copy(p, host.data(), n * 2, Device::CopyKind::to_device, m_.stream);
    return p;
  }
  template <class F>
  Ref<GraphExec> recorded(F&& one) {
    one(0);
    m_.d.synchronize(m_.stream);
    rounds_ = copies_ < 8 && s_.m * s_.n * s_.k < int64_t(1) << 34 ? 8 / copies_ : 1;
    m_.d.begin_capture(m_.stream);
    try {
      for (int64_t r = 0; r < rounds_; ++r)
        for (int64_t i = 0; i < copies_; ++i) one(i);
    } catch (...) {
      m_.d.cancel_capture(m_.stream);
      throw;
    }
    Ref<GraphExec> g = m_.d.end_capture(m_.stream);
    m_.d.launch(*g, m_.stream);
    m_.d.synchronize(m_.stream);
    return g;
  }
  double microseconds(GraphExec& g, double us) {
    CudaTimer t(m_.d);
    const auto runs = [&](int n) {
      t.start(m_.stream);
      for (int i = 0; i < n; ++i) m_.d.launch(g, m_.stream);
      t.stop(m_.stream);
      return t.milliseconds() * 1e3 / n;
    };
    const double once = runs(1);
    return runs(int(std::clamp(us / once, 1.0, 50.0))) / double(copies_ * rounds_);
  }

  Machine& m_;
  Shape s_;
  int64_t copies_ = 1, rounds_ = 1;
  void* x_ = nullptr;
  std::vector<void*> w_, out_;
  Ints sizes_;
  Ref<Executable> executable_;
  Ref<GraphExec> ours_, theirs_;
};

int all(int64_t only_m) {
  Machine machine;
  const double rate = machine.copy_rate();
  std::printf("{\"device\": \"%s\", \"copy_tbps\": %.3f}\n", machine.d.name().c_str(), rate / 1e12);
  double logs = 0, few_logs = 0, least = 1e9;
  int count = 0, few = 0;
  for (const Shape& s : shapes()) {
    if (only_m && s.m != only_m) continue;
    try {
      Products p(machine, s);
      p.prepare_ours();
      p.prepare_theirs();
      std::vector<double> a, b;
      for (int r = 0; r < 7; ++r) {
        a.push_back(p.ours(2000));
        b.push_back(p.theirs(2000));
      }
      std::sort(a.begin(), a.end());
      std::sort(b.begin(), b.end());
      const double us = a[3], peer = b[3], ratio = peer / us;
      const double floor = 1e6 * std::max(2.0 * double(s.m * s.k + s.n * s.k + s.m * s.n) / rate, 2.0 * double(s.m) * double(s.n) * double(s.k) / 989e12);
      std::printf("{\"bench\": \"gemm-cuda\", \"name\": \"%s\", \"value\": %.2f, \"unit\": \"us\", \"floor\": %.2f, \"of_floor\": %.3f, \"peer\": \"cuBLASLt, best of 8\", "
                  "\"peer_value\": %.2f, \"ratio\": %.3f, \"difference\": %.1e}\n", name_of(s).c_str(), us, floor, floor / us, peer, ratio, p.difference());
      logs += std::log(ratio), ++count;
      if (s.m <= 16) few_logs += std::log(ratio), ++few;
      least = std::min(least, ratio);
    } catch (const std::exception& e) {
      std::printf("{\"bench\": \"gemm-cuda\", \"name\": \"%s\", \"error\": \"%s\"}\n", name_of(s).c_str(), e.what());
    }
    std::fflush(stdout);
  }
  if (count) std::printf("{\"bench\": \"gemm-cuda\", \"name\": \"geometric mean\", \"ratio\": %.3f, \"few_rows\": %.3f, \"least\": %.3f}\n", std::exp(logs / count), few ? std::exp(few_logs / few) : 0, least);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "--list") {
    for (const Shape& s : shapes()) std::puts(name_of(s).c_str());
    return 0;
  }
  if (mode == "--all") return all(argc > 2 ? std::strtoll(argv[2], nullptr, 10) : 0);
  std::unique_ptr<Machine> machine;
  std::shared_ptr<Products> products;
  return bench::serve([&](const std::string& name) -> bench::Round {
    for (const Shape& s : shapes()) {
      if (name_of(s) != name) continue;
      if (!machine) machine = std::make_unique<Machine>();
      products = std::make_shared<Products>(*machine, s);
      if (mode == "peer") {
        products->prepare_theirs();
        return [products] { return products->theirs(20000); };
      }
      products->prepare_ours();
      return [products] { return products->ours(20000); };
    }
    return nullptr;
  });
}
