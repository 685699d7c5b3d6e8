#include "device/cpu/cpu_device.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/root.h"
#include "base/small_vector.h"
#include "base/team.h"
#include "device/cpu/arena.h"
#include "program/code_arena.h"

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

namespace {

// An image in the process's code arena, for the life of the module.
class CpuModule final : public Module {
 public:
  explicit CpuModule(const Image& image) {
    for (const Image::Entry& e : image.entries) entries_.emplace_back(e.name, e.offset);
    std::sort(entries_.begin(), entries_.end());
    block_ = code_arena().load(image);  // last: nothing may fail once there is something to unload
  }
  ~CpuModule() override { code_arena().unload(block_); }

  void* entry(const std::string& name) const override {
    const auto i = std::lower_bound(entries_.begin(), entries_.end(), name,
                                    [](const auto& e, const std::string& n) { return e.first < n; });
    if (i == entries_.end() || i->first != name)
      fail(ErrorCode::not_found, {.op = "cpu module", .fact = "no such entry", .got = name});
    return block_.at(i->second);
  }

 private:
  CodeArena::Block block_;
  std::vector<std::pair<std::string, uint64_t>> entries_;
};

}  // namespace

Ref<Module> CpuDevice::load(const Image& image) { return make_ref<CpuModule>(image); }

void CpuDevice::launch(const Launch& launch, StreamId) {
  PHLOX_CHECK(launch.entry, "launch without an entry");
  const auto kernel = reinterpret_cast<KernelFn>(launch.entry);
  const uint64_t* words = launch.words.data();
  if (launch.scratch_word < 0)
    return team().run(launch.items, launch.grain, [=](int64_t begin, int64_t end) { kernel(words, begin, end); });
  // One block for the launch, a share for every thread that may take part.
  const int64_t share = (launch.scratch_bytes + 4095) / 4096 * 4096;
  const int64_t threads = launch.items <= launch.grain ? 1 : team().num_threads();
  struct Scratch {
    Arena& arena;
    char* p;
    ~Scratch() { arena.free(p); }
  } scratch{arena_, static_cast<char*>(arena_.alloc(std::max<int64_t>(64, share * std::max<int64_t>(threads, Team::slot() + 1))))};
  team().run(launch.items, launch.grain, [&](int64_t begin, int64_t end) {
    SmallVector<uint64_t, 32> own;
    own.append(launch.words.begin(), launch.words.end());
    own[size_t(launch.scratch_word)] = reinterpret_cast<uint64_t>(scratch.p + Team::slot() * share);
    kernel(own.data(), begin, end);
  });
}

}  // namespace phlox
