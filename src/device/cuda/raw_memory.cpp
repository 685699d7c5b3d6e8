#include "device/cuda/raw_memory.h"

#include "base/format.h"
#include "device/cuda/cuda_device.h"

namespace phlox {

using namespace cuda;

// Nothing here can report an error: an allocator in the middle of its books has nobody to tell. A dead
// context makes every mark "done", since no work will run any more, and the next launch or copy says what
// happened.

void CudaMemory::quiesce() noexcept { device_.wait_for_running_work(); }

uint64_t CudaMemory::record(StreamId stream) noexcept {
  if (stream >= device_.stream_count()) return 0;
  CudaDevice::Current current(device_);
  EventPtr event = nullptr;
  if (!spare_.empty()) {
    event = spare_.back();
    spare_.pop_back();
  } else if (device_.driver().event_create(&event, event_no_timing) != success) {
    return 0;
  }
  if (device_.driver().event_record(event, device_.native_stream(stream)) != success) {
    device_.driver().event_destroy(event);
    return 0;
  }
  return uint64_t(reinterpret_cast<uintptr_t>(event));
}

static EventPtr event_of(uint64_t mark) { return reinterpret_cast<EventPtr>(uintptr_t(mark)); }

bool CudaMemory::done(uint64_t mark) noexcept {
  CudaDevice::Current current(device_);
  return device_.driver().event_query(event_of(mark)) != not_ready;
}

void CudaMemory::wait(uint64_t mark) noexcept {
  CudaDevice::Current current(device_);
  device_.driver().event_synchronize(event_of(mark));
}

void CudaMemory::forget(uint64_t mark) noexcept {
  try {
    spare_.push_back(event_of(mark));
  } catch (...) {
    CudaDevice::Current current(device_);
    device_.driver().event_destroy(event_of(mark));
  }
}

void* GpuMemory::allocate(int64_t bytes) noexcept {
  CudaDevice::Current current(device_);
  DevicePtr p = 0;
  return device_.driver().memory_alloc(&p, size_t(bytes)) == success ? reinterpret_cast<void*>(uintptr_t(p))
                                                                     : nullptr;
}

void GpuMemory::release(void* p, int64_t) noexcept {
  CudaDevice::Current current(device_);
  device_.driver().memory_free(DevicePtr(reinterpret_cast<uintptr_t>(p)));
}

std::string GpuMemory::describe() const {
  CudaDevice::Current current(device_);
  size_t free = 0, total = 0;
  if (device_.driver().memory_info(&free, &total) != success) return {};
  return cat(byte_text(int64_t(free)), " of ", byte_text(int64_t(total)), " free on the device");
}

void* PinnedMemory::allocate(int64_t bytes) noexcept {
  CudaDevice::Current current(device_);
  void* p = nullptr;
  return device_.driver().host_alloc(&p, size_t(bytes), 0) == success ? p : nullptr;
}

void PinnedMemory::release(void* p, int64_t) noexcept {
  CudaDevice::Current current(device_);
  device_.driver().host_free(p);
}

}  // namespace phlox
