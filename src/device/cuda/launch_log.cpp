#include "device/cuda/launch_log.h"

#include <algorithm>
#include <vector>

#include "base/root.h"

namespace phlox::cuda {

LaunchLog& launch_log() { return root_object<LaunchLog>(); }

uint32_t LaunchLog::name(std::string text) {
  std::lock_guard lock(mutex_);
  names_.push_back(std::move(text));
  return uint32_t(names_.size());
}

std::string LaunchLog::last() const {
  std::lock_guard lock(mutex_);
  std::string s;
  std::vector<uint32_t> met{0};
  const uint32_t end = at_.load(std::memory_order_relaxed);
  for (uint32_t i = 1; i <= std::min(end, size); ++i) {
    const uint32_t id = recent_[(end - i) % size].load(std::memory_order_relaxed);
    if (std::find(met.begin(), met.end(), id) != met.end() || id > names_.size()) continue;
    met.push_back(id);
    s += (s.empty() ? "" : ", ") + names_[id - 1];
  }
  return s;
}

}  // namespace phlox::cuda
