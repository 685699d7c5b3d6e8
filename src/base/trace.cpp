#include "base/trace.h"

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/root.h"

namespace phlox {

constinit std::atomic<bool> trace_detail::on{false};

namespace {

struct TraceEvent {
  uint64_t start_ns, duration_ns;
  const char* category;
  TraceArg args[2];
  uint32_t track;
  char name[40];
};
constexpr int64_t chunk_events = 256;  // how many events a thread takes from the bound at once

// The events of one thread. The lock is the owner's but at the start and the end of a trace.
struct TraceBuffer {
  std::mutex mutex;
  std::vector<std::unique_ptr<TraceEvent[]>> chunks;
  int64_t count = 0, dropped = 0;
  int64_t thread_id = 0;
  char thread_name[16] = {};  // what prctl needs
  bool owned = true;          // by a living thread
};

struct TraceState {
  std::mutex mutex;
  std::vector<std::unique_ptr<TraceBuffer>> buffers;
  std::vector<std::string> tracks;
  bool recorded = false;  // there are events of a trace that is not written yet
  std::atomic<uint64_t> start_ns{0};
  std::atomic<int64_t> room{0};  // events that may still be recorded, in chunks
  pthread_key_t at_thread_exit;

  TraceState() {
    ::pthread_key_create(&at_thread_exit, [](void* p) {
      auto* b = static_cast<TraceBuffer*>(p);
      std::lock_guard lock(b->mutex);
      b->owned = false;
    });
    ::pthread_atfork(nullptr, nullptr, [] { trace_detail::on.store(false, std::memory_order_relaxed); });
  }
};
TraceState& state() { return root_object<TraceState>(); }

TraceBuffer& own_buffer() {
  TraceState& s = state();
  if (void* p = ::pthread_getspecific(s.at_thread_exit)) return *static_cast<TraceBuffer*>(p);
  auto b = std::make_unique<TraceBuffer>();
  b->thread_id = ::syscall(SYS_gettid);
  ::prctl(PR_GET_NAME, b->thread_name, 0, 0, 0);
  ::pthread_setspecific(s.at_thread_exit, b.get());
  std::lock_guard lock(s.mutex);
  s.buffers.push_back(std::move(b));
  return *s.buffers.back();
}

// Room for one more event in the buffer, or null when the bound is reached.
TraceEvent* next_event(TraceBuffer& b) {
  if (b.count == int64_t(b.chunks.size()) * chunk_events) {
    if (state().room.fetch_sub(chunk_events, std::memory_order_relaxed) <= 0) {
      state().room.fetch_add(chunk_events, std::memory_order_relaxed);
      return nullptr;
    }
    b.chunks.push_back(std::make_unique<TraceEvent[]>(chunk_events));
  }
  const int64_t i = b.count++;
  return &b.chunks[size_t(i / chunk_events)][size_t(i % chunk_events)];
}

constexpr int64_t first_track_id = int64_t(1) << 30;  // above all thread ids

void write_name(JsonWriter& w, const char* what, int64_t process, int64_t thread, std::string_view name) {
  w.begin_object().member("ph", "M").member("name", what).member("pid", process).member("tid", thread);
  w.key("args").begin_object().member("name", name).end_object().end_object();
}

void write_event(JsonWriter& w, const TraceEvent& e, int64_t process, int64_t thread, uint64_t zero_ns) {
  w.begin_object().member("ph", "X").member("name", std::string_view(e.name)).member("cat", e.category);
  w.member("pid", process).member("tid", e.track ? first_track_id + e.track : thread);
  w.member("ts", double(e.start_ns - zero_ns) / 1000)
      .member("dur", double(e.duration_ns) / 1000);  // microseconds
  if (e.args[0].key || e.args[1].key) {
    w.key("args").begin_object();
    for (const TraceArg& a : e.args)
      if (a.key) w.member(a.key, a.value);
    w.end_object();
  }
  w.end_object();
}

// Outer spans before the inner ones that start at the same time: that is how viewers nest them.
std::vector<const TraceEvent*> in_order(const TraceBuffer& b) {
  std::vector<const TraceEvent*> r;
  r.reserve(size_t(b.count));
  for (int64_t i = 0; i < b.count; ++i)
    r.push_back(&b.chunks[size_t(i / chunk_events)][size_t(i % chunk_events)]);
  std::sort(r.begin(), r.end(), [](const TraceEvent* x, const TraceEvent* y) {
    return x->start_ns != y->start_ns ? x->start_ns < y->start_ns : x->duration_ns > y->duration_ns;
  });
  return r;
}

}  // namespace

uint64_t trace_clock_ns() {
  return uint64_t(std::chrono::duration_cast<std::chrono::nanoseconds>(
                      std::chrono::steady_clock::now().time_since_epoch())
                      .count());
}

void trace_start(int64_t max_events) {
  TraceState& s = state();
  std::lock_guard lock(s.mutex);
  if (trace_is_on() || max_events < 1)
    fail(ErrorCode::invalid_argument,
         {.op = "trace_start",
          .fact = max_events < 1 ? "no room for events" : "a trace is running",
          .remedy = max_events < 1 ? "ask for at least one event" : "stop it first"});
  std::erase_if(s.buffers, [](const auto& b) {
    std::lock_guard l(b->mutex);
    b->chunks.clear();
    b->count = b->dropped = 0;
    return !b->owned;
  });
  s.room = max_events;
  s.recorded = true;
  s.start_ns = trace_clock_ns();
  trace_detail::on.store(true, std::memory_order_relaxed);
}

void trace_span(uint32_t track, const char* category, std::string_view name, uint64_t start_ns,
                uint64_t duration_ns, TraceArg a, TraceArg b) {
  if (!trace_is_on()) return;
  TraceBuffer& buffer = own_buffer();
  std::lock_guard lock(buffer.mutex);
  // Asked again under the lock: a trace that ended meanwhile may be in the middle of being written.
  if (!trace_is_on() || start_ns < state().start_ns.load(std::memory_order_relaxed)) return;
  TraceEvent* e = next_event(buffer);
  if (!e) {
    ++buffer.dropped;
    return;
  }
  *e = {start_ns, duration_ns, category, {a, b}, track, {}};
  std::memcpy(e->name, name.data(), std::min(name.size(), sizeof e->name - 1));
}

uint32_t trace_track(std::string_view name) {
  TraceState& s = state();
  std::lock_guard lock(s.mutex);
  s.tracks.emplace_back(name);
  return uint32_t(s.tracks.size());
}

TraceSummary trace_stop_to(const std::string& path) {
  TraceState& s = state();
  std::lock_guard lock(s.mutex);
  if (!s.recorded)
    fail(ErrorCode::invalid_argument,
         {.op = "trace_stop", .fact = "no trace was started", .remedy = "call trace_start first"});
  trace_detail::on.store(false, std::memory_order_relaxed);

  FileReplacement file(path);
  std::string text;
  JsonWriter w(text);
  const int64_t process = ::getpid();
  TraceSummary sum;
  w.begin_object().member("displayTimeUnit", "ns").key("traceEvents").begin_array();
  write_name(w, "process_name", process, process, "phlox");
  for (size_t t = 0; t < s.tracks.size(); ++t)
    write_name(w, "thread_name", process, first_track_id + int64_t(t) + 1, s.tracks[t]);
  for (const auto& b : s.buffers) {
    std::lock_guard l(b->mutex);
    sum.dropped += b->dropped;
    sum.events += b->count;
    if (b->count) write_name(w, "thread_name", process, b->thread_id, b->thread_name);
    for (const TraceEvent* e : in_order(*b)) {
      write_event(w, *e, process, b->thread_id, s.start_ns);
      if (text.size() < (1 << 20)) continue;
      file.write(text);
      text.clear();
    }
  }
  w.end_array()
      .key("otherData")
      .begin_object()
      .member("dropped_events", sum.dropped)
      .end_object()
      .end_object();
  file.write(text);
  file.commit();
  for (const auto& b : s.buffers) {
    std::lock_guard l(b->mutex);
    b->chunks.clear();
    b->count = b->dropped = 0;
  }
  s.recorded = false;
  return sum;
}

}  // namespace phlox
