// Events: nothing degrades silently. Every fallback, recompile, refused fusion, skipped kernel or eager read while
// tracing is an Event with a reason. Events go to a bounded ring (phlox_report("events")), to stderr when
// PHLOX_EXPLAIN=1 or PHLOX_LOGS names their kind, and become errors when PHLOX_STRICT_EVENTS names their kind.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace phlox {

enum class EventKind : uint8_t {
  compile,        // a program was compiled; how long, how many kernels
  recompile,      // a compiled function met new guards
  cache,          // a disk cache entry was refused, written or evicted
  fallback,       // a slower way was taken: interpreter instead of a kernel, cc instead of the plug-in
  fusion_refused, // two computations stay separate kernels
  provider,       // a hand-tuned implementation was refused or chosen
  guard,          // tracing fixed a value that may change between calls
  hook,           // a user hook ran at trace time
  capture,        // a graph capture was cut
  library,        // a shared library was found or not
};
const char* event_kind_name(EventKind);

struct Event {
  EventKind kind;
  std::string subject;  // what it is about: an op, a kernel, a file
  std::string reason;   // one sentence
  uint64_t time_us;     // since process start
};

void emit_event(EventKind kind, std::string subject, std::string reason);
std::vector<Event> recent_events();  // oldest first, at most 4096
bool events_visible(EventKind kind); // lets callers skip building text nobody will see

}  // namespace phlox
