// Graph capture: CudaDevice's begin_capture to launch(GraphExec). See cuda_device.h.
#include <algorithm>

#include "base/error.h"
#include "base/event.h"
#include "device/cuda/cuda_device.h"

namespace phlox {

using namespace cuda;

static constexpr uint64_t capture_bit = uint64_t(1) << 63;

GraphPool::~GraphPool() { device_.memory_->release_pool(id_); }

GraphExec::~GraphExec() {
  CudaDevice::Current current(device_);
  // CUDA lets a running graph finish first; the pool waits for it before it gives memory back.
  if (exec_) device_.driver().graph_exec_destroy(exec_);
}

Ref<GraphPool> CudaDevice::create_graph_pool() { return make_ref<GraphPool>(*this, memory_->create_pool()); }

bool CudaDevice::is_capturing(StreamId stream) const {
  return streams_[stream].capture.load(std::memory_order_acquire) != nullptr;
}

void CudaDevice::refuse_in_capture(StreamId stream, const char* op, const char* what) const {
  if (!capturing() || !is_capturing(stream)) [[likely]]
    return;
  fail(ErrorCode::device, {.op = op,
                           .fact = "it cannot be captured into a graph",
                           .got = what,
                           .remedy = "do it outside the captured region, or use pinned memory for copies"});
}

// The context cannot be awaited while a stream captures. What other streams run can be, and of a capturing
// stream what it ran before.
void CudaDevice::wait_for_running_work() noexcept {
  Current current(*this);
  if (!capturing()) {
    driver_.context_synchronize();
    return;
  }
  for (StreamId i = 0; i < stream_count(); ++i) {
    StreamState& s = streams_[i];
    if (is_capturing(i))
      driver_.event_synchronize(s.before_capture);
    else
      driver_.stream_synchronize(s.stream);
  }
}

void CudaDevice::mark_before_capture(StreamState& s) {
  if (!s.before_capture)
    driver_check("begin capture", driver_.event_create(&s.before_capture, event_no_timing));
  driver_check("begin capture", driver_.event_record(s.before_capture, s.stream));
}

void CudaDevice::begin_capture(StreamId stream, Ref<GraphPool> pool) {
  const Stream native = native_stream(stream);
  if (!pool) pool = create_graph_pool();
  std::lock_guard lock(capture_mutex_);
  if (is_capturing(stream))
    fail(ErrorCode::device, {.op = "begin capture", .fact = cat("stream ", stream, " is already capturing")});
  auto capture = std::make_unique<Capture>();
  capture->id = next_capture_++ & 0x7fffffff;
  capture->origin = stream;
  capture->pool = std::move(pool);
  capture->streams = {stream};
  Current current(*this);
  mark_before_capture(streams_[stream]);
  memory_->route(stream, capture->pool->id());
  // Relaxed: allocations and event queries may go on meanwhile, here and on other threads. The allocator is
  // written for that: it never marks or asks a stream that captures.
  const Result r = driver_.begin_capture(native, capture_relaxed);
  if (r != success) {
    memory_->unroute(stream);
    driver_failed("begin capture", r);
  }
  streams_[stream].capture.store(capture.get(), std::memory_order_release);
  captures_.push_back(std::move(capture));
  ++active_captures_;
}

CudaDevice::Capture& CudaDevice::find_capture(StreamId stream) {
  for (const auto& c : captures_)
    if (c->origin == stream) return *c;
  fail(ErrorCode::device, {.op = "end capture", .fact = cat("stream ", stream, " did not begin a capture")});
}

// Ends the capture on CUDA's side and takes our records down, whatever CUDA says. `graph` is null if that
// failed.
void CudaDevice::finish_capture(StreamId stream, Graph* graph, Ref<GraphPool>& pool) {
  std::unique_ptr<Capture> capture;
  Result r;
  {
    std::lock_guard lock(capture_mutex_);
    Capture& found = find_capture(stream);
    Current current(*this);
    r = driver_.end_capture(streams_[stream].stream, graph);
    if (r != success) *graph = nullptr;
    for (StreamId s : found.streams) streams_[s].capture.store(nullptr, std::memory_order_release);
    const auto at =
        std::find_if(captures_.begin(), captures_.end(), [&](const auto& c) { return c.get() == &found; });
    capture = std::move(*at);
    captures_.erase(at);
    --active_captures_;
  }
  Current current(*this);
  for (StreamId s : capture->streams) memory_->unroute(s);
  for (EventPtr e : capture->events) driver_.event_destroy(e);
  pool = std::move(capture->pool);
  if (r != success) driver_failed("end capture", r);
}

void CudaDevice::instantiate(GraphExec& exec, Graph graph, StreamId stream) {
  size_t nodes = 0;
  Result r = driver_.graph_nodes(graph, nullptr, &nodes);
  GraphExecPtr made = nullptr;
  if (r == success) r = driver_.graph_instantiate(&made, graph, 0);
  // Moves the graph to the device now, not in its first launch.
  if (r == success) r = driver_.graph_upload(made, native_stream(stream));
  if (r != success) {
    if (made) driver_.graph_exec_destroy(made);
    driver_failed("instantiate graph", r);
  }
  if (exec.exec_) driver_.graph_exec_destroy(exec.exec_);
  exec.exec_ = made;
  exec.nodes_ = int64_t(nodes);
  if (!exec.log_name_) exec.log_name_ = launch_log().name(cat("a graph of ", nodes, " nodes"));
}

Ref<GraphExec> CudaDevice::end_capture(StreamId stream) {
  Graph graph = nullptr;
  Ref<GraphPool> pool;
  finish_capture(stream, &graph, pool);
  Current current(*this);
  Ref<GraphExec> exec;
  try {
    exec = Ref<GraphExec>::adopt(new GraphExec(*this, std::move(pool)));
    instantiate(*exec, graph, stream);
  } catch (...) {
    driver_.graph_destroy(graph);
    throw;
  }
  driver_.graph_destroy(graph);
  return exec;
}

bool CudaDevice::end_capture(StreamId stream, GraphExec& exec) {
  Graph graph = nullptr;
  Ref<GraphPool> pool;
  finish_capture(stream, &graph, pool);
  Current current(*this);
  GraphUpdateInfo info{};
  const Result r = driver_.graph_update(exec.exec_, graph, &info);
  try {
    if (r != success) {
      if (r != graph_update_failure) driver_failed("update graph", r);
      emit_event(
          EventKind::capture, cat("cuda:", index_, " graph"),
          cat("the new capture has another shape (reason ", info.result, "): the graph was made anew"));
      instantiate(exec, graph, stream);
    }
  } catch (...) {
    driver_.graph_destroy(graph);
    throw;
  }
  driver_.graph_destroy(graph);
  // The work may now use another pool's memory; the old pool must still outlive launches that run, which its
  // release waits for.
  exec.pool_ = std::move(pool);
  return r == success;
}

void CudaDevice::cancel_capture(StreamId stream) noexcept {
  try {
    Graph graph = nullptr;
    Ref<GraphPool> pool;
    finish_capture(stream, &graph, pool);
    Current current(*this);
    if (graph) driver_.graph_destroy(graph);
  } catch (...) {
    // A capture that CUDA has already invalidated ends with an error; our records are gone either way.
  }
}

void CudaDevice::launch(GraphExec& graph, StreamId stream) {
  Current current(*this);
  driver_check("launch graph", driver_.graph_launch(graph.exec_, native_stream(stream)));
  log_.log(graph.log_name_);
  if (blocking_) driver_check("graph", driver_.stream_synchronize(native_stream(stream)));
}

void CudaDevice::begin_recording(StreamId stream, const Ref<Recording>& together) {
  begin_capture(stream, together ? static_cast<GraphExec&>(*together).pool() : Ref<GraphPool>());
}

Ref<Recording> CudaDevice::end_recording(StreamId stream, const Ref<Recording>& into) {
  if (!into) return end_capture(stream);
  end_capture(stream, static_cast<GraphExec&>(*into));
  return into;
}

uint64_t CudaDevice::record_event(StreamId stream) {
  const Stream native = native_stream(stream);
  Current current(*this);
  if (capturing() && is_capturing(stream)) {
    std::lock_guard lock(capture_mutex_);
    PHLOX_CHECK(is_capturing(stream), "a capture was ended while work was given to it");
    Capture& c = *streams_[stream].capture.load();
    EventPtr event = nullptr;
    driver_check("record a ticket", driver_.event_create(&event, event_no_timing));
    c.events.push_back(event);
    driver_check("record a ticket", driver_.event_record(event, native));
    return capture_bit | uint64_t(c.id) << 32 | (c.events.size() - 1);
  }
  StreamState& s = streams_[stream];
  std::lock_guard lock(s.mutex);
  EventPtr& event = s.events[(s.serial + 1) % ring_size];
  if (!event) driver_check("record a ticket", driver_.event_create(&event, event_no_timing));
  driver_check("record a ticket", driver_.event_record(event, native));
  ++s.serial;
  return uint64_t(stream) << 48 | s.serial;
}

void CudaDevice::wait_event(StreamId stream, uint64_t ticket) {
  const Stream native = native_stream(stream);
  Current current(*this);
  if (ticket & capture_bit) return join_capture(stream, ticket);
  refuse_in_capture(stream, "wait for a ticket",
                    "the ticket was recorded outside the capture, and a replay cannot see it");
  std::unique_lock<std::mutex> lock;
  const EventPtr event = ticket_event(ticket, lock);
  driver_check("wait for a ticket", driver_.stream_wait_event(native, event, 0));
}

// A wait for a ticket of a capture makes the waiting stream part of it.
void CudaDevice::join_capture(StreamId stream, uint64_t ticket) {
  std::lock_guard lock(capture_mutex_);
  const uint32_t id = uint32_t(ticket >> 32) & 0x7fffffff, index = uint32_t(ticket);
  const auto at =
      std::find_if(captures_.begin(), captures_.end(), [&](const auto& c) { return c->id == id; });
  if (at == captures_.end())
    fail(ErrorCode::device, {.op = "wait for a ticket",
                             .fact = "the ticket belongs to a graph capture that has ended",
                             .remedy = "record a ticket after launching the graph"});
  Capture& c = **at;
  PHLOX_CHECK(index < c.events.size(), index);
  StreamState& s = streams_[stream];
  if (Capture* other = s.capture.load(); other && other != &c)
    fail(ErrorCode::device,
         {.op = "wait for a ticket", .fact = "two graph captures cannot depend on each other"});
  const bool joins = !s.capture.load();
  if (joins) mark_before_capture(s);
  driver_check("wait for a ticket", driver_.stream_wait_event(s.stream, c.events[index], 0));
  if (!joins) return;
  memory_->route(stream, c.pool->id());
  c.streams.push_back(stream);
  s.capture.store(&c, std::memory_order_release);
}

}  // namespace phlox
