// Replays on a device made for the purpose: its memory is the host's, and what is given to a recording stream is kept as a
// list of calls instead of done.
#include "runtime/replay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>

#include "base/event.h"

namespace phlox {
namespace {

struct Calls final : Recording {
  std::vector<std::function<void()>> calls;
};

class TapeDevice final : public Device {
 public:
  DeviceId id() const override { return {DeviceKind::cuda, 7}; }
  const Target& target() const override { return target_; }
  void* alloc(int64_t bytes, StreamId) override {
    void* p = std::malloc(size_t(bytes));
    live_[p] = bytes;
    return p;
  }
  void free(void* p, StreamId) noexcept override {
    live_.erase(p);
    std::free(p);
  }
  void record_use(void*, StreamId) override {}
  MemoryStats memory_stats() const override { return {}; }
  void release_cached() override {}
  void copy(void* dst, const void* src, int64_t bytes, CopyKind, StreamId s) override {
    give([=] { std::memmove(dst, src, size_t(bytes)); }, s);
  }
  void fill_zero(void* dst, int64_t bytes, StreamId s) override {
    give([=] { std::memset(dst, 0, size_t(bytes)); }, s);
  }
  Ref<Module> load(const Image&) override { return {}; }
  void launch(const Launch&, StreamId) override {}
  void synchronize(StreamId) override {}
  StreamId create_stream() override { return ++streams_; }
  uint64_t record_event(StreamId) override { return 1; }
  void wait_event(StreamId, uint64_t) override {}
  bool can_record() const override { return true; }
  void begin_recording(StreamId s, const Ref<Recording>&) override {
    recorder_ = s;
    tape_ = make_ref<Calls>();
  }
  Ref<Recording> end_recording(StreamId, const Ref<Recording>&) override {
    recorder_ = ~0u;
    return std::move(tape_);
  }
  void cancel_recording(StreamId) noexcept override { recorder_ = ~0u; }
  void replay(Recording& r, StreamId) override {
    ++replays;
    for (auto& f : static_cast<Calls&>(r).calls) f();
  }

  void give(std::function<void()> f, StreamId s) {
    if (s == recorder_) tape_->calls.push_back(std::move(f));
    else ++direct, f();
  }
  size_t live_blocks() const { return live_.size(); }
  int direct = 0, replays = 0;

