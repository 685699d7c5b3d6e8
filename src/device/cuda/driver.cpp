#include "device/cuda/driver.h"

#include "base/error.h"
#include "base/event.h"
#include "base/root.h"
#include "device/cuda/launch_log.h"

namespace phlox::cuda {

namespace {

struct LoadedDriver {
  Library library;
  Driver table;
  std::string problem;
  int devices = 0;
  bool usable = false;

  LoadedDriver() {
    load();
    if (!problem.empty()) emit_event(EventKind::library, "libcuda", problem);
  }

  void load() {
    // The driver comes with the kernel module, never with a toolkit: only the loader's search and the folders
    // that containers and WSL mount it into.
    const char* const names[] = {"libcuda.so.1", "libcuda.so"};
    const std::string dirs[] = {"", "/usr/local/nvidia/lib64", "/usr/lib/wsl/lib"};
    library = open_library(names, dirs);
    if (!library) {
      problem = cat("the CUDA driver was not found (", library.tried, ")");
      return;
    }
    std::string missing;
    const auto get = [&](const char* symbol) {
      void* f = library.symbol(symbol);
      if (!f) missing += cat(missing.empty() ? "" : ", ", symbol);
      return f;
    };
#define PHLOX_CUDA_LOAD(member, symbol, parameters) \
  table.member = reinterpret_cast<Result(*) parameters>(get(#symbol));
    PHLOX_CUDA_DRIVER_FUNCTIONS(PHLOX_CUDA_LOAD)
#undef PHLOX_CUDA_LOAD
    table.function_param = reinterpret_cast<Result (*)(Function, size_t, size_t*, size_t*)>(
        library.symbol("cuFuncGetParamInfo"));
    if (!missing.empty()) {
      problem = cat(library.path, " lacks ", missing, ": the driver is older than CUDA 12.0");
      return;
    }
    const Result r = table.init(0);
    if (r != success) {
      const char* text = nullptr;
      table.error_string(r, &text);
      problem = cat("cuInit of ", library.path, " failed: ", text ? text : "unknown error", " (", r, ")");
      return;
    }
    table.driver_version(&table.version);
    usable = true;
    if (table.device_count(&devices) != success) devices = 0;
    if (devices == 0) problem = cat(library.path, " finds no CUDA device");
  }
};

LoadedDriver& loaded() { return root_object<LoadedDriver>(); }

// The errors after which CUDA refuses everything else in this process.
bool context_lost(Result r) { return r == 214 || r == 700 || r == 702 || r == 710 || (r >= 714 && r <= 719); }

std::string dotted(int major, int minor) { return cat(major, ".", minor); }

}  // namespace

const Driver* cuda_driver() { return loaded().usable ? &loaded().table : nullptr; }
const std::string& cuda_driver_problem() { return loaded().problem; }
int cuda_device_count() { return loaded().devices; }

void driver_failed(const char* op, Result result) {
  const char *name = nullptr, *text = nullptr;
  if (const Driver* d = cuda_driver()) {
    d->error_name(result, &name);
    d->error_string(result, &text);
  }
  std::string remedy, got;
  if (context_lost(result)) {
    got = cat("a kernel or copy before this call failed; launched last: ", launch_log().last());
    remedy =
        "CUDA's context is lost: this process cannot use the device any more; PHLOX_CUDA_BLOCKING=1 waits for "
        "each kernel and so names the one that fails, compute-sanitizer finds the access";
  }
  else if (result == 209 || result == 222)
    remedy = "the kernel was built for another chip: clear the kernel cache";
  else if (result >= 900 && result <= 908)
    remedy = "a step in the captured region cannot be captured: run it outside the capture";
  fail(result == out_of_memory ? ErrorCode::out_of_memory : ErrorCode::device,
       {.op = op,
        .fact = cat("CUDA: ", text ? text : "unknown error", " (", name ? name : "?", ", ", result, ")"),
        .got = got,
        .remedy = remedy});
}

// One row of the report: the names a library goes by and how it tells its version.
static LibraryInfo probe(const char* name, std::span<const char* const> files,
                         std::string (*version)(const Library&)) {
  LibraryInfo info{.name = name};
  const std::vector<std::string> dirs = cuda_library_dirs();
  const Library library = open_library(files, dirs);
  if (!library) {
    info.problem = library.tried;
    return info;
  }
  info.path = library.path;
  info.version = version(library);
  if (info.version.empty()) info.problem = "it does not tell its version";
  return info;
}

// Half a gigabyte, 50 ms to open: where no device could use it, its file name has to do.
static LibraryInfo probe_name(const char* name, std::span<const char* const> files,
                              std::string (*version)(const Library&)) {
  const std::string path = find_library(files, cuda_library_dirs());
  const size_t suffix = path.rfind(".so.");
  if (suffix == std::string::npos) return probe(name, files, version);
  return {.name = name, .path = path, .version = path.substr(suffix + 4)};
}

static std::string nvrtc_version(const Library& l) {
  int major = 0, minor = 0;
  const auto f = reinterpret_cast<int (*)(int*, int*)>(l.symbol("nvrtcVersion"));
  return f && f(&major, &minor) == 0 ? dotted(major, minor) : std::string();
}

static std::string cublaslt_version(const Library& l) {
  const auto f = reinterpret_cast<size_t (*)()>(l.symbol("cublasLtGetVersion"));
  if (!f) return {};
  const int v = int(f());  // 130002 for 13.0.2, 120805 for 12.8.5
  return cat(v / 10000, ".", v / 100 % 100, ".", v % 100);
}

static std::string cudnn_version(const Library& l) {
  const auto f = reinterpret_cast<size_t (*)()>(l.symbol("cudnnGetVersion"));
  if (!f) return {};
  const int v = int(f());  // 91200 for 9.12.0; 8905 for 8.9.5
  return v >= 10000 ? cat(v / 10000, ".", v / 100 % 100, ".", v % 100)
                    : cat(v / 1000, ".", v / 100 % 10, ".", v % 100);
}

std::vector<LibraryInfo> library_report() {
  std::vector<LibraryInfo> report;
  const LoadedDriver& d = loaded();
  LibraryInfo driver{.name = "libcuda", .path = d.library.path, .problem = d.problem};
  if (d.table.version) driver.version = dotted(d.table.version / 1000, d.table.version % 1000 / 10);
  report.push_back(std::move(driver));
  const char* const nvrtc[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"};
  const char* const cublaslt[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"};
  const char* const cudnn[] = {"libcudnn.so.9", "libcudnn.so"};
  report.push_back(probe("nvrtc", nvrtc, nvrtc_version));
  report.push_back(d.devices ? probe("cublasLt", cublaslt, cublaslt_version)
                             : probe_name("cublasLt", cublaslt, cublaslt_version));
  report.push_back(probe("cudnn", cudnn, cudnn_version));
  return report;
}

std::string library_report_text() {
  std::string s;
  for (const LibraryInfo& i : library_report()) {
    s += cat(i.name, ": ");
    if (!i.path.empty()) s += cat(i.path, i.version.empty() ? "" : " version ", i.version);
    if (!i.problem.empty()) s += cat(i.path.empty() ? "" : ": ", i.problem);
    s += '\n';
  }
  return s;
}

}  // namespace phlox::cuda
