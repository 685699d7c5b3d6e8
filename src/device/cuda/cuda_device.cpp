#include "device/cuda/cuda_device.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/library.h"
#include "base/event.h"
#include "base/root.h"
#include "base/team.h"
#include "device/cpu/arena.h"

namespace phlox {

using namespace cuda;

namespace {

// Pageable memory passes through pinned chunks that the thread team fills, a few of them, so that the copy
// engine is busy while the next one is filled. 8 MiB: on an H100 with 16 cores, chunks of 1, 2, 4 and 8 MiB
// carried 256 MiB in at 13, 18, 27 and 46 GB/s, where the driver's own way does 7 and pinned memory 55.
constexpr int64_t staging_chunk = 8 << 20;
constexpr int staging_depth = 3;

DevicePtr device_ptr(const void* p) { return DevicePtr(reinterpret_cast<uintptr_t>(p)); }

void copy_bytes(char* dst, const char* src, int64_t bytes) {
  if (bytes <= (512 << 10)) {
    std::memcpy(dst, src, size_t(bytes));
    return;
  }
  root_object<Team>().run(bytes, 256 << 10, [&](int64_t begin, int64_t end) {
    std::memcpy(dst + begin, src + begin, size_t(end - begin));
  });
}

const Driver& required_driver() {
  const Driver* driver = cuda_driver();
  if (!driver)
    fail(ErrorCode::device, {.op = "cuda",
                             .fact = "CUDA cannot be used",
                             .got = cuda_driver_problem(),
                             .expected = "NVIDIA's driver, libcuda.so.1",
                             .remedy = "use the CPU device"});
  return *driver;
}

int64_t environment_bytes(const char* name) {
  const char* text = std::getenv(name);
  return text && *text ? parse_bytes(text, name) : 0;
}

}  // namespace

// ---- Context
// ------------------------------------------------------------------------------------------------------

CudaDevice::Current::Current(const CudaDevice& device) : device_(device) {
  Context now = nullptr;
  device.driver_.context_current(&now);
  if (now != device.context_) pushed_ = device.driver_.context_push(device.context_) == success;
}

CudaDevice::Current::~Current() {
  Context ignored;
  if (pushed_) device_.driver_.context_pop(&ignored);
}

CudaDevice::CudaDevice(int index)
    : driver_(required_driver()), index_(index), streams_(std::make_unique<StreamState[]>(max_streams)) {
  driver_check("cuda device", driver_.device_get(&number_, index));
  driver_check("cuda context", driver_.primary_retain(&context_, number_));
  Current current(*this);
  read_target();
  create_stream();
  const char* blocking = std::getenv("PHLOX_CUDA_BLOCKING");
  blocking_ = blocking && *blocking && std::strcmp(blocking, "0") != 0;
  const char* mode = std::getenv("PHLOX_CUDA_ALLOCATOR");
  memory_ = std::make_unique<CachingAllocator>(
      raw_memory_, AllocatorOptions{.name = cat(id()),
                                    .limit_bytes = environment_bytes("PHLOX_CUDA_MEMORY_LIMIT"),
                                    .caching = !mode || std::strcmp(mode, "nocache") != 0});
  host_memory_ = std::make_unique<CachingAllocator>(
      raw_host_memory_, AllocatorOptions{.name = cat("cuda:", index_, " pinned")});
}

void CudaDevice::read_target() {
  const auto attribute = [&](Attribute a) {
    int value = 0;
    driver_check("cuda device attribute", driver_.device_attribute(&value, a, number_));
    return value;
  };
  char name[256] = {};
  driver_check("cuda device name", driver_.device_name(name, sizeof name - 1, number_));
  name_ = name;
  size_t total = 0;
  driver_check("cuda device memory", driver_.device_total_memory(&total, number_));
  total_memory_ = int64_t(total);
  const int major = attribute(capability_major), minor = attribute(capability_minor);
  target_.kind = DeviceKind::cuda;
  // From Hopper on, the matrix and copy instructions are only in the chip's own variant of the instruction
  // set.
  target_.arch = cat("sm_", major * 10 + minor, major >= 9 ? "a" : "");
  target_.vector_bits = 128;
  const char* early = std::getenv("PHLOX_CUDA_EARLY");  // on: launches may start while the one before them ends
  early_launches_ = early && std::string_view(early) == "on";
  target_.threads = attribute(multiprocessor_count);
  target_.l1_bytes = attribute(shared_per_multiprocessor);
  target_.l2_bytes = attribute(l2_cache_size);
  target_.l3_bytes = 0;
  target_.shared_bytes = attribute(shared_per_block_optin);
  // Programs may count on the matrix library where it is installed.
  const char* const matrix_library[] = {"libcublasLt.so.13", "libcublasLt.so.12"};
  const char* providers = std::getenv("PHLOX_PROVIDERS");
  if (!(providers && std::string_view(providers) == "off") && open_library(matrix_library, cuda_library_dirs()))
    target_.features = {"+cublaslt"};
}

// ---- Memory
// -------------------------------------------------------------------------------------------------------

void* CudaDevice::alloc(int64_t bytes, StreamId stream) {
  PHLOX_CHECK(stream < stream_count(), "stream ", stream, " of ", stream_count());
  return memory_->alloc(bytes, stream);
}

void CudaDevice::free(void* p, StreamId stream) noexcept {
  if (!p || memory_->free(p, stream)) return;
  try {
    emit_event(EventKind::library, cat("cuda:", index_, " free"),
               "a pointer that is not a live block was ignored");
  } catch (...) {
  }
}

void CudaDevice::record_use(void* p, StreamId stream) {
  PHLOX_CHECK(memory_->record_use(p, stream), "record_use of a pointer that is not a live block");
}

MemoryStats CudaDevice::memory_stats() const {
  const AllocatorStats s = memory_->stats();
  return {s.allocated_bytes,     s.reserved_bytes, s.peak_allocated_bytes,
          s.peak_reserved_bytes, s.allocs,         s.segments};
}

void CudaDevice::release_cached() {
  memory_->release_cached();
  host_memory_->release_cached();
}

std::string CudaDevice::memory_summary() const {
  return memory_->memory_summary() + host_memory_->memory_summary();
}

void* CudaDevice::alloc_host(int64_t bytes) { return host_memory_->alloc(bytes, host_stream); }
void CudaDevice::free_host(void* p) noexcept { host_memory_->free(p, host_stream); }
void CudaDevice::record_host_use(void* p, StreamId stream) {
  PHLOX_CHECK(host_memory_->record_use(p, stream),
              "record_host_use of a pointer that alloc_host did not give");
}

// ---- Copies
// -------------------------------------------------------------------------------------------------------

bool CudaDevice::is_pinned(const void* p) const {
  // The plural form answers "no type" for memory that CUDA does not know, where the singular one reports an
  // error.
  unsigned type = 0;
  int attribute = pointer_memory_type;
  void* value = &type;
  return driver_.pointer_attributes(1, &attribute, &value, device_ptr(p)) == success &&
         type == memory_type_host;
}

void CudaDevice::copy(void* dst, const void* src, int64_t bytes, CopyKind kind, StreamId stream) {
  if (bytes <= 0) return;
  Current current(*this);
  const Stream s = native_stream(stream);
  switch (kind) {
    case CopyKind::on_device:
      return driver_check("copy on device",
                          driver_.copy_on_device(device_ptr(dst), device_ptr(src), size_t(bytes), s));
    case CopyKind::to_device:
      if (is_pinned(src))
        return driver_check("copy to device", driver_.copy_to_device(device_ptr(dst), src, size_t(bytes), s));
      refuse_in_capture(stream, "copy to device",
                        "the source is pageable memory, whose contents a replay cannot read");
      return copy_from_pageable(static_cast<char*>(dst), static_cast<const char*>(src), bytes, stream);
    case CopyKind::to_host:
      if (is_pinned(dst))
        return driver_check("copy to host", driver_.copy_to_host(dst, device_ptr(src), size_t(bytes), s));
      refuse_in_capture(stream, "copy to host",
                        "the destination is pageable memory, which makes the host wait");
      return copy_to_pageable(static_cast<char*>(dst), static_cast<const char*>(src), bytes, stream);
  }
}

void CudaDevice::copy_from_pageable(char* dst, const char* src, int64_t bytes, StreamId stream) {
  uint64_t tickets[staging_depth] = {};
  for (int64_t at = 0, i = 0; at < bytes; at += staging_chunk, ++i) {
    const int64_t n = std::min(staging_chunk, bytes - at);
    // Bounds the pinned memory of one copy: chunk i reuses what chunk i - depth held.
    if (uint64_t& t = tickets[i % staging_depth]; t) synchronize_event(t);
    void* chunk = alloc_host(n);
    copy_bytes(static_cast<char*>(chunk), src + at, n);
    const Result r = driver_.copy_to_device(device_ptr(dst + at), chunk, size_t(n), native_stream(stream));
    host_memory_->free(chunk, stream);
    driver_check("copy to device", r);
    if (bytes > staging_chunk * staging_depth) tickets[i % staging_depth] = record_event(stream);
  }
}

void CudaDevice::copy_to_pageable(char* dst, const char* src, int64_t bytes, StreamId stream) {
  struct Piece {
    void* chunk;
    int64_t at, bytes;
    uint64_t ticket;
  } pieces[staging_depth] = {};
  const auto finish = [&](Piece& p) {
    if (!p.chunk) return;
    void* chunk = std::exchange(p.chunk, nullptr);
    try {
      synchronize_event(p.ticket);
      copy_bytes(dst + p.at, static_cast<const char*>(chunk), p.bytes);
    } catch (...) {
      host_memory_->free(chunk, stream);
      throw;
    }
    free_host(chunk);
  };
  try {
    int64_t i = 0;
    for (int64_t at = 0; at < bytes; at += staging_chunk, ++i) {
      Piece& p = pieces[i % staging_depth];
      finish(p);
      const int64_t n = std::min(staging_chunk, bytes - at);
      p = {alloc_host(n), at, n, 0};
      driver_check("copy to host",
                   driver_.copy_to_host(p.chunk, device_ptr(src + at), size_t(n), native_stream(stream)));
      p.ticket = record_event(stream);
    }
    for (int64_t k = 0; k < staging_depth; ++k) finish(pieces[(i + k) % staging_depth]);
  } catch (...) {
    for (Piece& p : pieces)
      if (p.chunk) host_memory_->free(p.chunk, stream);
    throw;
  }
}

void CudaDevice::fill_zero(void* dst, int64_t bytes, StreamId stream) {
  if (bytes <= 0) return;
  Current current(*this);
  driver_check("fill", driver_.fill_bytes(device_ptr(dst), 0, size_t(bytes), native_stream(stream)));
}

// ---- Kernels
// ------------------------------------------------------------------------------------------------------

namespace {

class CudaModule final : public Module {
 public:
  CudaModule(CudaDevice& device, const Image& image) : device_(device) {
    CudaDevice::Current current(device_);
    driver_check("load kernels", device_.driver().module_load(&module_, image.bytes.data()));
    entries_ = std::make_unique<CudaEntry[]>(image.entries.size());
    count_ = image.entries.size();
    try {
      for (size_t i = 0; i < count_; ++i) fill(entries_[i], image.entries[i].name);
    } catch (...) {
      device_.driver().module_unload(module_);
      throw;
    }
  }
  ~CudaModule() override {
    CudaDevice::Current current(device_);
    device_.driver().module_unload(module_);
  }
  void* entry(const std::string& name) const override {
    for (size_t i = 0; i < count_; ++i)
      if (entries_[i].name == name) return &entries_[i];
    fail(ErrorCode::not_found,
         {.op = "load kernels", .fact = "the module has no such kernel", .got = cat("'", name, "'")});
  }

