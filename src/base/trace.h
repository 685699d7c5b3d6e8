// Trace: a recorder of spans (what ran, when, for how long, on which thread) that writes the trace-event JSON
// which Perfetto and chrome://tracing load.
//
// Off, a TraceScope costs one relaxed load and a branch. On, each thread records into a buffer of its own.
// Invariant: memory is bounded by the number of events given to trace_start; what no longer fits is counted
// as dropped, which the file says. Spans that began before the trace or end after it are left out. Refuses:
// two traces at once. A child of fork() records nothing.
#pragma once
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

namespace phlox {

namespace trace_detail {
// The one variable outside the root object: a disabled span must not pay for reaching it.
extern constinit std::atomic<bool> on;
}  // namespace trace_detail

struct TraceArg {
  const char* key = nullptr;  // a literal
  int64_t value = 0;
};

struct TraceSummary {
  int64_t events = 0;   // written
  int64_t dropped = 0;  // beyond the bound
};

inline bool trace_is_on() { return trace_detail::on.load(std::memory_order_relaxed); }
uint64_t trace_clock_ns();  // the steady clock that spans are measured with

// Throws Error(invalid_argument) while a trace runs or for max_events < 1. An event takes about 100 bytes.
void trace_start(int64_t max_events = 1 << 20);
// Ends the trace and writes it. Throws Error(invalid_argument) when none was started. When the file cannot be
// written (Error(io | not_found)) recording has ended but the events are kept: call again with another path.
TraceSummary trace_stop_to(const std::string& path);

// A row of its own in the trace, for work that runs on no thread (a GPU stream). Known for the life of the
// process.
uint32_t trace_track(std::string_view name);
// Records a span that was measured elsewhere; track 0 is the calling thread. `category` and argument keys are
// literals; `name` is cut to 39 bytes.
void trace_span(uint32_t track, const char* category, std::string_view name, uint64_t start_ns,
                uint64_t duration_ns, TraceArg a = {}, TraceArg b = {});

// The span from here to the end of the scope. `name` must live as long.
class TraceScope {
 public:
  TraceScope(const char* category, std::string_view name, TraceArg a = {}, TraceArg b = {}) {
    if (trace_is_on()) [[unlikely]] {
      category_ = category;
      name_ = name;
      a_ = a;
      b_ = b;
      start_ = trace_clock_ns();
    }
  }
  TraceScope(const TraceScope&) = delete;
  TraceScope& operator=(const TraceScope&) = delete;
  ~TraceScope() {
    if (start_) [[unlikely]]
      trace_span(0, category_, name_, start_, trace_clock_ns() - start_, a_, b_);
  }

 private:
  uint64_t start_ = 0;
  const char* category_;
  std::string_view name_;
  TraceArg a_, b_;
};

}  // namespace phlox
