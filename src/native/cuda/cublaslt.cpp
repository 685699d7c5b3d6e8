#include "native/cuda/cublaslt.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <unordered_map>

#include "base/error.h"
#include "base/event.h"
#include "base/library.h"
#include "base/root.h"
#include "device/cuda/cuda_device.h"
#include "native/tune_store.h"

namespace phlox {

namespace {

// The library's types and numbers as we use them; our own declarations, so that no header of the toolkit is needed.
using Algorithm = MatmulAlgorithm;
struct Heuristic { Algorithm algorithm; size_t workspace; int state; float waves; int reserved[4]; };
constexpr int r_32f = 0, r_64f = 1, r_16f = 2, r_16bf = 14, compute_32f = 68, compute_64f = 70;
constexpr int desc_transpose_a = 3, desc_transpose_b = 4, desc_epilogue = 7, desc_bias = 8, epilogue_bias = 4, layout_batch_count = 5, layout_batch_step = 6;
constexpr int pref_workspace = 1, pref_align_a = 5, pref_align_b = 6, pref_align_c = 7, pref_align_d = 8;
constexpr size_t workspace_bytes = 32 << 20;

struct Functions {
  int (*create)(void** handle);
  int (*matmul)(void* handle, void* desc, const void* alpha, const void* a, void* a_layout, const void* b, void* b_layout, const void* beta,
                const void* c, void* c_layout, void* d, void* d_layout, const Algorithm* algorithm, void* workspace, size_t bytes, void* stream);
  int (*desc_create)(void** desc, int compute, int scale);
  int (*desc_destroy)(void* desc);
  int (*desc_set)(void* desc, int attribute, const void* value, size_t bytes);
  int (*layout_create)(void** layout, int type, uint64_t rows, uint64_t columns, int64_t ld);
  int (*layout_destroy)(void* layout);
  int (*layout_set)(void* layout, int attribute, const void* value, size_t bytes);
  int (*pref_create)(void** pref);
  int (*pref_destroy)(void* pref);
  int (*pref_set)(void* pref, int attribute, const void* value, size_t bytes);
  size_t (*version)();
  int (*heuristic)(void* handle, void* desc, void* a, void* b, void* c, void* d, void* pref, int wanted, Heuristic* results, int* found);
};

struct CublasLt {
  Library library;
  Functions f{};
  std::string problem;
  std::mutex mutex;
  std::unordered_map<Device*, void*> handles;
  std::unordered_map<std::string, Algorithm> chosen;  // by problem

