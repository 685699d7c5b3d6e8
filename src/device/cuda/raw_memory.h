// The memories behind CUDA's caching allocators: a GPU's own, and its host's pinned memory. Both mark streams
// with events from a pool. Called under the allocator's lock, on whatever thread allocates or frees.
#pragma once
#include <vector>

#include "device/cuda/caching_allocator.h"
#include "device/cuda/driver.h"

namespace phlox {

class CudaDevice;

class CudaMemory : public RawMemory {
 public:
  explicit CudaMemory(CudaDevice& device) : device_(device) {}
  void quiesce() noexcept override;
  uint64_t record(StreamId stream) noexcept override;
  bool done(uint64_t mark) noexcept override;
  void wait(uint64_t mark) noexcept override;
  void forget(uint64_t mark) noexcept override;

 protected:
  CudaDevice& device_;

 private:
  std::vector<cuda::EventPtr> spare_;
};

class GpuMemory final : public CudaMemory {
 public:
  using CudaMemory::CudaMemory;
  void* allocate(int64_t bytes) noexcept override;
  void release(void* p, int64_t bytes) noexcept override;
  std::string describe() const override;
};

class PinnedMemory final : public CudaMemory {
 public:
  using CudaMemory::CudaMemory;
  void* allocate(int64_t bytes) noexcept override;
  void release(void* p, int64_t bytes) noexcept override;
};

}  // namespace phlox