 private:
  Target target_;
  std::map<void*, int64_t> live_;
  StreamId recorder_ = ~0u, streams_ = 0;
  Ref<Calls> tape_;
};

constexpr int64_t n = 16;

// out = a + b, elementwise.
void add(const DeviceCall& c) {
  float* out = static_cast<float*>(c.call.out[0].data);
  const float *a = static_cast<const float*>(c.call.in[0].data), *b = static_cast<const float*>(c.call.in[1].data);
  static_cast<TapeDevice&>(c.device).give([=] { for (int64_t i = 0; i < n; ++i) out[i] = a[i] + b[i]; }, c.stream);
}
void on_host(HostCall& c) {
  for (int64_t i = 0; i < n; ++i)
    static_cast<float*>(c.out[0].data)[i] = static_cast<const float*>(c.in[0].data)[i] * 2;
}

struct Maker {
  Ref<Program> p = make_ref<Program>();
  TensorType type;
  Maker() {
    type.dtype = DType::f32;
    type.shape = {n};
    register_device_native(DeviceKind::cuda, "tape.add", add);
    register_native("tape.host", on_host);
  }
  uint32_t buffer(Program::Buffer::Kind kind, uint32_t index = 0) {
    p->buffers.push_back({kind, index, n * 4, 0, 0});
    return uint32_t(p->buffers.size()) - 1;
  }
  uint32_t input() {
    p->inputs.push_back({type, false});
    return buffer(Program::Buffer::Kind::input, uint32_t(p->inputs.size()) - 1);
  }
  uint32_t output(int alias = -1) {
    p->outputs.push_back(type);
    p->output_alias.push_back(alias);
    return alias >= 0 ? ~0u : buffer(Program::Buffer::Kind::output, uint32_t(p->outputs.size()) - 1);
  }
  uint32_t temp() { return buffer(Program::Buffer::Kind::temp); }
  void step(const char* name, std::vector<uint32_t> buffers) {
    Program::Step s;
    s.kind = Program::Step::Kind::native;
    s.name = name;
    for (size_t i = 1; i < buffers.size(); ++i) {
      s.args.push_back({});
      s.args.back().kind = HostAttr::Kind::tensor;
      s.args.back().integer = int64_t(i) - 1;
    }
    s.types.assign(buffers.size(), type);
    s.buffers = std::move(buffers);
    const uint32_t at = uint32_t(p->steps.size());
    for (uint32_t b : s.buffers) {
      if (!p->buffers[b].last_step && !p->buffers[b].first_step) p->buffers[b].first_step = at;
      p->buffers[b].last_step = at;
    }
    p->steps.push_back(std::move(s));
  }
};

std::vector<float> values(float base) {
  std::vector<float> v(n);
  for (int64_t i = 0; i < n; ++i) v[size_t(i)] = base + float(i);
  return v;
}

// Two chains, each with a step that runs on the host in its middle: one cut is enough for both.
Ref<Program> two_chains() {
  Maker m;
  const uint32_t x = m.input(), y = m.input(), out = m.output();
  const uint32_t a = m.temp(), ha = m.temp(), b = m.temp(), hb = m.temp(), c = m.temp(), d = m.temp();
  m.step("tape.add", {a, x, y});
  m.step("tape.host", {ha, a});
  m.step("tape.add", {c, ha, x});
  m.step("tape.add", {b, y, y});
  m.step("tape.add", {b, b, x});
  m.step("tape.host", {hb, b});
  m.step("tape.add", {d, hb, y});
  m.step("tape.add", {out, c, d});
  return m.p;
}

TEST(Replay, StepsAreOrderedForFewCuts) {
  TapeDevice device;
  const Ref<Program> p = two_chains(), r = arrange_for_replay(*p, device);
  ASSERT_EQ(r->steps.size(), p->steps.size());
  std::string kinds;
  for (const Program::Step& s : r->steps) kinds += s.name == "tape.host" ? 'h' : 'd';
  EXPECT_EQ(kinds, "dddhhddd");
  EXPECT_NE(replay_refusal(r->steps[3], device).find("host"), std::string::npos);
  EXPECT_EQ(replay_refusal(r->steps[0], device), "");
}

TEST(Replay, SameValuesAndOutputsStay) {
  TapeDevice device;
  {
    auto e = make_ref<Executable>(two_chains(), device, std::vector<void*>());
    e->enable_replay({true, false});
    std::vector<std::vector<float>> results;
    std::vector<std::unique_ptr<float[]>> kept;
    auto y = values(100);
    for (int run = 0; run < 6; ++run) {
      auto x = values(float(run) * 1000);  // elsewhere at each call
      kept.push_back(std::make_unique<float[]>(n));
      void *in[] = {x.data(), y.data()}, *out[] = {kept.back().get()};
      e->run(e->plan({}), in, std::vector<int64_t>(2), out, 0);
    }
    for (int run = 0; run < 6; ++run)  // after all of them: no call wrote into another one's result
      for (int64_t i = 0; i < n; ++i) {
        const float x = float(run) * 1000 + float(i), yi = 100 + float(i);
        EXPECT_EQ(kept[size_t(run)][i], (x + yi) * 2 + x + ((yi + yi + x) * 2 + yi)) << run;
      }
    EXPECT_EQ(device.replays, 5 * 2);
    EXPECT_NE(e->replay_report().find("\"recordings\": 1,"), std::string::npos) << e->replay_report();
    EXPECT_NE(e->replay_report().find("\"cuts\": 2"), std::string::npos) << e->replay_report();
  }
  EXPECT_EQ(device.live_blocks(), 0u);
}

// state += x, four times over; the state is an input that is also the output.
TEST(Replay, StateChangesInPlaceAndMayMove) {
  TapeDevice device;
  Maker m;
  const uint32_t state = m.input(), x = m.input();
  m.output(0);
  for (int i = 0; i < 4; ++i) m.step("tape.add", {state, state, x});
  auto e = make_ref<Executable>(m.p, device, std::vector<void*>());
  e->enable_replay({false, true});
  std::vector<std::vector<float>> places(3, values(0));
  float expected = 0;
  for (int run = 0; run < 24; ++run) {
    // It stays for three calls, then is elsewhere; from the eighth on it moves at every call.
    const size_t now = run < 8 ? size_t(run) / 3 : size_t(run) % 3, before = run ? run - 1 < 8 ? size_t(run - 1) / 3 : size_t(run - 1) % 3 : 0;
    if (now != before) places[now] = places[before];
    auto step = values(1);
    void *in[] = {places[now].data(), step.data()}, *out[] = {places[now].data()};
    e->run(e->plan({}), in, std::vector<int64_t>(2), out, 0);
    expected += 4;
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(places[now][size_t(i)], float(i) + expected + float(run + 1) * 4 * float(i)) << run;
  }
  // Recorded again a few times, then copied.
  EXPECT_NE(e->replay_report().find("\"recordings\": 5,"), std::string::npos) << e->replay_report();
}

TEST(Replay, SizesAreBounded) {
  TapeDevice device;
  Maker m;
  const Dim s = Dim::symbol(0);
  m.type.shape = {s};
  const uint32_t x = m.input(), out = m.output();
  m.p->symbols = {{Program::Symbol::Kind::size, 0, 0}};
  const uint32_t a = m.temp();
  for (int i = 0; i < 3; ++i) m.step("tape.add", {i == 2 ? out : a, x, i ? a : x});
  auto e = make_ref<Executable>(m.p, device, std::vector<void*>());
  e->enable_replay({true});
  for (int round = 0; round < 3; ++round)
    for (int64_t size = 16; size < 26; ++size) {
      std::vector<float> in_data(64, 1), out_data(64);
      void *in[] = {in_data.data()}, *out_p[] = {out_data.data()};
      e->run(e->plan({size}), in, std::vector<int64_t>(1), out_p, 0);
      EXPECT_EQ(out_data[0], 4);
    }
  const std::string report = e->replay_report();
  EXPECT_EQ(std::count(report.begin(), report.end(), '{'), 8) << report;
}

// Each cut says what it is for, and how the program was recorded in the end.
TEST(Replay, CutsAreEventsWithReasons) {
  TapeDevice device;
  const Ref<Program> p = two_chains();
  p->steps[0].no_capture = true;
  auto e = make_ref<Executable>(p, device, std::vector<void*>());
  e->enable_replay({true, true});
  const size_t before = recent_events().size();
  auto x = values(1), y = values(2), out = values(0);
  for (int run = 0; run < 3; ++run) {
    void *in[] = {x.data(), y.data()}, *results[] = {out.data()};
    e->run(e->plan({}), in, std::vector<int64_t>(2), results, 0);
  }
  std::string words;
  const std::vector<Event> events = recent_events();
  for (size_t i = std::min(before, events.size()); i < events.size(); ++i)
    if (events[i].kind == EventKind::capture) words += events[i].subject + " " + events[i].reason + "\n";
  EXPECT_NE(words.find("tape.host cut: it runs on the host"), std::string::npos) << words;
  EXPECT_NE(words.find("tape.add cut: the op says that it cannot be captured"), std::string::npos) << words;
  EXPECT_NE(words.find("recorded: 8 steps in "), std::string::npos) << words;
  EXPECT_EQ(out[0], (1 + 2) * 2 + 1 + ((2 + 2 + 1) * 2 + 2));
}

TEST(Replay, NoCaptureIsACut) {
  TapeDevice device;
  const Ref<Program> p = two_chains();
  p->steps[4].no_capture = true;
  EXPECT_NE(replay_refusal(p->steps[4], device).find("cannot be captured"), std::string::npos);
}

}  // namespace
}  // namespace phlox
