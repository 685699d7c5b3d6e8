#include "base/trace.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/team.h"

namespace phlox {

static std::string trace_path() {
  return (std::filesystem::temp_directory_path() / cat("phlox-trace-test-", int64_t(::getpid()), ".json"))
      .string();
}

namespace {
struct Trace {
  TraceSummary summary;
  std::string text;
};
}  // namespace
static Trace stop() {
  Trace t;
  t.summary = trace_stop_to(trace_path());
  t.text = read_file(trace_path());
  std::filesystem::remove(trace_path());
  JsonReader r(t.text, {"trace", "the file", ""});  // the file is one well-formed value
  r.skip();
  r.finish();
  return t;
}

static int count(const std::string& text, std::string_view what) {
  int n = 0;
  for (size_t i = 0; (i = text.find(what, i)) != text.npos; i += what.size()) ++n;
  return n;
}

TEST(Trace, records_nested_spans_with_arguments) {
  trace_start();
  {
    TraceScope outer("run", "outer \"quoted\"\n", {"items", 7}, {"bytes", -1});
    TraceScope inner("run", "inner");
  }
  const uint32_t track = trace_track("gpu \\ 0");
  trace_span(track, "kernel", "k", trace_clock_ns(), 1500);
  const Trace t = stop();
  EXPECT_EQ(t.summary.events, 3);
  EXPECT_EQ(t.summary.dropped, 0);
  EXPECT_EQ(count(t.text, "\"outer \\\"quoted\\\"\\n\""), 1) << t.text;
  EXPECT_EQ(count(t.text, "\"args\":{\"items\":7,\"bytes\":-1}"), 1) << t.text;
  EXPECT_EQ(count(t.text, "\"dur\":1.5"), 1) << t.text;
  EXPECT_EQ(count(t.text, "\"gpu \\\\ 0\""), 1) << t.text;
  EXPECT_LT(t.text.find("outer"), t.text.find("inner"));  // though the inner one ended first
}

TEST(Trace, nothing_is_recorded_when_off) {
  {
    TraceScope s("run", "before");
  }
  trace_start();
  auto across = std::make_unique<TraceScope>("run", "across");
  Trace t = stop();
  EXPECT_EQ(t.summary.events, 0);
  trace_start();
  across = nullptr;  // began in the trace before
  EXPECT_EQ(stop().summary.events, 0);
}

TEST(Trace, memory_is_bounded_and_loss_is_told) {
  trace_start(1000);
  for (int i = 0; i < 5000; ++i) TraceScope s("run", "span");
  const Trace t = stop();
  EXPECT_GE(t.summary.events, 1000);
  EXPECT_LT(t.summary.events, 1000 + 256);
  EXPECT_EQ(t.summary.events + t.summary.dropped, 5000);
  EXPECT_EQ(count(t.text, cat("\"dropped_events\":", t.summary.dropped)), 1);
  EXPECT_EQ(count(t.text, "\"span\""), int(t.summary.events));
}

TEST(Trace, long_and_broken_names_stay_well_formed) {
  trace_start();
  const std::string name = std::string(38, 'a') + "\xc3\xa4" + std::string(100, 'b');
  {
    TraceScope s("run", name);
  }
  {
    TraceScope s("run", "\xff\x01");
  }
  EXPECT_EQ(stop().summary.events, 2);
}

TEST(Trace, threads_come_and_go) {
  for (int round = 0; round < 3; ++round) {
    trace_start();
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([] {
        for (int i = 0; i < 500; ++i) TraceScope s("run", "mine");
      });
    for (int i = 0; i < 20; ++i) team().run(64, 1, [](int64_t, int64_t) { TraceScope s("team", "piece"); });
    for (auto& t : threads) t.join();
    const Trace t = stop();
    EXPECT_EQ(count(t.text, "\"mine\""), 2000);
    EXPECT_GE(count(t.text, "\"piece\""), 20);
  }
}

TEST(Trace, starting_and_stopping_while_others_record) {
  std::atomic<bool> stop_threads{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      while (!stop_threads) TraceScope s("run", "x");
    });
  for (int i = 0; i < 10; ++i) {
    trace_start(2000);
    std::this_thread::sleep_for(std::chrono::microseconds(300));
    const Trace t = stop();
    EXPECT_EQ(count(t.text, "\"x\""), int(t.summary.events));
  }
  stop_threads = true;
  for (auto& t : threads) t.join();
}

TEST(Trace, misuse_and_unwritable_files_are_errors) {
  EXPECT_THROW(trace_stop_to(trace_path()), Error);
  EXPECT_THROW(trace_start(0), Error);
  trace_start();
  EXPECT_THROW(trace_start(), Error);
  {
    TraceScope s("run", "kept");
  }
  EXPECT_THROW(trace_stop_to("/no/such/folder/trace.json"), Error);
  EXPECT_FALSE(trace_is_on());
  EXPECT_EQ(stop().summary.events, 1);  // the second attempt has the events
}

}  // namespace phlox