  CublasLt() {
    const char* const names[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"};
    const std::vector<std::string> dirs = cuda_library_dirs();
    library = open_library(names, dirs);
    if (!library) { problem = cat("cuBLASLt was not found (", library.tried, ")"); return; }
    const auto get = [&](auto& p, const char* name) {
      p = reinterpret_cast<std::remove_reference_t<decltype(p)>>(library.symbol(name));
      if (!p) problem = cat(library.path, " lacks ", name);
    };
    get(f.create, "cublasLtCreate");
    get(f.matmul, "cublasLtMatmul");
    get(f.desc_create, "cublasLtMatmulDescCreate");
    get(f.desc_destroy, "cublasLtMatmulDescDestroy");
    get(f.desc_set, "cublasLtMatmulDescSetAttribute");
    get(f.layout_create, "cublasLtMatrixLayoutCreate");
    get(f.layout_destroy, "cublasLtMatrixLayoutDestroy");
    get(f.layout_set, "cublasLtMatrixLayoutSetAttribute");
    get(f.pref_create, "cublasLtMatmulPreferenceCreate");
    get(f.pref_destroy, "cublasLtMatmulPreferenceDestroy");
    get(f.pref_set, "cublasLtMatmulPreferenceSetAttribute");
    get(f.version, "cublasLtGetVersion");
    get(f.heuristic, "cublasLtMatmulAlgoGetHeuristic");
  }
};

[[noreturn]] void failed(const char* step, int status, const Ints& sizes) {
  fail(ErrorCode::device, {.op = "matmul", .fact = cat("cuBLASLt: ", step, " failed with status ", status),
                           .got = cat("batch, rows, columns, depth: ", sizes[0], ", ", sizes[1], ", ", sizes[2], ", ", sizes[3])});
}

int type_number(DType d) {
  return d == DType::f32 ? r_32f : d == DType::f64 ? r_64f : d == DType::f16 ? r_16f : r_16bf;
}

// Freed when the call ends.
struct Owned {
  void* p = nullptr;
  int (*destroy)(void*);
  ~Owned() { if (p) destroy(p); }
};

// A matrix as the library sees it: column-major, `rows` side by side.
struct Matrix { uint64_t rows, columns; int64_t ld, batch_step; bool transposed; };
// The transpose of a row-major [r, c] with steps (row_step, column_step), one of which is 1.
Matrix transposed(int64_t r, int64_t c, int64_t row_step, int64_t column_step, int64_t batch_step) {
  if (column_step == 1 || c == 1) return {uint64_t(c), uint64_t(r), std::max(row_step, c), batch_step, false};
  return {uint64_t(r), uint64_t(c), std::max(column_step, r), batch_step, true};
}

int64_t alignment_of(const void* p) { return int64_t(1) << std::min(8, __builtin_ctzll(uint64_t(p) | 256)); }

// One product as the library has it described.
class Matmul {
 public:
  explicit Matmul(const DeviceCall& call)
      : call_(call), s_(call.sizes), lt_(root_object<CublasLt>()), device_(static_cast<CudaDevice&>(call.device)), current_(device_) {
    if (!lt_.problem.empty()) fail(ErrorCode::device, {.op = "matmul", .fact = lt_.problem, .remedy = "set PHLOX_CUDA_PATH to its folder"});
    a_type_ = call.call.in[0].dtype;
    c_type_ = call.call.out[0].dtype;
    wide_ = a_type_ == DType::f64;
    a_ = at(call.call.in[0].data, a_type_, s_[4]);
    b_ = at(call.call.in[1].data, a_type_, s_[8]);
    c_ = at(call.call.out[0].data, c_type_, s_[12]);
    {
      std::lock_guard lock(lt_.mutex);
      void*& h = lt_.handles[&call.device];
      if (!h) check("create", lt_.f.create(&h));
      handle_ = h;
    }
    describe();
  }

  // What the choice of a kernel depends on, beside the GPU and the library.
  std::string problem() const {
    std::string s = cat(a_type_, " ", c_type_, has_bias() ? " bias" : "");
    for (size_t i = 0; i < s_.size(); ++i)
      if (i != 4 && i != 8 && i != 12 && i < 15) s += cat(" ", s_[i]);
    for (const void* p : {b_, a_, static_cast<const char*>(c_)}) s += cat(" a", alignment_of(p));
    return s;
  }

  std::vector<Algorithm> suggestions(int most) const {
    Owned pref{nullptr, lt_.f.pref_destroy};
    check("choose", lt_.f.pref_create(&pref.p));
    check("choose", lt_.f.pref_set(pref.p, pref_workspace, &workspace_bytes, sizeof workspace_bytes));
    const uint32_t align[4] = {uint32_t(alignment_of(b_)), uint32_t(alignment_of(a_)), uint32_t(alignment_of(c_)), uint32_t(alignment_of(c_))};
    const int attributes[4] = {pref_align_a, pref_align_b, pref_align_c, pref_align_d};
    for (int i = 0; i < 4; ++i) check("choose", lt_.f.pref_set(pref.p, attributes[i], &align[i], sizeof align[i]));
    std::vector<Heuristic> found(static_cast<size_t>(most));
    int count = 0;
    check("choose", lt_.f.heuristic(handle_, desc_.p, la_.p, lb_.p, lc_.p, lc_.p, pref.p, most, found.data(), &count));
    std::vector<Algorithm> r;
    for (int i = 0; i < count; ++i)
      if (!found[size_t(i)].state) r.push_back(found[size_t(i)].algorithm);
    if (r.empty()) failed("choose", count ? found[0].state : 0, s_);
    return r;
  }

