// CpuDevice: the host as a device. Work runs at once, on the calling thread and the team, so every stream is
// already done and stream operations do nothing. Invariant: a launch returns when all its items are computed;
// it may be called by several threads at once.
#pragma once
#include <atomic>

#include "device/device.h"

namespace phlox {

class Arena;

class CpuDevice final : public Device {
 public:
  CpuDevice();
  DeviceId id() const override { return {DeviceKind::cpu, 0}; }
  const Target& target() const override { return target_; }

  void* alloc(int64_t bytes, StreamId stream) override;
  void free(void* p, StreamId stream) noexcept override;
  void record_use(void*, StreamId) override {}
  MemoryStats memory_stats() const override;
  void release_cached() override;

  // The ranges must not overlap.
  void copy(void* dst, const void* src, int64_t bytes, CopyKind kind, StreamId stream) override;
  void fill_zero(void* dst, int64_t bytes, StreamId stream) override;

  Ref<Module> load(const Image& image) override;
  void launch(const Launch& launch, StreamId stream) override;

  void synchronize(StreamId) override {}
  StreamId create_stream() override { return streams_.fetch_add(1, std::memory_order_relaxed); }
  uint64_t record_event(StreamId) override { return 0; }
  void wait_event(StreamId, uint64_t) override {}

 private:
  Arena& arena_;
  Target target_;
  std::atomic<StreamId> streams_{1};
};

}  // namespace phlox
