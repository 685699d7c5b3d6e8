#include "toolchain/nvrtc.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "base/event.h"
#include "base/root.h"

namespace phlox {

// NVRTC's functions as we call them; our own prototypes, so that no header of the toolkit is needed.
struct Nvrtc::Functions {
  using Program = void*;
  const char* (*error_string)(int result) = nullptr;
  int (*version)(int* major, int* minor) = nullptr;
  int (*arch_count)(int* count) = nullptr;
  int (*archs)(int* list) = nullptr;
  int (*create)(Program* program, const char* source, const char* name, int headers,
                const char* const* contents, const char* const* names) = nullptr;
  int (*destroy)(Program* program) = nullptr;
  int (*compile)(Program program, int count, const char* const* options) = nullptr;
  int (*log_size)(Program program, size_t* bytes) = nullptr;
  int (*log)(Program program, char* text) = nullptr;
  int (*cubin_size)(Program program, size_t* bytes) = nullptr;
  int (*cubin)(Program program, char* bytes) = nullptr;
  int (*ptx_size)(Program program, size_t* bytes) = nullptr;
  int (*ptx)(Program program, char* text) = nullptr;
};

namespace {
constexpr const char* fixed_options[] = {
    "-std=c++17", "-default-device", "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true",
};

constexpr int invalid_option = 5;  // NVRTC_ERROR_INVALID_OPTION

// "sm_90a" -> 90; 0 for what is no architecture.
int arch_number(const std::string& arch) {
  int n = 0;
  if (arch.compare(0, 3, "sm_") != 0) return 0;
  const char* end = arch.data() + arch.size();
  const auto [rest, error] = std::from_chars(arch.data() + 3, end, n);
  const bool good =
      error == std::errc() && (rest == end || (rest + 1 == end && (*rest == 'a' || *rest == 'f')));
  return good ? n : 0;
}
}  // namespace

Nvrtc::~Nvrtc() = default;

Nvrtc* Nvrtc::find(std::string& why) {
  struct Found {
    std::unique_ptr<Nvrtc> compiler{new Nvrtc()};
    std::string problem = compiler->load();
    Found() {
      if (!problem.empty()) emit_event(EventKind::library, "nvrtc", problem);
    }
  };
  Found& found = root_object<Found>();
  why = found.problem;
  return why.empty() ? found.compiler.get() : nullptr;
}

// Opens the library; returns what is wrong, or nothing.
std::string Nvrtc::load() {
  const char* const names[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"};
  const std::vector<std::string> dirs = cuda_library_dirs();
  library_ = open_library(names, dirs);
  if (!library_) return cat("NVRTC was not found (", library_.tried, "); set PHLOX_CUDA_PATH to its folder");
  f_ = std::make_unique<Functions>();
  std::string missing;
  const auto get = [&](auto& f, const char* symbol) {
    f = reinterpret_cast<std::remove_reference_t<decltype(f)>>(library_.symbol(symbol));
    if (!f) missing += cat(missing.empty() ? "" : ", ", symbol);
  };
  get(f_->error_string, "nvrtcGetErrorString");
  get(f_->version, "nvrtcVersion");
  get(f_->arch_count, "nvrtcGetNumSupportedArchs");
  get(f_->archs, "nvrtcGetSupportedArchs");
  get(f_->create, "nvrtcCreateProgram");
  get(f_->destroy, "nvrtcDestroyProgram");
  get(f_->compile, "nvrtcCompileProgram");
  get(f_->log_size, "nvrtcGetProgramLogSize");
  get(f_->log, "nvrtcGetProgramLog");
  get(f_->cubin_size, "nvrtcGetCUBINSize");
  get(f_->cubin, "nvrtcGetCUBIN");
  get(f_->ptx_size, "nvrtcGetPTXSize");
  get(f_->ptx, "nvrtcGetPTX");
  if (!missing.empty()) return cat(library_.path, " lacks ", missing);
  int count = 0;
  if (f_->version(&major_, &minor_) != 0 || f_->arch_count(&count) != 0)
    return cat(library_.path, " does not answer");
  if (major_ < 12) return cat(library_.path, " is NVRTC ", major_, ".", minor_, ", older than 12.0");
  archs_.resize(size_t(std::max(count, 0)));
  if (count > 0) f_->archs(archs_.data());
  std::sort(archs_.begin(), archs_.end());
  if (archs_.empty()) return cat(library_.path, " knows no chip");
  fingerprint_ = cat("nvrtc ", major_, ".", minor_, " ", join(fixed_options, " "));
  return {};
}

std::string Nvrtc::code_arch(const std::string& arch) const {
  const int n = arch_number(arch);
  if (!n)
    fail(ErrorCode::invalid_argument, {.op = "compile kernels",
                                       .fact = "the target is no CUDA architecture",
                                       .got = cat("'", arch, "'"),
                                       .expected = "sm_80, sm_90a, ..."});
  if (std::binary_search(archs_.begin(), archs_.end(), n)) return arch;
  const auto above = std::upper_bound(archs_.begin(), archs_.end(), n);
  if (above == archs_.begin())
    fail(ErrorCode::device, {.op = "compile kernels",
                             .fact = cat("NVRTC ", major_, ".", minor_, " no longer knows ", arch),
                             .expected = cat("sm_", archs_.front(), " or newer"),
                             .remedy = "install an older CUDA toolkit, or use the CPU device"});
  return cat("compute_", *(above - 1));
}

std::vector<std::byte> Nvrtc::build(const std::string& source, const std::string& arch) const {
  const auto check = [&](const char* step, int r) {
    if (r != 0)
      fail(ErrorCode::internal,
           {.op = "compile kernels", .fact = cat("NVRTC failed to ", step), .got = f_->error_string(r)});
  };
  struct Owner {
    const Functions& f;
    Functions::Program program = nullptr;
    ~Owner() {
      if (program) f.destroy(&program);
    }
  } owner{*f_};
  check("create a program", f_->create(&owner.program, source.c_str(), "kernels.cu", 0, nullptr, nullptr));
  const std::string arch_option = cat("--gpu-architecture=", arch);
  std::vector<const char*> options(std::begin(fixed_options), std::end(fixed_options));
  options.push_back(arch_option.c_str());
  int r = invalid_option;
  if (!has_no_cache_option_.load(std::memory_order_relaxed)) {
    r = f_->compile(owner.program, int(options.size()), options.data());
  } else {
    options.push_back("--no-cache");
    r = f_->compile(owner.program, int(options.size()), options.data());
    if (r == invalid_option) {
      has_no_cache_option_ = false;
      return build(source, arch);
    }
  }
  if (r != 0) {
    size_t bytes = 0;
    std::string log;
    if (f_->log_size(owner.program, &bytes) == 0 && bytes > 1) {
      log.resize(bytes);
      f_->log(owner.program, log.data());
      log.resize(bytes - 1);
    }
    fail(ErrorCode::internal, {.op = "compile kernels",
                               .fact = cat("NVRTC refused the text (", f_->error_string(r), ")"),
                               .got = cat("for ", arch, ":\n", log),
                               .remedy = "please report this"});
  }
  const bool ptx = arch.compare(0, 8, "compute_") == 0;
  size_t bytes = 0;
  check("give its result", (ptx ? f_->ptx_size : f_->cubin_size)(owner.program, &bytes));
  std::vector<std::byte> code(bytes);
  check("give its result", (ptx ? f_->ptx : f_->cubin)(owner.program, reinterpret_cast<char*>(code.data())));
  PHLOX_CHECK(!code.empty(), "NVRTC gave no code for ", arch);
  return code;
}

Image Nvrtc::compile(std::span<const KernelText> batch, const Target& target) {
  PHLOX_CHECK(target.kind == DeviceKind::cuda, "NVRTC compiles for CUDA");
  const std::string arch = code_arch(target.arch);
  if (arch != target.arch)
    emit_event(EventKind::fallback, "nvrtc",
               cat("NVRTC ", major_, ".", minor_, " does not know ", target.arch, ": the driver translates ",
                   arch, " when it loads"));
  Image image;
  image.bytes = build(batch_source(batch), arch);
  for (const KernelText& t : batch) image.entries.push_back({t.entry, 0});
  return image;
}

}  // namespace phlox