  int run(const Algorithm& algorithm, void* workspace) const {
    const float one = 1, zero = 0;
    const double one_wide = 1, zero_wide = 0;
    return lt_.f.matmul(handle_, desc_.p, wide_ ? static_cast<const void*>(&one_wide) : &one, b_, la_.p, a_, lb_.p,
                        wide_ ? static_cast<const void*>(&zero_wide) : &zero, c_, lc_.p, c_, lc_.p, &algorithm, workspace, workspace_bytes,
                        device_.native_stream(call_.stream));
  }

  // The fastest of the suggestions; the results are there afterwards as after a run.
  Algorithm measured(const std::vector<Algorithm>& all, void* workspace, double budget_ms, std::string& report) const {
    CudaTimer timer(device_);
    const auto milliseconds = [&](const Algorithm& x, int runs) {
      timer.start(call_.stream);
      for (int i = 0; i < runs; ++i)
        if (run(x, workspace)) return 1e9;
      timer.stop(call_.stream);
      return timer.milliseconds() / runs;
    };
    size_t best = 0;
    double least = 1e9, spent = 0, first = 0;
    for (size_t i = 0; i < all.size() && spent < budget_ms; ++i) {
      const double once = milliseconds(all[i], 1);
      if (once >= 1e9) continue;
      const int runs = int(std::clamp(budget_ms / double(3 * all.size()) / std::max(once, 1e-3), 1.0, 10.0));
      double t = 1e9;
      for (int round = 0; round < 3; ++round) t = std::min(t, milliseconds(all[i], runs));
      spent += once + 3 * runs * t;
      if (i == 0) first = t;
      if (t < least) least = t, best = i;
    }
    report = cat("kernel ", best, " of ", all.size(), ": ", int64_t(least * 1e6), " ns, the library's first ", int64_t(first * 1e6), " ns");
    return all[best];
  }

 private:
  static char* at(const void* p, DType d, int64_t elements) { return const_cast<char*>(static_cast<const char*>(p)) + elements * dtype_bytes(d); }
  bool has_bias() const { return call_.call.in.size() > 2; }
  void check(const char* step, int status) const {
    if (status) failed(step, status, s_);
  }

  void describe() {
    const Functions& f = lt_.f;
    const int64_t batch = s_[0], m = s_[1], n = s_[2], k = s_[3];
    // Row-major C = A B is column-major C' = B' A'.
    const Matrix first = transposed(k, n, s_[9], s_[10], s_[11]), second = transposed(m, k, s_[5], s_[6], s_[7]);
    const Matrix result{uint64_t(n), uint64_t(m), std::max(s_[13], n), s_[14], false};
    desc_.destroy = f.desc_destroy;
    for (Owned* l : {&la_, &lb_, &lc_}) l->destroy = f.layout_destroy;
    check("describe", f.desc_create(&desc_.p, wide_ ? compute_64f : compute_32f, wide_ ? r_64f : r_32f));
    const auto layout = [&](Owned& l, const Matrix& x, DType d, int transpose) {
      check("lay out", f.layout_create(&l.p, type_number(d), x.rows, x.columns, x.ld));
      if (batch > 1) {
        const int32_t count = int32_t(batch);
        check("lay out", f.layout_set(l.p, layout_batch_count, &count, sizeof count));
        check("lay out", f.layout_set(l.p, layout_batch_step, &x.batch_step, sizeof x.batch_step));
      }
      const int32_t op = x.transposed;
      if (transpose) check("describe", f.desc_set(desc_.p, transpose, &op, sizeof op));
    };
    layout(la_, first, a_type_, desc_transpose_a);
    layout(lb_, second, a_type_, desc_transpose_b);
    layout(lc_, result, c_type_, 0);
    if (!has_bias()) return;
    const int32_t epilogue = epilogue_bias;
    const void* bias = at(call_.call.in[2].data, c_type_, s_[15]);
    check("describe", f.desc_set(desc_.p, desc_epilogue, &epilogue, sizeof epilogue));
    check("describe", f.desc_set(desc_.p, desc_bias, &bias, sizeof bias));
  }

