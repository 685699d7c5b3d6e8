// CudaDevice: one GPU through the driver API. It owns a reference to the GPU's primary context (so vendor
// libraries and phlox share it), streams of its own (0 is an ordinary non-blocking stream, never CUDA's
// implicit one), a caching allocator for its memory and one for pinned host memory. Every call makes its
// context current on the calling thread and restores the caller's; nothing assumes that there is one GPU. All
// functions are thread-safe.
//
// The kernel convention. A kernel is
//     struct WORDS { unsigned long long w[N]; };
//     extern "C" __global__ void k_<hex>(const __grid_constant__ WORDS words)
// Its words, the same table as on a CPU, travel by value in the launch itself (N <= 512, the 4 KiB that every
// driver accepts): a launch copies nothing and allocates nothing. Words land in constant memory, so reading
// one is free, and the compiler proves that pointers cast from them are global addresses (ld.global, not
// generic loads);
// __grid_constant__ keeps indexed reads (lists) there too. A kernel finds its range from blockIdx and its
// words.
//
// Copies. From pageable memory, the source may change when copy() returns; into it, the data has arrived
// then. With pinned memory (alloc_host) both are asynchronous: the caller keeps the memory until the stream
// has passed.
//
// Capture. Between begin_capture and end_capture the work on a stream, and on streams that wait for its
// tickets, is recorded into a graph. What is allocated there comes from the graph's pool, which lives as long
// as its graphs. Host reads, pageable copies and waiting for outside tickets cannot be captured and are
// refused with their reason.
#pragma once
#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "device/cuda/caching_allocator.h"
#include "device/cuda/driver.h"
#include "device/cuda/launch_log.h"
#include "device/cuda/raw_memory.h"
#include "device/device.h"

namespace phlox {

// What Launch::entry points to on CUDA. It lives in its Module.
struct CudaEntry {
  std::string name;
  cuda::Function function = nullptr;
  int32_t words = -1;            // of the parameter block; -1: the driver is too old to tell
  int32_t max_shared_bytes = 0;  // dynamic shared memory that a block may have
  uint32_t log_name = 0;         // see LaunchLog
  mutable std::atomic<uint32_t> allowed_shared{48 << 10};  // raised on the first launch that needs more
};

// Memory that graphs write to when they run. Graphs that share a pool must not run at the same time.
class GraphPool : public RefCounted {
 public:
  GraphPool(CudaDevice& device, PoolId id) : device_(device), id_(id) {}
  ~GraphPool();
  PoolId id() const { return id_; }

 private:
  CudaDevice& device_;
  PoolId id_;
};

// A captured piece of work, ready to be launched again and again. It does not own the kernels and buffers
// from outside its pool that it uses: they must outlive it. Launches of one graph run one after another.
class GraphExec : public Recording {
 public:
  ~GraphExec() override;
  const Ref<GraphPool>& pool() const { return pool_; }
  int64_t nodes() const { return nodes_; }

 private:
  friend class CudaDevice;
  GraphExec(CudaDevice& device, Ref<GraphPool> pool) : device_(device), pool_(std::move(pool)) {}
  CudaDevice& device_;
  Ref<GraphPool> pool_;
  cuda::GraphExecPtr exec_ = nullptr;
  int64_t nodes_ = 0;
  uint32_t log_name_ = 0;
};

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(int index);  // throws Error(device); use cuda_device()

  DeviceId id() const override { return {DeviceKind::cuda, int8_t(index_)}; }
  const Target& target() const override { return target_; }

  void* alloc(int64_t bytes, StreamId stream) override;
  void free(void* p, StreamId stream) noexcept override;
  void record_use(void* p, StreamId stream) override;
  MemoryStats memory_stats() const override;
  void release_cached() override;
  void copy(void* dst, const void* src, int64_t bytes, CopyKind kind, StreamId stream) override;
  void fill_zero(void* dst, int64_t bytes, StreamId stream) override;
  Ref<Module> load(const Image& image) override;  // bytes: a cubin, or PTX text with its closing zero
  void launch(const Launch& launch, StreamId stream) override;
  void synchronize(StreamId stream) override;
  StreamId create_stream() override;  // at most 256; they live as long as the device
  uint64_t record_event(StreamId stream) override;
  void wait_event(StreamId stream, uint64_t ticket) override;
  bool can_record() const override { return true; }
  void begin_recording(StreamId stream, const Ref<Recording>& together) override;
  Ref<Recording> end_recording(StreamId stream, const Ref<Recording>& into) override;
  void cancel_recording(StreamId stream) noexcept override { cancel_capture(stream); }
  void replay(Recording& r, StreamId stream) override { launch(static_cast<GraphExec&>(r), stream); }

  // Tickets on the host. A ticket may count as not done while later work of its stream runs, never the
  // reverse.
  bool event_done(uint64_t ticket);
  void synchronize_event(uint64_t ticket);
  void synchronize_all();

  // Pinned host memory. A block that streams read or write is handed out again only after they have passed,
  // if they were named by record_host_use.
  void* alloc_host(int64_t bytes);
  void free_host(void* p) noexcept;
  void record_host_use(void* p, StreamId stream);

