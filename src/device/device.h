// Device: where buffers live and kernels run. A small table of functions and nothing about ops.
//
// Streams order work: everything given to one stream runs in order. A CPU device runs work at once, on the calling
// thread and its team, so its stream operations are no-ops. A buffer is freed in the order of the stream that it was
// last used on (record_use). All functions throw Error(device | out_of_memory) and leave the device usable.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/ref.h"
#include "program/image.h"
#include "type/target.h"

namespace phlox {

struct DeviceId {
  DeviceKind kind = DeviceKind::cpu;
  int8_t index = 0;
  friend bool operator==(DeviceId, DeviceId) = default;
};
void append(std::string& s, DeviceId d);  // "cpu", "cuda:0"

using StreamId = uint32_t;  // 0: the default stream of the device

// Loaded code. Entries stay valid for the life of the module.
class Module : public RefCounted {
 public:
  virtual ~Module() = default;
  virtual void* entry(const std::string& name) const = 0;  // cpu: a KernelFn; cuda: a CudaEntry
};

struct Launch {           // one kernel launch, sizes already computed
  void* entry;
  std::span<const uint64_t> words;
  int64_t items;          // cpu: the range [0, items) is shared among the team in pieces of at least `grain`
  int64_t grain;
  int32_t scratch_word = -1;  // cpu: the word that becomes the address of scratch_bytes of memory of each thread
  int64_t scratch_bytes = 0;
  uint32_t grid[3] = {1, 1, 1}, block[3] = {1, 1, 1}, shared_bytes = 0;  // cuda
  bool early = false;     // cuda: the kernel may start before the launch before it has ended, and waits for that itself
};

// Work that a device has recorded and does again as a whole. It owns none of the code and memory that it uses, except what
// was allocated while it was recorded.
class Recording : public RefCounted {
 public:
  virtual ~Recording() = default;
};

struct MemoryStats {
  int64_t allocated_bytes, reserved_bytes, peak_allocated_bytes, peak_reserved_bytes, alloc_count, segment_count;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual DeviceId id() const = 0;
  virtual const Target& target() const = 0;

  // Memory. Never null for bytes > 0; 64-byte (cpu) or 256-byte (cuda) aligned; contents undefined.
  virtual void* alloc(int64_t bytes, StreamId stream) = 0;
  virtual void free(void* p, StreamId stream) noexcept = 0;
  virtual void record_use(void* p, StreamId stream) = 0;  // p is also used on `stream`: delay its reuse
  virtual MemoryStats memory_stats() const = 0;
  virtual void release_cached() = 0;

  // Copies between this device and the host or itself; asynchronous on `stream` where the device can.
  enum class CopyKind : uint8_t { to_device, to_host, on_device };
  virtual void copy(void* dst, const void* src, int64_t bytes, CopyKind kind, StreamId stream) = 0;
  virtual void fill_zero(void* dst, int64_t bytes, StreamId stream) = 0;

  virtual Ref<Module> load(const Image& image) = 0;
  virtual void launch(const Launch& launch, StreamId stream) = 0;

  virtual void synchronize(StreamId stream) = 0;
  virtual StreamId create_stream() = 0;
  virtual uint64_t record_event(StreamId stream) = 0;               // a ticket
  virtual void wait_event(StreamId stream, uint64_t event) = 0;

  // Between begin and end, work given to `stream` is recorded instead of done. What was allocated meanwhile belongs to
  // the recording, and to those that are made with it as `together`: they never run at the same time. Recording into an
  // earlier one (`into`) keeps what can be kept of it.
  virtual bool can_record() const { return false; }
  virtual void begin_recording(StreamId, const Ref<Recording>& together);
  virtual Ref<Recording> end_recording(StreamId, const Ref<Recording>& into);
  virtual void cancel_recording(StreamId) noexcept {}  // after an error between the two
  virtual void replay(Recording&, StreamId);
};

Device& cpu_device();
// Throws Error(device) that says which library is missing or which index is out of range.
Device& get_device(DeviceId id);
int device_count(DeviceKind kind);

}  // namespace phlox
