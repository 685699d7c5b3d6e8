// ClangPlugin: clang and LLVM in this process, through libphlox_compiler.so. Found by path, opened at the
// first compile and never closed; its fingerprint is the file's build id, read without opening it, so that
// cache hits need no LLVM. The file is $PHLOX_COMPILER_PLUGIN, or libphlox_compiler.so beside phlox's own
// library or executable, in lib/ there, or in ../lib.
#pragma once
#include <memory>
#include <mutex>

#include "toolchain/compiler.h"
#include "toolchain/plugin_abi.h"

namespace phlox {

class ClangPlugin final : public ObjectCompiler {
 public:
  // Null with `why` set when there is no such file or it is no plug-in.
  static std::unique_ptr<ClangPlugin> find(std::string& why);

  std::vector<std::byte> compile_object(const std::string& source, const Target& target) override;
  std::string fingerprint() const override { return fingerprint_; }
  const char* name() const override { return "clang-19 plug-in"; }
  const std::string& path() const { return path_; }

  struct Times {
    uint64_t open_us, parse_us, passes_us, code_us, compiles;
  };
  Times times() const;  // sums since the start
  void open();          // loads the library now. Throws Error(device)

 private:
  ClangPlugin() = default;
  std::string path_, fingerprint_;
  mutable std::mutex mutex_;
  const phlox_plugin_api* api_ = nullptr;
  Times times_{};
};

// The GNU build id of an ELF file as hex; empty when there is none or the file is damaged.
std::string elf_build_id(const std::string& path);

}  // namespace phlox
