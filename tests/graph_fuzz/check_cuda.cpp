// Random programs on a GPU, several in flight on several streams: what a program reads is put there on one stream, computed
// with on another and fetched on a third, and its memory is given back while others run. The results are held against
// float64 on the CPU as check_wide has it.
#include <deque>
#include <random>

#include "base/error.h"
#include "check.h"
#include "device/cuda/cuda_device.h"
#include "eager/interpret_kernels.h"
#include "toolchain/kernel_store.h"

namespace phlox::fuzz {

namespace {

constexpr size_t in_flight = 6, stream_count = 5;

struct Running {
  const FuzzProgram* program;
  TracedProgram traced;
  Ref<Program> compiled;
  Ref<Executable> executable;
  const Executable::Plan* plan = nullptr;
  std::vector<void*> out;
  StreamId fetch = 0;
};

class CudaFuzz {
 public:
  CudaFuzz(CudaDevice& gpu, uint64_t seed) : gpu_(gpu), rng_(seed) {
    static std::vector<StreamId> made;  // streams live as long as the device
    while (made.size() < stream_count) made.push_back(gpu.create_stream());
    streams_ = made;
  }

  // One line for each broken promise.
  void check(const std::vector<FuzzProgram>& programs, Tally& tally, std::vector<CudaFailure>& failures) {
    std::deque<Running> prepared;
    std::vector<KernelText> texts;
    for (const FuzzProgram& p : programs) {
      ++tally.graphs;
      guarded(p, tally, failures, [&] { prepared.push_back(trace(p, texts)); }, true);
    }
    try {
      if (!texts.empty()) kernel_store().images(texts, gpu_.target());
    } catch (const Error&) {  // the one that it is about will say so
    }
    std::deque<Running> running;
    const auto finish = [&] {
      Running r = std::move(running.front());
      running.pop_front();
      guarded(*r.program, tally, failures, [&] {
        if (std::string d = check_wide(r.traced, *r.program, fetch(r), tally, true); !d.empty()) throw std::runtime_error(d);
      });
    };
    for (Running& r : prepared) {
      guarded(*r.program, tally, failures, [&] {
        start(r);
        running.push_back(std::move(r));
      });
      if (running.size() >= in_flight) finish();
    }
    while (!running.empty()) finish();
  }

 private:
  template <class F>
  static void guarded(const FuzzProgram& p, Tally& tally, std::vector<CudaFailure>& failures, F&& f, bool refusal_is_fine = false) {
    try {
      f();
    } catch (const Error& e) {
      if (refusal_is_fine && !dynamic_cast<const InternalError*>(&e)) ++tally.refused;
      else failures.push_back({&p, e.what()});
    } catch (const std::exception& e) {
      failures.push_back({&p, e.what()});
    }
  }

  // What eager and traced calls refuse says nothing about the GPU: check_program judges it.
  Running trace(const FuzzProgram& p, std::vector<KernelText>& texts) {
    Running r{.program = &p, .traced = {}, .compiled = {}, .executable = {}, .out = {}};
    {
      const InterpretKernels interpreted;
      r.traced = trace_program(p, make_inputs(p));
    }
    r.traced.donate.clear();
    DimEnv env;
    const DimEnvScope scope(env);
    CompileOptions options;
    options.verify = 2;
    r.compiled = compile_graph(r.traced.graph, gpu_.target(), options);
    for (const Program::Kernel& k : r.compiled->kernels) texts.push_back({k.source, k.entry});
    return r;
  }

  StreamId any_stream() { return streams_[rng_() % streams_.size()]; }
  void follow(StreamId later, StreamId earlier) {
    if (later != earlier) gpu_.wait_event(later, gpu_.record_event(earlier));
  }
  // Given back where it was used last, or where it came from with word of its other use.
  void give_back(void* p, StreamId from, StreamId last) {
    if (from != last && rng_() % 2) {
      gpu_.record_use(p, last);
      gpu_.free(p, from);
    } else {
      gpu_.free(p, last);
    }
  }

  void start(Running& r) {
    r.executable = make_executable(r.compiled, gpu_);  // the code of all is there by now
    r.plan = &r.executable->plan({});
    const StreamId put = any_stream(), run = any_stream();
    r.fetch = any_stream();
    std::vector<void*> in;
    const std::vector<Bits> inputs = graph_inputs(r.traced, *r.program);
    for (size_t i = 0; i < inputs.size(); ++i) {
      const std::vector<char> memory = placed(inputs[i], r.traced.graph.type(r.traced.graph.inputs()[i]));
      in.push_back(gpu_.alloc(int64_t(memory.size()), put));
      gpu_.copy(in.back(), memory.data(), int64_t(memory.size()), Device::CopyKind::to_device, put);
    }
    follow(run, put);
    for (const auto& o : r.plan->outputs) r.out.push_back(gpu_.alloc(o.bytes + 64, run));
    const std::vector<int64_t> numbers(in.size());
    r.executable->run(*r.plan, in, numbers, r.out, run);
    for (void* p : in) give_back(p, put, run);
    follow(r.fetch, run);
    for (void* p : r.out) gpu_.record_use(p, r.fetch);
  }

  std::vector<Bits> fetch(Running& r) {
    std::vector<Bits> results;
    const Program& p = r.executable->program();
    for (size_t i = 0; i < r.out.size(); ++i) {
      std::vector<char> memory(size_t(r.plan->outputs[i].bytes + 64));
      gpu_.copy(memory.data(), r.out[i], int64_t(memory.size()), Device::CopyKind::to_host, r.fetch);
      gpu_.synchronize(r.fetch);
      results.push_back(collected(memory.data(), p.outputs[i].dtype, r.plan->output_shapes[i], p.outputs[i]));
      gpu_.free(r.out[i], r.fetch);
    }
    results.resize(std::min(results.size(), r.traced.results));
    return results;
  }

  CudaDevice& gpu_;
  std::mt19937_64 rng_;
  std::vector<StreamId> streams_;
};

}  // namespace

bool has_gpu() { return cuda::cuda_device_count() > 0; }

std::vector<CudaFailure> check_on_gpu(const std::vector<FuzzProgram>& programs, uint64_t seed, Tally& tally) {
  std::vector<CudaFailure> failures;
  CudaDevice& gpu = cuda_device(0);
  CudaFuzz(gpu, seed).check(programs, tally, failures);
  gpu.synchronize_all();
  if (const std::string d = gpu.allocator().find_corruption(); !d.empty()) failures.push_back({programs.data(), "the allocator: " + d});
  return failures;
}

}  // namespace phlox::fuzz
