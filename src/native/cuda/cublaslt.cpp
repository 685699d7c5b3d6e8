#include "native/cuda/cublaslt.h"

#include <mutex>
#include <unordered_map>

#include "base/error.h"
#include "base/hash.h"
#include "base/library.h"
#include "base/root.h"
#include "device/cuda/cuda_device.h"

namespace phlox {

namespace {

// The library's types and numbers as we use them; our own declarations, so that no header of the toolkit is needed.
struct Algorithm { uint64_t data[8]; };
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
  int (*heuristic)(void* handle, void* desc, void* a, void* b, void* c, void* d, void* pref, int wanted, Heuristic* results, int* found);
};

struct CublasLt {
  Library library;
  Functions f{};
  std::string problem;
  std::mutex mutex;
  std::unordered_map<Device*, void*> handles;
  std::unordered_map<uint64_t, Algorithm> chosen;

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

}  // namespace

void cublaslt_matmul(const DeviceCall& call) {
  const Ints& s = call.sizes;
  const int64_t batch = s[0], m = s[1], n = s[2], k = s[3];
  const DType a_type = call.call.in[0].dtype, c_type = call.call.out[0].dtype;
  const char* a = static_cast<const char*>(call.call.in[0].data) + s[4] * dtype_bytes(a_type);
  const char* b = static_cast<const char*>(call.call.in[1].data) + s[8] * dtype_bytes(a_type);
  char* c = static_cast<char*>(call.call.out[0].data) + s[12] * dtype_bytes(c_type);
  if (batch <= 0 || m <= 0 || n <= 0) return;
  if (k <= 0) {
    for (int64_t q = 0; q < batch; ++q)
      for (int64_t i = 0; i < m; ++i)
        call.device.fill_zero(c + (q * s[14] + i * s[13]) * dtype_bytes(c_type), n * dtype_bytes(c_type), call.stream);
    return;
  }
  CublasLt& lt = root_object<CublasLt>();
  if (!lt.problem.empty()) fail(ErrorCode::device, {.op = "matmul", .fact = lt.problem, .remedy = "set PHLOX_CUDA_PATH to its folder"});
  CudaDevice& device = static_cast<CudaDevice&>(call.device);
  CudaDevice::Current current(device);
  const Functions& f = lt.f;
  const auto check = [&](const char* step, int status) { if (status) failed(step, status, s); };
  void* handle;
  {
    std::lock_guard lock(lt.mutex);
    void*& h = lt.handles[&call.device];
    if (!h) check("create", f.create(&h));
    handle = h;
  }
  // Row-major C = A B is column-major C' = B' A'.
  const Matrix first = transposed(k, n, s[9], s[10], s[11]), second = transposed(m, k, s[5], s[6], s[7]);
  const Matrix result{uint64_t(n), uint64_t(m), std::max(s[13], n), s[14], false};
  const bool wide = a_type == DType::f64;
  Owned desc{nullptr, f.desc_destroy}, la{nullptr, f.layout_destroy}, lb{nullptr, f.layout_destroy}, lc{nullptr, f.layout_destroy};
  check("describe", f.desc_create(&desc.p, wide ? compute_64f : compute_32f, wide ? r_64f : r_32f));
  const auto layout = [&](Owned& l, const Matrix& x, DType d, int transpose) {
    check("lay out", f.layout_create(&l.p, type_number(d), x.rows, x.columns, x.ld));
    if (batch > 1) {
      const int32_t count = int32_t(batch);
      check("lay out", f.layout_set(l.p, layout_batch_count, &count, sizeof count));
      check("lay out", f.layout_set(l.p, layout_batch_step, &x.batch_step, sizeof x.batch_step));
    }
    const int32_t op = x.transposed;
    if (transpose) check("describe", f.desc_set(desc.p, transpose, &op, sizeof op));
  };
  layout(la, first, a_type, desc_transpose_a);
  layout(lb, second, a_type, desc_transpose_b);
  layout(lc, result, c_type, 0);

  const bool has_bias = call.call.in.size() > 2;
  if (has_bias) {
    const int32_t epilogue = epilogue_bias;
    const void* bias = static_cast<const char*>(call.call.in[2].data) + s[15] * dtype_bytes(c_type);
    check("describe", f.desc_set(desc.p, desc_epilogue, &epilogue, sizeof epilogue));
    check("describe", f.desc_set(desc.p, desc_bias, &bias, sizeof bias));
  }
  const uint32_t align[3] = {uint32_t(alignment_of(b)), uint32_t(alignment_of(a)), uint32_t(alignment_of(c))};
  uint64_t key = uint64_t(a_type) | uint64_t(c_type) << 8 | uint64_t(device.id().index) << 16 | uint64_t(has_bias) << 32;
  for (size_t i = 0; i < s.size(); ++i) key = mix64(key ^ uint64_t(i == 4 || i == 8 || i == 12 ? 0 : s[i]));
  for (uint32_t x : align) key = mix64(key ^ x);
  Algorithm algorithm;
  bool known = false;
  {
    std::lock_guard lock(lt.mutex);
    if (const auto it = lt.chosen.find(key); it != lt.chosen.end()) { algorithm = it->second; known = true; }
  }
  if (!known) {
    Owned pref{nullptr, f.pref_destroy};
    check("choose", f.pref_create(&pref.p));
    check("choose", f.pref_set(pref.p, pref_workspace, &workspace_bytes, sizeof workspace_bytes));
    const int attributes[4] = {pref_align_a, pref_align_b, pref_align_c, pref_align_d};
    for (int i = 0; i < 4; ++i) check("choose", f.pref_set(pref.p, attributes[i], &align[std::min(i, 2)], sizeof(uint32_t)));
    Heuristic best{};
    int found = 0;
    check("choose", f.heuristic(handle, desc.p, la.p, lb.p, lc.p, lc.p, pref.p, 1, &best, &found));
    if (!found || best.state) failed("choose", best.state, s);
    algorithm = best.algorithm;
    std::lock_guard lock(lt.mutex);
    lt.chosen.emplace(key, algorithm);
  }
  const float one = 1, zero = 0;
  const double one_wide = 1, zero_wide = 0;
  void* workspace = device.alloc(workspace_bytes, call.stream);
  const int status = f.matmul(handle, desc.p, wide ? static_cast<const void*>(&one_wide) : &one, b, la.p, a, lb.p,
                              wide ? static_cast<const void*>(&zero_wide) : &zero, c, lc.p, c, lc.p, &algorithm, workspace, workspace_bytes,
                              device.native_stream(call.stream));
  device.free(workspace, call.stream);
  check("multiply", status);
}

}  // namespace phlox