 private:
  void fill(CudaEntry& e, const std::string& name) {
    const Driver& d = device_.driver();
    e.name = name;
    e.log_name = launch_log().name(name);
    driver_check(cat("find kernel ", name).c_str(), d.module_function(&e.function, module_, name.c_str()));
    int static_shared = 0;
    driver_check("kernel attribute",
                 d.function_attribute(&static_shared, function_static_shared, e.function));
    e.max_shared_bytes = int32_t(device_.target().shared_bytes) - static_shared;
    e.allowed_shared = uint32_t(std::max(0, (48 << 10) - static_shared));
    if (!d.function_param) return;
    size_t offset = 0, bytes = 0;
    e.words = d.function_param(e.function, 0, &offset, &bytes) == success ? int32_t(bytes / 8) : 0;
  }

  CudaDevice& device_;
  ModulePtr module_ = nullptr;
  std::unique_ptr<CudaEntry[]> entries_;
  size_t count_ = 0;
};

}  // namespace

Ref<Module> CudaDevice::load(const Image& image) {
  PHLOX_CHECK(!image.bytes.empty(), "an image without code");
  return make_ref<CudaModule>(*this, image);
}

void CudaDevice::launch(const Launch& l, StreamId stream) {
  const CudaEntry& e = *static_cast<const CudaEntry*>(l.entry);
  if (!l.grid[0] || !l.grid[1] || !l.grid[2]) return;
  // The driver reads as many bytes as the kernel declares, whatever we hand it.
  PHLOX_CHECK(e.words < 0 || size_t(e.words) == l.words.size(), e.name, " takes ", e.words, " words and got ",
              l.words.size());
  if (l.shared_bytes > e.allowed_shared.load(std::memory_order_relaxed)) raise_shared(e, l.shared_bytes);
  Current current(*this);
  void* parameters[] = {const_cast<uint64_t*>(l.words.data())};
  LaunchAttribute early{.id = attribute_early_start, .padding = 0, .allowed = 1};
  const LaunchConfig config{{l.grid[0], l.grid[1], l.grid[2]}, {l.block[0], l.block[1], l.block[2]}, l.shared_bytes, native_stream(stream), &early, 1};
  const Result r = l.early && early_launches_ ? driver_.launch_kernel_with(&config, e.function, parameters, nullptr) :
      driver_.launch_kernel(e.function, l.grid[0], l.grid[1], l.grid[2], l.block[0], l.block[1], l.block[2],
                            l.shared_bytes, native_stream(stream), parameters, nullptr);
  if (r != success) [[unlikely]]
    driver_failed(cat("launch ", e.name).c_str(), r);
  log_.log(e.log_name);
  if (blocking_ && !is_capturing(stream)) [[unlikely]]
    driver_check(cat("kernel ", e.name).c_str(), driver_.stream_synchronize(native_stream(stream)));
}

void CudaDevice::raise_shared(const CudaEntry& e, uint32_t bytes) {
  if (bytes > uint32_t(std::max(0, e.max_shared_bytes)))
    fail(ErrorCode::device, {.op = cat("launch ", e.name),
                             .fact = "a block has no such amount of shared memory",
                             .got = byte_text(bytes),
                             .expected = cat("at most ", byte_text(e.max_shared_bytes))});
  Current current(*this);
  // All of it at once: the limit costs nothing, only what a launch asks for does.
  driver_check("launch",
               driver_.function_set_attribute(e.function, function_max_dynamic_shared, e.max_shared_bytes));
  e.allowed_shared = uint32_t(e.max_shared_bytes);
}

// ---- Streams and tickets
// ------------------------------------------------------------------------------------------ A ticket is
// stream << 48 | serial; from inside a capture it is 1 << 63 | capture << 32 | index.

static constexpr uint64_t capture_bit = uint64_t(1) << 63;

Stream CudaDevice::native_stream(StreamId stream) const {
  PHLOX_CHECK(stream < stream_count(), "stream ", stream, " of ", stream_count());
  return streams_[stream].stream;
}

StreamId CudaDevice::create_stream() {
  std::lock_guard lock(streams_mutex_);
  const uint32_t n = stream_count_.load();
  if (n == max_streams)
    fail(ErrorCode::device, {.op = cat("cuda:", index_, " create_stream"),
                             .fact = "too many streams",
                             .got = cat(n, " streams"),
                             .expected = cat("at most ", max_streams),
                             .remedy = "reuse streams: more do not run faster"});
  Current current(*this);
  driver_check("create stream", driver_.stream_create(&streams_[n].stream, stream_non_blocking));
  stream_count_.store(n + 1, std::memory_order_release);
  return n;
}

void CudaDevice::synchronize(StreamId stream) {
  refuse_in_capture(stream, "synchronize", "the host would wait for work that is only recorded");
  Current current(*this);
  driver_check("synchronize", driver_.stream_synchronize(native_stream(stream)));
}

void CudaDevice::synchronize_all() {
  Current current(*this);
  driver_check("synchronize", driver_.context_synchronize());
}

// The event of a ticket, with its stream's lock held so that it is not recorded anew meanwhile.
EventPtr CudaDevice::ticket_event(uint64_t ticket, std::unique_lock<std::mutex>& lock) {
  if (ticket & capture_bit)
    fail(ErrorCode::device, {.op = "wait for a ticket",
                             .fact = "the ticket belongs to a graph capture",
                             .remedy = "record a ticket outside the capture"});
  const StreamId stream = StreamId(ticket >> 48);
  const uint64_t serial = ticket & ((uint64_t(1) << 48) - 1);
  PHLOX_CHECK(stream < stream_count() && serial, "ticket ", ticket);
  StreamState& s = streams_[stream];
  lock = std::unique_lock(s.mutex);
  PHLOX_CHECK(serial <= s.serial, "ticket ", ticket);
  return s.events[serial % ring_size];
}

bool CudaDevice::event_done(uint64_t ticket) {
  Current current(*this);
  std::unique_lock<std::mutex> lock;
  const EventPtr event = ticket_event(ticket, lock);
  const Result r = driver_.event_query(event);
  if (r == not_ready) return false;
  driver_check("query a ticket", r);
  return true;
}

void CudaDevice::synchronize_event(uint64_t ticket) {
  Current current(*this);
  std::unique_lock<std::mutex> lock;
  const EventPtr event = ticket_event(ticket, lock);
  // Not under the lock: others may record. If the event is recorded anew meanwhile, the wait is for what it
  // was.
  lock.unlock();
  driver_check("wait for a ticket", driver_.event_synchronize(event));
}

// ---- Timer, registry
// ----------------------------------------------------------------------------------------------

CudaTimer::CudaTimer(CudaDevice& device) : device_(device) {
  CudaDevice::Current current(device_);
  driver_check("create timer", device_.driver().event_create(&start_, event_default));
  const Result r = device_.driver().event_create(&stop_, event_default);
  if (r != success) {
    device_.driver().event_destroy(start_);
    driver_failed("create timer", r);
  }
}

CudaTimer::~CudaTimer() {
  CudaDevice::Current current(device_);
  device_.driver().event_destroy(start_);
  device_.driver().event_destroy(stop_);
}

void CudaTimer::start(StreamId stream) {
  CudaDevice::Current current(device_);
  driver_check("start timer", device_.driver().event_record(start_, device_.native_stream(stream)));
}

void CudaTimer::stop(StreamId stream) {
  CudaDevice::Current current(device_);
  driver_check("stop timer", device_.driver().event_record(stop_, device_.native_stream(stream)));
}

double CudaTimer::milliseconds() {
  CudaDevice::Current current(device_);
  float ms = 0;
  driver_check("read timer", device_.driver().event_synchronize(stop_));
  driver_check("read timer", device_.driver().event_elapsed(&ms, start_, stop_));
  return double(ms);
}

namespace {
struct CudaDevices {
  std::mutex mutex;
  std::unique_ptr<CudaDevice> devices[128];
};
}  // namespace

CudaDevice& cuda_device(int index) {
  required_driver();
  const int count = cuda_device_count();
  if (index < 0 || index >= count)
    fail(ErrorCode::device, {.op = "device",
                             .fact = "no such CUDA device",
                             .got = cat("cuda:", index),
                             .expected = count ? cat("cuda:0 to cuda:", count - 1) : cuda_driver_problem()});
  CudaDevices& all = root_object<CudaDevices>();
  std::lock_guard lock(all.mutex);
  PHLOX_CHECK(index < 128, index);
  if (!all.devices[index]) all.devices[index] = std::make_unique<CudaDevice>(index);
  return *all.devices[index];
}

}  // namespace phlox
