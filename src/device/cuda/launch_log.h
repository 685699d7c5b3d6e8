// LaunchLog: the names of the kernels and graphs that this process gave to its GPUs last. CUDA tells that a kernel failed
// long after its launch, and of none which; the message then names these. A launch costs one store; names are kept for
// the life of the process, as modules may go before their kernels' errors come. Safe on all threads.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>

namespace phlox::cuda {

class LaunchLog {
 public:
  uint32_t name(std::string text);  // what log() is told; never 0
  void log(uint32_t name) noexcept {
    recent_[at_.fetch_add(1, std::memory_order_relaxed) % size].store(name, std::memory_order_relaxed);
  }
  std::string last() const;  // "k_a, k_b", the latest first, each once; empty: nothing was launched

 private:
  static constexpr uint32_t size = 8;
  std::array<std::atomic<uint32_t>, size> recent_{};
  std::atomic<uint32_t> at_{0};
  mutable std::mutex mutex_;
  std::deque<std::string> names_;
};

LaunchLog& launch_log();

}  // namespace phlox::cuda
