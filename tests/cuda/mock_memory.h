// MockMemory: a RawMemory whose streams exist on paper, with a happens-before checker.
//
// Every stream has a vector clock; so has the host, which learns from marks that it saw done. Submitting work
// joins the stream's clock with the host's; waiting for an event joins with the clock at the event. Work runs
// in any order that the clocks allow. A range of addresses may be handed out again only if everything that
// ever used it happens before the next thing its new stream runs: that is decided on the clocks, not on one
// lucky schedule.
#pragma once
#include <array>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "device/cuda/caching_allocator.h"

namespace phlox {

class MockMemory final : public RawMemory {
 public:
  static constexpr int streams = 4;
  using Clock = std::array<int, streams>;
  struct Use {
    int stream;
    int tick;
  };

  explicit MockMemory(int64_t capacity, uint64_t seed = 1) : capacity_(capacity), random_(seed) {}

  // ---- RawMemory
  void* allocate(int64_t bytes) noexcept override {
    if (used_ + bytes > capacity_) return nullptr;
    used_ += bytes;
    ++raw_live;
    // Reuse a released range where one fits, as drivers do.
    for (auto it = released_.begin(); it != released_.end(); ++it) {
      if (it->second != bytes) continue;
      void* p = reinterpret_cast<void*>(it->first);
      released_.erase(it);
      return p;
    }
    const uintptr_t p = next_;
    next_ += uintptr_t(bytes);
    return reinterpret_cast<void*>(p);
  }
  void release(void* p, int64_t bytes) noexcept override {
    check_claims(p, bytes, 0, "gave back memory of a live graph");
    if (submitted_ != executed_) violations.push_back("released a segment while work was in flight");
    used_ -= bytes;
    --raw_live;
    released_[reinterpret_cast<uintptr_t>(p)] = bytes;
  }
  void quiesce() noexcept override {
    executed_ = submitted_;
    for (int s = 0; s < streams; ++s) join(host_, clocks_[s]);
  }
  uint64_t record(StreamId stream) noexcept override {
    if (capturing[stream]) violations.push_back("recorded a mark on a capturing stream");
    submit(int(stream));
    marks_.push_back({int(stream), clocks_[stream][stream], clocks_[stream], false});
    ++marks_open;
    return marks_.size();
  }
  bool done(uint64_t mark) noexcept override {
    Mark& m = marks_[mark - 1];
    if (executed_[m.stream] < m.tick) return false;
    join(host_, m.clock);
    return true;
  }
  void wait(uint64_t mark) noexcept override {
    Mark& m = marks_[mark - 1];
    for (int s = 0; s < streams; ++s) executed_[s] = std::max(executed_[s], m.clock[s]);
    join(host_, m.clock);
  }
  void forget(uint64_t mark) noexcept override {
    if (marks_[mark - 1].forgotten) violations.push_back("forgot a mark twice");
    marks_[mark - 1].forgotten = true;
    --marks_open;
  }
  std::string describe() const override { return "mock"; }

  // ---- The device's side of a program
  int submit(int stream) {
    join(clocks_[stream], host_);
    submitted_[stream] = ++clocks_[stream][stream];
    return clocks_[stream][stream];
  }
  void order(int before, int after) {  // an event recorded on `before`, awaited by `after`
    submit(before);
    submit(after);
    join(clocks_[after], clocks_[before]);
  }
  void run_some() {
    // What a stream may have run by now: nothing that depends on what others have not.
    for (int s = 0; s < streams; ++s)
      if (random_() % 2) advance(s, executed_[s] + int(random_() % 8));
  }

  // ---- The checker
  void handed_out(void* p, int64_t bytes, StreamId stream) {
    Clock now = stream == host_stream ? host_ : clocks_[stream];
    join(now, host_);
    const uintptr_t lo = reinterpret_cast<uintptr_t>(p), hi = lo + uintptr_t(bytes);
    std::vector<Range> keep;
    for (Range& r : history_) {
      if (r.hi <= lo || hi <= r.lo) {
        keep.push_back(std::move(r));
        continue;
      }
      if (r.live) violations.push_back("handed out memory that is in use");
      for (const Use& u : r.uses)
        if (u.tick > now[u.stream]) violations.push_back("unordered reuse");
      if (r.lo < lo) keep.push_back({r.lo, lo, r.live, r.uses});
      if (hi < r.hi) keep.push_back({hi, r.hi, r.live, r.uses});
    }
    keep.push_back({lo, hi, true, {}});
    history_ = std::move(keep);
  }
  // What a graph got while it was captured is written by its replays until the graph goes.
  void claim(int graph, void* p, int64_t bytes) {
    check_claims(p, bytes, graph, "handed out memory of a live graph");
    if (graph)
      claims_.push_back(
          {graph, reinterpret_cast<uintptr_t>(p), reinterpret_cast<uintptr_t>(p) + uintptr_t(bytes)});
  }
  void unclaim(int graph) {
    std::erase_if(claims_, [&](const Claim& c) { return c.graph == graph; });
  }
  void used(void* p, int stream) { range(p).uses.push_back({stream, submit(stream)}); }
  void given_back(void* p) { range(p).live = false; }

  std::vector<std::string> violations;
  std::array<bool, streams> capturing{};
  int64_t raw_live = 0, marks_open = 0;

 private:
  struct Mark {
    int stream, tick;
    Clock clock;
    bool forgotten;
  };
  struct Claim {
    int graph;
    uintptr_t lo, hi;
  };
  struct Range {
    uintptr_t lo, hi;
    bool live;
    std::vector<Use> uses;
  };

  void check_claims(void* p, int64_t bytes, int graph, const char* what) {
    const uintptr_t lo = reinterpret_cast<uintptr_t>(p), hi = lo + uintptr_t(bytes);
    for (const Claim& c : claims_)
      if (c.graph != graph && c.lo < hi && lo < c.hi) violations.push_back(what);
  }
  static void join(Clock& a, const Clock& b) {
    for (int i = 0; i < streams; ++i) a[i] = std::max(a[i], b[i]);
  }
  void advance(int stream, int tick) {
    tick = std::min(tick, submitted_[stream]);
    executed_[stream] = std::max(executed_[stream], tick);
    // What the stream waited for has run as well; its whole clock is a safe over-approximation of that.
    for (int s = 0; s < streams; ++s)
      if (s != stream) executed_[s] = std::max(executed_[s], std::min(clocks_[stream][s], submitted_[s]));
  }
  Range& range(void* p) {
    for (Range& r : history_)
      if (r.lo == reinterpret_cast<uintptr_t>(p)) return r;
    violations.push_back("used memory that was not handed out");
    history_.push_back({reinterpret_cast<uintptr_t>(p), reinterpret_cast<uintptr_t>(p) + 1, true, {}});
    return history_.back();
  }

  int64_t capacity_, used_ = 0;
  uintptr_t next_ = uintptr_t(1) << 40;
  std::map<uintptr_t, int64_t> released_;
  std::mt19937_64 random_;
  std::array<Clock, streams> clocks_{};
  Clock host_{}, submitted_{}, executed_{};
  std::vector<Mark> marks_;
  std::vector<Range> history_;
  std::vector<Claim> claims_;
};

}  // namespace phlox
