// Nvrtc: CUDA C++ -> cubin through NVIDIA's run-time compiler, which is opened when it is first asked for and
// needs no GPU. The image's bytes are the cubin of the target's chip and every entry has offset 0: entries
// are found by name. Where the compiler is older than the chip, the image is PTX text for the newest chip
// that it knows, which the driver translates when it loads (an event says so).
//
// Contraction and approximate division, square roots and denormals are off, as everywhere; code without a
// mark runs on the device, so helpers are written as for a CPU. NVRTC's own cache on disk is off too: ours
// checks owners and checksums, and one is enough. A batch in one program costs less than half of what its
// kernels cost one by one, but their code cannot be taken apart again; KernelStore's threads are what helps
// there. Refuses: headers (there is no include path), line information, texts whose compilation gives an
// error.
#pragma once
#include <atomic>
#include <memory>

#include "base/library.h"
#include "toolchain/compiler.h"

namespace phlox {

class Nvrtc final : public Compiler {
 public:
  // The process's one; null with `why` set when there is no usable library.
  static Nvrtc* find(std::string& why);
  ~Nvrtc() override;

  Image compile(std::span<const KernelText> batch, const Target& target) override;
  std::string fingerprint() const override { return fingerprint_; }
  const char* name() const override { return "NVRTC"; }

  const std::string& path() const { return library_.path; }
  int major() const { return major_; }
  int minor() const { return minor_; }
  // "sm_90a" when this NVRTC makes code for it, "compute_..." when only PTX will do.
  std::string code_arch(const std::string& arch) const;

 private:
  struct Functions;
  Nvrtc() = default;
  std::string load();
  std::vector<std::byte> build(const std::string& source, const std::string& arch) const;

  Library library_;
  std::unique_ptr<Functions> f_;
  std::string fingerprint_;
  std::vector<int> archs_;  // sorted: 75, 80, ..., 120
  int major_ = 0, minor_ = 0;
  mutable std::atomic<bool> has_no_cache_option_{true};  // until NVRTC says that it does not know the option
};

}  // namespace phlox
