// cpu_gemm: compiled f32 matrix products against the FMA peak of the moment and against OpenBLAS where it is installed.
// All three run in alternation, in pieces of some milliseconds, so that a busy machine disturbs them alike. One thread
// is timed in CPU time, more threads by the wall clock. Prints a JSON line a case:
//   {"bench":"cpu-gemm","case":"f32-512","threads":1,"gflops":best,"median":...,"of_peak":median of ratios to the probes
//    around each sample,"openblas":best,"vs_openblas":best / best}
// A case is N or M,N,K[,ta,tb[,batch]]; gN has a bias and gelu; cI,O,S[,batch] is a 3 x 3 convolution, iI,O,S and wI,O,S its
// gradients by input and weight.
// usage: cpu_gemm [-t1] [-r rounds] [-copies N] [-symbolic] [-nopeer] [-nofuse] [N | M,N,K[,ta,tb[,batch]]]...
#include <dlfcn.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/team.h"
#include "compile/compile.h"
#include "device/device.h"
#include "eager/signature.h"
#include "graph/builder.h"
#include "ops/prims.h"
#include "ops/registry.h"

namespace phlox {
namespace {

clockid_t clock_of_samples = CLOCK_MONOTONIC;
double now() {
  timespec t;
  clock_gettime(clock_of_samples, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

#if defined(__x86_64__)
volatile float sink;  // volatile, or nothing would be computed
__attribute__((target("avx512f"))) void fma_512(int64_t rounds) {
  __m512 a[24];
  for (int c = 0; c < 24; ++c) a[c] = _mm512_set1_ps(float(c) * 1e-3f);
  const __m512 x = _mm512_set1_ps(0.9999f), y = _mm512_set1_ps(1e-5f);
  for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 24
    for (int c = 0; c < 24; ++c) a[c] = _mm512_fmadd_ps(a[c], x, y);
  for (int c = 1; c < 24; ++c) a[0] = _mm512_add_ps(a[0], a[c]);
  sink = _mm512_cvtss_f32(a[0]);
}
__attribute__((target("avx2,fma"))) void fma_256(int64_t rounds) {
  __m256 a[12];
  for (int c = 0; c < 12; ++c) a[c] = _mm256_set1_ps(float(c) * 1e-3f);
  const __m256 x = _mm256_set1_ps(0.9999f), y = _mm256_set1_ps(1e-5f);
  for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 12
    for (int c = 0; c < 12; ++c) a[c] = _mm256_fmadd_ps(a[c], x, y);
  for (int c = 1; c < 12; ++c) a[0] = _mm256_add_ps(a[0], a[c]);
  sink = _mm256_cvtss_f32(a[0]);
}
// Operations a second of all threads together, right now.
double probe(int threads, bool wide) {
  constexpr int64_t rounds = 2000;
  const auto one = [&] { wide ? fma_512(rounds) : fma_256(rounds); };
  const double t = now();
  if (threads == 1) one();
  else team().run(threads, 1, [&](int64_t b, int64_t e) { for (; b < e; ++b) one(); });
  return (wide ? 24 * 32.0 : 12 * 16.0) * rounds * threads / (now() - t);
}
#else
double probe(int, bool) { return 0; }
#endif

struct Peer {
  using Gemm = void (*)(int, int, int, int, int, int, float, const float*, int, const float*, int, float, float*, int);
  Gemm gemm = nullptr;
  void (*threads)(int) = nullptr;
  Peer() {
    void* h = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!h) return;
    gemm = reinterpret_cast<Gemm>(dlsym(h, "cblas_sgemm"));
    threads = reinterpret_cast<void (*)(int)>(dlsym(h, "openblas_set_num_threads"));
  }
};

struct Case {
  int64_t m, n, k;
  bool ta = false, tb = false;
  int64_t batch = 1;
  bool gelu = false;
  // 'c', 'i' or 'w': a 3 x 3 convolution of `m` channels to `n` on k x k images, its gradients by input and weight.
  char conv = 0;
  std::string name() const {
    if (conv) return cat("conv3x3-", conv == 'c' ? "" : conv == 'i' ? "grad-input-" : "grad-weight-", m, "-", n, "-", k, "-b", batch);
    std::string s = m == n && n == k ? cat(m) : cat(m, "x", n, "x", k);
    if (ta || tb) s += cat("-", ta ? "T" : "N", tb ? "T" : "N");
    if (batch > 1) s += cat("-b", batch);
    return cat("f32-", gelu ? "bias-gelu-" : "", s);
  }
};

struct Options {
  int rounds = 12, threads = 1;
  bool symbolic = false, peer = true, fuse = true;
  int copies = 1;  // of the operands, used in turn: many are found in no near cache
};

// act(a b + bias) as a graph. Symbolic sizes are symbols in the order batch, m, k, n.
Ref<Program> program_of(const Case& c, const Target& target, bool symbolic, bool fuse) {
  DimEnv env;
  DimEnvScope scope(env);
  const Dim z = symbolic && c.batch > 1 ? env.new_symbol(c.batch) : Dim(c.batch), m = symbolic ? env.new_symbol(c.m) : Dim(c.m),
            k = symbolic ? env.new_symbol(c.k) : Dim(c.k), n = symbolic ? env.new_symbol(c.n) : Dim(c.n);
  Graph g;
  GraphBuilder b(g);
  CompileOptions options;
  options.fuse = fuse;
  if (c.conv) {
    const ConvParams same{{1, 1}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 1};
    const TensorType image{.shape = {z, m, k, k}}, result{.shape = {z, n, k, k}}, weight{.shape = {n, m, 3, 3}};
    Val v;
    if (c.conv == 'c') {
      const Val x = b.input(image);
      v = conv(x, b.input(weight), same);
    } else if (c.conv == 'i') {
      const Val grad = b.input(result);
      v = conv(grad, flip(flip(permute(b.input(weight), {1, 0, 2, 3}), 2), 3), same);
    } else {
      const Val x = b.input(image);
      v = transpose(conv(transpose(x, 0, 1), transpose(b.input(result), 0, 1), same), 0, 1);
    }
    const Val out[] = {v};
    b.outputs(out);
    return compile_graph(g, target, options);
  }
  Val x = b.input({.shape = c.ta ? Dims{z, k, m} : Dims{z, m, k}}), y = b.input({.shape = c.tb ? Dims{z, n, k} : Dims{z, k, n}});
  Val r = contract(x, y, {0}, {0}, {c.ta ? 1 : 2}, {c.tb ? 2 : 1});
  if (c.gelu) {
    const Val bias = b.input({.shape = {n}});
    r = map(Scalar::add, r, broadcast_in(bias, r.shape(), {2}));
    const Arg args[] = {Arg::of_value(r.id)};
    r = b.call(*find_op("gelu"), args)[0];
  }
  const Val out[] = {r};
  b.outputs(out);
  return compile_graph(g, target, options);
}

double median(std::vector<double>& v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

void run(const Case& c, const Options& o, const Peer& peer) {
  Device& device = cpu_device();
  Target target = device.target();
  target.threads = o.threads;
  const bool wide = target.vector_bits >= 512;
  clock_of_samples = CLOCK_PROCESS_CPUTIME_ID;
  const double start = now();
  const Ref<Executable> e = make_executable(program_of(c, target, o.symbolic, o.fuse), device);
  const double compile_ms = (now() - start) * 1e3;
  clock_of_samples = o.threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
  Ints symbols;
  if (o.symbolic) {
    if (c.batch > 1) symbols.push_back(c.batch);
    symbols.push_back(c.m), symbols.push_back(c.k), symbols.push_back(c.n);
  }
  const Executable::Plan& plan = e->plan(symbols);
  // Results of about unit size, as activations are: far out in its tails an activation may compute with subnormals.
  const float scale = float(std::pow(9.0 / double(c.k), 0.25)) * 1e-3f;
  const auto memory = [&](int64_t n) {
    float* p = static_cast<float*>(device.alloc(n * 4, 0));
    uint32_t x = 1;
    for (int64_t i = 0; i < n; ++i) x = x * 1664525u + 1013904223u, p[i] = float(int(x >> 8) % 2001 - 1000) * scale;
    return p;
  };
  const int64_t most = c.batch * std::max({c.m, c.n, int64_t(9)}) * std::max({c.m, c.n, c.k * c.k});  // for convolutions
  const int64_t a_size = c.conv ? most : c.m * c.k * c.batch, b_size = c.conv ? most : c.k * c.n * c.batch, r_size = c.conv ? most : c.m * c.n * c.batch;
  float *as = memory(a_size * o.copies), *bs = memory(b_size * o.copies), *bias = memory(c.n), *rs = memory(r_size * o.copies);
  float *a = as, *b = bs, *r = rs;
  int copy = 0;
  const auto turn = [&] {
    copy = (copy + 1) % o.copies;
    a = as + copy * a_size, b = bs + copy * b_size, r = rs + copy * r_size;
  };
  const auto ours = [&] {
    turn();
    void* in[] = {a, b, bias};
    const int64_t numbers[3] = {};
    void* out[] = {r};
    e->run(plan, std::span(in, c.gelu ? 3 : 2), std::span(numbers, c.gelu ? 3 : 2), out, 0);
  };
  const auto theirs = [&] {
    turn();
    for (int64_t z = 0; z < c.batch; ++z)
      peer.gemm(101, c.ta ? 112 : 111, c.tb ? 112 : 111, int(c.m), int(c.n), int(c.k), 1, a + z * c.m * c.k, int(c.ta ? c.m : c.k),
                b + z * c.k * c.n, int(c.tb ? c.k : c.n), 0, r + z * c.m * c.n, int(c.n));
  };
  const double flop = 2.0 * double(c.m) * double(c.n) * double(c.k) * double(c.batch) * (c.conv ? 9.0 * double(c.k) : 1.0);
  const int inner = std::max(1, int(1.5e-4 / (flop / 1.5e11 / o.threads)));
  std::vector<double> speeds[2], ratios[2];
  const auto sample = [&](int who, const auto& f) {
    f();
    double before = probe(o.threads, wide);
    for (int n = 0; n < 3; ++n) {
      const double t = now();
      for (int i = 0; i < inner; ++i) f();
      const double speed = flop * inner / (now() - t), after = probe(o.threads, wide);
      speeds[who].push_back(speed);
      ratios[who].push_back(speed / std::max(before, after));
      before = after;
    }
  };
  const bool with_peer = o.peer && peer.gemm && !c.gelu && !c.conv;
  for (int round = 0; round < o.rounds; ++round) {
    if (round % 2 && with_peer) sample(1, theirs);
    sample(0, ours);
    if (round % 2 == 0 && with_peer) sample(1, theirs);
  }
  std::string text;
  JsonWriter w(text);
  const auto number = [&](const char* key, double v) {
    char t[32];
    std::snprintf(t, sizeof t, "%.4g", v);
    w.key(key).raw(t);
  };
  w.begin_object().member("bench", "cpu-gemm").member("case", cat(c.name(), o.symbolic ? "-symbolic" : "", o.threads == 1 ? "-t1" : ""));
  w.member("threads", o.threads).member("clock", o.threads == 1 ? "cpu" : "wall");
  number("gflops", *std::max_element(speeds[0].begin(), speeds[0].end()) / 1e9);
  number("median", median(speeds[0]) / 1e9);
  number("of_peak", median(ratios[0]));
  number("compile_cpu_ms", compile_ms);
  if (with_peer) {
    number("openblas", *std::max_element(speeds[1].begin(), speeds[1].end()) / 1e9);
    number("openblas_median", median(speeds[1]) / 1e9);
    number("openblas_of_peak", median(ratios[1]));
    number("vs_openblas", speeds[0].back() / speeds[1].back());
  }
  w.end_object();
  std::puts(text.c_str());
  std::fflush(stdout);
  for (float* p : {as, bs, bias, rs}) device.free(p, 0);
}

}  // namespace
}  // namespace phlox

int main(int argc, char** argv) {
  using namespace phlox;
  Options o;
  std::vector<Case> cases;
  bool only_one = false;
  for (int i = 1; i < argc; ++i) {
    const std::string s = argv[i];
    if (s == "-t1") only_one = true;
    else if (s == "-symbolic") o.symbolic = true;
    else if (s == "-nofuse") o.fuse = false;
    else if (s == "-nopeer") o.peer = false;
    else if (s == "-copies" && i + 1 < argc) o.copies = std::max(1, std::atoi(argv[++i]));
    else if (s == "-r" && i + 1 < argc) o.rounds = std::max(1, std::atoi(argv[++i]));
    else {
      int64_t v[6] = {0, 0, 0, 0, 0, 1};
      int n = 0;
      const char kind = argv[i][0] >= 'a' ? argv[i][0] : 0;
      char* p = argv[i] + (kind != 0);
      for (; *p && n < 6; ++n) {
        v[n] = std::strtol(p, &p, 10);
        if (*p == ',') ++p;
      }
      if (n == 1) v[1] = v[2] = v[0];
      if (kind && kind != 'g' && n == 3) v[5] = 128;
      if (kind && kind != 'g' && n == 4) v[5] = v[3], v[3] = 0;
      if (v[0] <= 0 || v[1] <= 0 || v[2] <= 0) return std::fprintf(stderr, "usage: cpu_gemm [-t1] [-r rounds] [-copies N] [-symbolic] [-nopeer] [-nofuse] [N | M,N,K[,ta,tb[,batch]]]...\n"), 2;
      cases.push_back({v[0], v[1], v[2], v[3] != 0, v[4] != 0, v[5], kind == 'g', kind == 'g' ? char(0) : kind});
    }
  }
  if (cases.empty()) {
    for (int64_t n : {64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048}) cases.push_back({n, n, n});
    for (int64_t n : {128, 512, 1024}) cases.push_back({.m = n, .n = n, .k = n, .gelu = true});
  }
  const Peer peer;
  const int all = team().num_threads();
  std::vector<int> counts{1};
  if (!only_one && all > 1) counts.insert(counts.begin(), all);
  for (int threads : counts) {
    team().set_num_threads(threads);
    if (peer.threads) peer.threads(threads);
    o.threads = threads;
    for (const Case& c : cases) run(c, o, peer);
  }
  std::fflush(nullptr);
  _exit(0);  // the peer's threads may not end by themselves
}