  const DeviceCall& call_;
  const Ints& s_;
  CublasLt& lt_;
  CudaDevice& device_;
  CudaDevice::Current current_;
  DType a_type_, c_type_;
  bool wide_ = false;
  const char *a_ = nullptr, *b_ = nullptr;
  char* c_ = nullptr;
  void* handle_ = nullptr;
  Owned desc_{}, la_{}, lb_{}, lc_{};
};

struct Workspace {
  CudaDevice& device;
  StreamId stream;
  void* p;
  Workspace(CudaDevice& d, StreamId s) : device(d), stream(s), p(d.alloc(workspace_bytes, s)) {}
  ~Workspace() { device.free(p, stream); }
};

// PHLOX_TUNE_MS: what choosing the kernel of a product may cost; 0: the library's first suggestion.
double budget_ms() {
  const char* text = std::getenv("PHLOX_TUNE_MS");
  double ms = 30;
  if (text) std::from_chars(text, text + std::strlen(text), ms);
  return ms;
}

constexpr int most_suggestions = 8;

Algorithm choose(const Matmul& product, CudaDevice& device, StreamId stream, const std::string& problem, void* workspace) {
  const double budget = budget_ms();
  const std::string key = cat("matmul on ", device.name(), ", cuBLASLt ", root_object<CublasLt>().f.version(), ": ", problem);
  Algorithm r;
  if (budget > 0 && find_tuned(key, std::as_writable_bytes(std::span(&r, 1)))) return r;
  const bool measures = budget > 0 && !device.is_capturing(stream);
  const std::vector<Algorithm> all = product.suggestions(measures ? most_suggestions : 1);
  if (!measures || all.size() == 1) return all[0];
  std::string report;
  r = product.measured(all, workspace, budget, report);
  if (events_visible(EventKind::provider)) emit_event(EventKind::provider, cat("matmul ", problem), cat("cuBLASLt measured, ", report));
  put_tuned(key, std::as_bytes(std::span(&r, 1)));
  return r;
}

}  // namespace

std::vector<MatmulAlgorithm> cublaslt_suggestions(const DeviceCall& call, int most) { return Matmul(call).suggestions(most); }

bool cublaslt_matmul_by(const DeviceCall& call, const MatmulAlgorithm& algorithm) {
  CudaDevice& device = static_cast<CudaDevice&>(call.device);
  const Workspace workspace(device, call.stream);
  return Matmul(call).run(algorithm, workspace.p) == 0;
}

void cublaslt_matmul(const DeviceCall& call) {
  const Ints& s = call.sizes;
  if (s[0] <= 0 || s[1] <= 0 || s[2] <= 0) return;
  if (s[3] <= 0) {
    const int64_t bytes = dtype_bytes(call.call.out[0].dtype);
    char* c = static_cast<char*>(call.call.out[0].data) + s[12] * bytes;
    for (int64_t q = 0; q < s[0]; ++q)
      for (int64_t i = 0; i < s[1]; ++i) call.device.fill_zero(c + (q * s[14] + i * s[13]) * bytes, s[2] * bytes, call.stream);
    return;
  }
  CudaDevice& device = static_cast<CudaDevice&>(call.device);
  const Matmul product(call);
  CublasLt& lt = root_object<CublasLt>();
  const std::string problem = product.problem(), key = cat(int(device.id().index), " ", problem);
  const Workspace workspace(device, call.stream);
  std::optional<Algorithm> algorithm;
  {
    std::lock_guard lock(lt.mutex);
    if (const auto it = lt.chosen.find(key); it != lt.chosen.end()) algorithm = it->second;
  }
  if (!algorithm) {
    algorithm = choose(product, device, call.stream, problem, workspace.p);
    std::lock_guard lock(lt.mutex);
    algorithm = lt.chosen.emplace(key, *algorithm).first->second;  // who came first decides
  }
  int status = product.run(*algorithm, workspace.p);
  if (status) {  // a database of another time: ask the library afresh
    emit_event(EventKind::provider, cat("matmul ", problem), cat("the chosen kernel failed with status ", status, ": the library's first takes its place"));
    const Algorithm first = product.suggestions(1)[0];
    status = product.run(first, workspace.p);
    std::lock_guard lock(lt.mutex);
    lt.chosen[key] = first;
  }
  if (status) failed("multiply", status, s);
}

}  // namespace phlox