  CachingAllocator& allocator() { return *memory_; }
  CachingAllocator& host_allocator() { return *host_memory_; }
  std::string memory_summary() const;
  const std::string& name() const { return name_; }  // "NVIDIA H100 80GB HBM3"
  int64_t total_memory() const { return total_memory_; }

  // Graphs. `pool` continues an earlier graph's pool; without it the graph gets one of its own.
  void begin_capture(StreamId stream, Ref<GraphPool> pool = {});
  Ref<GraphExec> end_capture(StreamId stream);
  // Ends a capture into an existing graph: true when it was updated in place, false when it had to be made
  // anew (an event says why).
  bool end_capture(StreamId stream, GraphExec& graph);
  void cancel_capture(StreamId stream) noexcept;  // after an error between begin and end
  void launch(GraphExec& graph, StreamId stream);
  Ref<GraphPool> create_graph_pool();
  bool capturing() const { return active_captures_.load(std::memory_order_relaxed) != 0; }
  bool is_capturing(StreamId stream) const;
  void wait_for_running_work() noexcept;  // also while streams capture

  // For vendor libraries.
  const cuda::Driver& driver() const { return driver_; }
  cuda::Context native_context() const { return context_; }
  cuda::Stream native_stream(StreamId stream) const;
  StreamId stream_count() const { return stream_count_.load(std::memory_order_acquire); }

  // Makes the device's context current on this thread for a scope.
  class Current {
   public:
    explicit Current(const CudaDevice& device);
    ~Current();
    Current(const Current&) = delete;
    Current& operator=(const Current&) = delete;

   private:
    const CudaDevice& device_;
    bool pushed_ = false;
  };

 private:
  friend class GraphExec;
  friend class GraphPool;
  friend class CudaTimer;
  static constexpr uint32_t max_streams = 256, ring_size = 32;
  struct Capture {
    uint32_t id;
    StreamId origin;
    Ref<GraphPool> pool;
    std::vector<StreamId> streams;  // the origin and those that joined by waiting for a ticket of the capture
    std::vector<cuda::EventPtr>
        events;  // by ticket; a recorded event is a place in the graph, so each is used once
  };
  // The last events of a stream. A ticket older than the ring is as good as the event that took its place,
  // which is later on the same stream.
  struct StreamState {
    cuda::Stream stream = nullptr;
    std::mutex mutex;
    std::array<cuda::EventPtr, ring_size> events{};
    std::array<uint64_t, ring_size> serials{};
    uint64_t serial = 0;
    std::atomic<Capture*> capture{nullptr};
    cuda::EventPtr before_capture = nullptr;  // the end of the work that ran when the stream began to capture
  };

  void read_target();
  cuda::EventPtr ticket_event(uint64_t ticket, std::unique_lock<std::mutex>& lock);
  void copy_from_pageable(char* dst, const char* src, int64_t bytes, StreamId stream);
  void copy_to_pageable(char* dst, const char* src, int64_t bytes, StreamId stream);
  bool is_pinned(const void* p) const;
  void refuse_in_capture(StreamId stream, const char* op, const char* what) const;
  void raise_shared(const CudaEntry& entry, uint32_t bytes);
  Capture& find_capture(StreamId stream);
  void finish_capture(StreamId stream, cuda::Graph* graph, Ref<GraphPool>& pool);
  void join_capture(StreamId stream, uint64_t ticket);
  void mark_before_capture(StreamState& state);
  void instantiate(GraphExec& exec, cuda::Graph graph, StreamId stream);

  const cuda::Driver& driver_;
  int index_;
  cuda::DeviceNumber number_ = 0;
  cuda::Context context_ = nullptr;
  std::string name_;
  int64_t total_memory_ = 0;
  bool blocking_ = false;  // PHLOX_CUDA_BLOCKING: the host waits for each kernel, so that an error is that of one of them
  cuda::LaunchLog& log_ = cuda::launch_log();
  Target target_;
  std::unique_ptr<StreamState[]> streams_;
  std::atomic<uint32_t> stream_count_{0};
  std::mutex streams_mutex_;
  GpuMemory raw_memory_{*this};
  PinnedMemory raw_host_memory_{*this};
  std::unique_ptr<CachingAllocator> memory_, host_memory_;
  mutable std::mutex capture_mutex_;
  std::vector<std::unique_ptr<Capture>> captures_;
  std::atomic<uint32_t> active_captures_{0};
  uint32_t next_capture_ = 1;
  bool early_launches_ = false;
};

// Measures device time between two points of a stream.
class CudaTimer {
 public:
  explicit CudaTimer(CudaDevice& device);
  ~CudaTimer();
  void start(StreamId stream);
  void stop(StreamId stream);
  double milliseconds();  // waits for the end

 private:
  CudaDevice& device_;
  cuda::EventPtr start_ = nullptr, stop_ = nullptr;
};

// The device of that index, opened on first use. Throws Error(device): no driver (and where it was looked
// for), or no such index.
CudaDevice& cuda_device(int index);

// Makes get_device and device_count know CUDA. Cheap: opens nothing.
void register_cuda_devices();

}  // namespace phlox
