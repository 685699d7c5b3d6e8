#include "device/cpu/cpu_device.h"

#include <cstring>

#include "base/error.h"
#include "base/root.h"
#include "base/team.h"
#include "device/cpu/arena.h"
#include "device/cpu/code_arena.h"

namespace phlox {

// A piece of a copy takes some microseconds: less is not worth sharing.
static constexpr int64_t copy_grain = 128 << 10;

Device& cpu_device() { return root_object<CpuDevice>(); }

CpuDevice::CpuDevice() : arena_(Arena::host()), target_(host_target()) {
  target_.threads = team().num_threads();
}

void* CpuDevice::alloc(int64_t bytes, StreamId) { return arena_.alloc(bytes); }
void CpuDevice::free(void* p, StreamId) noexcept { arena_.free(p); }
MemoryStats CpuDevice::memory_stats() const { return arena_.stats(); }
void CpuDevice::release_cached() { arena_.release_cached(); }

void CpuDevice::copy(void* dst, const void* src, int64_t bytes, CopyKind, StreamId) {
  team().run(bytes, copy_grain, [=](int64_t begin, int64_t end) {
    std::memcpy(static_cast<char*>(dst) + begin, static_cast<const char*>(src) + begin, size_t(end - begin));
  });
}

void CpuDevice::fill_zero(void* dst, int64_t bytes, StreamId) {
  team().run(bytes, copy_grain, [=](int64_t begin, int64_t end) {
    std::memset(static_cast<char*>(dst) + begin, 0, size_t(end - begin));
  });
}

Ref<Module> CpuDevice::load(const Image& image) { return CodeArena::host().load(image); }

void CpuDevice::launch(const Launch& launch, StreamId) {
  PHLOX_CHECK(launch.entry, "launch without an entry");
  const auto kernel = reinterpret_cast<KernelFn>(launch.entry);
  const uint64_t* words = launch.words.data();
  team().run(launch.items, launch.grain, [=](int64_t begin, int64_t end) { kernel(words, begin, end); });
}

}  // namespace phlox
