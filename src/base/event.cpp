#include "base/event.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>

#include "base/error.h"
#include "base/root.h"

namespace phlox {

static const char* const kind_names[] = {"compile", "recompile", "cache", "fallback", "fusion_refused",
                                         "provider", "guard", "hook", "capture", "library"};
const char* event_kind_name(EventKind k) { return kind_names[int(k)]; }

// "a,b,c" contains name?
static bool listed(const char* list, const char* name) {
  if (!list) return false;
  const size_t n = std::strlen(name);
  for (const char* p = list; *p;) {
    const size_t len = std::strcspn(p, ",");
    if ((len == n && !std::strncmp(p, name, n)) || (len == 3 && !std::strncmp(p, "all", 3))) return true;
    p += len + (p[len] == ',');
  }
  return false;
}

struct EventLog {
  std::mutex mutex;
  std::deque<Event> ring;
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  bool explain = std::getenv("PHLOX_EXPLAIN") && *std::getenv("PHLOX_EXPLAIN") == '1';
  const char* logs = std::getenv("PHLOX_LOGS");
  const char* strict = std::getenv("PHLOX_STRICT_EVENTS");
};
static EventLog& log() { return root_object<EventLog>(); }

bool events_visible(EventKind k) {
  const EventLog& l = log();
  return l.explain || listed(l.logs, "events") || listed(l.logs, event_kind_name(k));
}

void emit_event(EventKind kind, std::string subject, std::string reason) {
  EventLog& l = log();
  if (events_visible(kind))
    std::fprintf(stderr, "phlox %s: %s: %s\n", event_kind_name(kind), subject.c_str(), reason.c_str());
  if (listed(l.strict, event_kind_name(kind)))
    fail(ErrorCode::invalid_argument, {.op = subject, .fact = cat("event '", event_kind_name(kind), "' was declared an error"),
                                       .got = reason, .remedy = "see PHLOX_STRICT_EVENTS"});
  const uint64_t us = uint64_t(std::chrono::duration_cast<std::chrono::microseconds>(
                                   std::chrono::steady_clock::now() - l.start).count());
  std::lock_guard lock(l.mutex);
  if (l.ring.size() == 4096) l.ring.pop_front();
  l.ring.push_back({kind, std::move(subject), std::move(reason), us});
}

std::vector<Event> recent_events() {
  EventLog& l = log();
  std::lock_guard lock(l.mutex);
  return {l.ring.begin(), l.ring.end()};
}

}  // namespace phlox
