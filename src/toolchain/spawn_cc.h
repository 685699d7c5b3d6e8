// SpawnCc: a system C compiler (gcc or clang) as a child process, on the same text as the plug-in. No shell:
// arguments go by vector, text and object through a private temporary folder, the environment is ours.
// Refuses: headers (-nostdinc), compilers that run longer than their time limit.
#pragma once
#include <memory>

#include "toolchain/compiler.h"

namespace phlox {

class SpawnCc final : public ObjectCompiler {
 public:
  // `name` is a path, or is looked up on PATH. Null when there is no such program.
  static std::unique_ptr<SpawnCc> find(std::string_view name);
  // $PHLOX_CC, else cc, gcc, clang. Null with `why` set when there is none.
  static std::unique_ptr<SpawnCc> find_default(std::string& why);

  std::vector<std::byte> compile_object(const std::string& source, const Target& target) override;
  std::string fingerprint() const override { return fingerprint_; }
  const char* name() const override { return name_.c_str(); }
  bool is_clang() const { return clang_; }
  void set_time_limit(int seconds) { time_limit_s_ = seconds; }

 private:
  SpawnCc() = default;
  std::string path_, name_, fingerprint_;
  bool clang_ = false;
  int time_limit_s_ = 120;
};

}  // namespace phlox
