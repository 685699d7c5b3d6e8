#include "toolchain/clang_plugin.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/event.h"
#include "toolchain/places.h"

namespace phlox {

namespace {

bool read_exactly(int fd, void* to, size_t n, uint64_t at) {
  return at <= uint64_t(1) << 40 && ::pread(fd, to, n, off_t(at)) == ssize_t(n);
}

std::string build_id_of(int fd) {
  Elf64_Ehdr h;
  if (!read_exactly(fd, &h, sizeof h, 0) || std::memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 ||
      h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_type != ET_DYN || h.e_phentsize != sizeof(Elf64_Phdr) ||
      h.e_phnum > 64)
    return {};
  for (unsigned i = 0; i < h.e_phnum; ++i) {
    Elf64_Phdr p;
    if (!read_exactly(fd, &p, sizeof p, h.e_phoff + i * sizeof p)) return {};
    if (p.p_type != PT_NOTE || p.p_filesz > 4096) continue;
    unsigned char notes[4096];
    if (!read_exactly(fd, notes, p.p_filesz, p.p_offset)) return {};
    for (uint64_t at = 0; at + sizeof(Elf64_Nhdr) <= p.p_filesz;) {
      Elf64_Nhdr n;
      std::memcpy(&n, notes + at, sizeof n);
      at += sizeof n;
      const uint64_t name = (uint64_t(n.n_namesz) + 3) & ~3ull, data = (uint64_t(n.n_descsz) + 3) & ~3ull;
      if (name + data > p.p_filesz - at) break;
      if (n.n_type == NT_GNU_BUILD_ID && n.n_namesz == 4 && std::memcmp(notes + at, "GNU", 4) == 0 &&
          n.n_descsz >= 8) {
        std::string s;
        for (uint32_t k = 0; k < n.n_descsz; ++k) {
          const unsigned char byte = notes[at + name + k];
          s += "0123456789abcdef"[byte >> 4];
          s += "0123456789abcdef"[byte & 15];
        }
        return s;
      }
      at += name + data;
    }
  }
  return {};
}

std::vector<std::string> candidates() {
  if (const char* wanted = std::getenv("PHLOX_COMPILER_PLUGIN"); wanted && *wanted) return {wanted};
  return shipped_file_places("libphlox_compiler.so");
}

uint64_t now_us() {
  return uint64_t(std::chrono::duration_cast<std::chrono::microseconds>(
                      std::chrono::steady_clock::now().time_since_epoch())
                      .count());
}

}  // namespace

std::string elf_build_id(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  std::string id = build_id_of(fd);
  ::close(fd);
  return id;
}

std::unique_ptr<ClangPlugin> ClangPlugin::find(std::string& why) {
  why = "libphlox_compiler.so is not installed";
  for (const std::string& path : candidates()) {
    if (::access(path.c_str(), R_OK) != 0) continue;
    const std::string id = elf_build_id(path);
    if (id.empty()) {
      why = cat(path, " is no shared library with a build id");
      continue;
    }
    std::unique_ptr<ClangPlugin> p(new ClangPlugin);
    p->path_ = path;
    p->fingerprint_ = cat("clang-plugin ", PHLOX_PLUGIN_ABI, " ", id);
    why.clear();
    return p;
  }
  if (const char* wanted = std::getenv("PHLOX_COMPILER_PLUGIN");
      wanted && *wanted && ::access(wanted, R_OK) != 0)
    why = cat("PHLOX_COMPILER_PLUGIN names no readable file: '", wanted, "'");
  return nullptr;
}

void ClangPlugin::open() {
  std::lock_guard lock(mutex_);
  if (api_) return;
  const auto unusable = [&](std::string got) {
    fail(ErrorCode::device,
         {.op = "compile kernels",
          .fact = cat("cannot use the compiler plug-in ", path_),
          .got = std::move(got),
          .remedy = "reinstall it, or set PHLOX_COMPILER=cc to spawn the system's compiler"});
  };
  const uint64_t start = now_us();
  // Never closed: its threads and static objects live as long as the process.
  void* const library = ::dlopen(path_.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) unusable(::dlerror());
  const auto entry = reinterpret_cast<phlox_plugin_entry>(::dlsym(library, PHLOX_PLUGIN_SYMBOL));
  if (!entry) unusable("it has no symbol " PHLOX_PLUGIN_SYMBOL);
  const phlox_plugin_api* const api = entry(PHLOX_PLUGIN_ABI);
  if (!api || api->version != PHLOX_PLUGIN_ABI || api->bytes < sizeof(phlox_plugin_api))
    unusable(cat("it does not speak version ", PHLOX_PLUGIN_ABI, " of the interface"));
  api_ = api;
  times_.open_us = now_us() - start;
  emit_event(EventKind::library, path_, cat("opened in ", times_.open_us, " us: ", api->compiler));
}

std::vector<std::byte> ClangPlugin::compile_object(const std::string& source, const Target& target) {
  open();
  target_options(target);  // refuses odd names
  std::vector<const char*> features;
  for (const std::string& f : target.features) features.push_back(f.c_str());
  phlox_plugin_request request{};
  request.bytes = sizeof request;
  request.vector_bits = target.vector_bits;
  request.source = source.data();
  request.source_bytes = source.size();
  request.cpu = target.arch.empty() || target.arch == "generic" ? "x86-64" : target.arch.c_str();
  request.features = features.data();
  request.feature_count = features.size();
  phlox_plugin_result result{};
  result.bytes = sizeof result;
  const int status = api_->compile(&request, &result);
  const std::unique_ptr<phlox_plugin_result, void (*)(phlox_plugin_result*)> release(&result, api_->release);
  {
    std::lock_guard lock(mutex_);
    times_.parse_us += result.parse_ns / 1000;
    times_.passes_us += result.passes_ns / 1000;
    times_.code_us += result.code_ns / 1000;
    ++times_.compiles;
  }
  if (status != 0)
    fail(
        ErrorCode::internal,
        {.op = "compile kernels",
         .fact = status == 1 ? "the clang-19 plug-in refused the kernel text" : "the clang-19 plug-in failed",
         .got = cat("\n", std::string_view(result.log ? result.log : "", result.log_bytes)),
         .remedy = "please report this with the text above"});
  const auto* bytes = static_cast<const std::byte*>(result.object);
  return {bytes, bytes + result.object_bytes};
}

ClangPlugin::Times ClangPlugin::times() const {
  std::lock_guard lock(mutex_);
  return times_;
}

}  // namespace phlox
