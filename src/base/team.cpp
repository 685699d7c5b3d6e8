#include "base/team.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <chrono>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <utility>
#include <vector>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "base/error.h"
#include "base/event.h"
#include "base/root.h"

namespace phlox {

namespace {

constexpr int max_threads = 1024;
constexpr int pieces_per_thread = 4;  // so that a thread that is slow or late costs a quarter of its share
constexpr auto spin_time = std::chrono::microseconds(50);
constexpr int most_kept_apart = 8;  // threads of a team

// The state word: how many workers are inside, flags, the job's number, and how many may be inside at once.
// The low half is what workers sleep on.
constexpr uint64_t inside_mask = 0xfff;
constexpr uint64_t open_bit = 1 << 12, waiting_bit = 1 << 13, stop_bit = 1 << 14;
constexpr uint64_t epoch_one = 1 << 16, epoch_mask = 0xffff0000;
constexpr int limit_shift = 32;
static_assert(std::endian::native == std::endian::little && max_threads <= int(inside_mask));

thread_local constinit int current_slot = 0;
thread_local constinit bool in_piece = false;

uint32_t* low_half(std::atomic<uint64_t>& a) { return reinterpret_cast<uint32_t*>(&a); }
long futex(uint32_t* p, int op, uint32_t value) {
  return ::syscall(SYS_futex, p, op, value, nullptr, nullptr, 0);
}

inline void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");
#endif
}

#if defined(__SSE__)
uint32_t float_mode() { return _mm_getcsr() & ~0x3fu; }  // without the sticky exception flags
void set_float_mode(uint32_t m) { _mm_setcsr(m); }
#else
uint32_t float_mode() { return 0; }
void set_float_mode(uint32_t) {}
#endif

// Polls until ready() or the time is over. The clock is read every 16th time: it costs as much as a poll.
template <class F>
bool spin_for(std::chrono::nanoseconds time, F ready) {
  const auto deadline = std::chrono::steady_clock::now() + time;
  do {
    for (int i = 0; i < 16; ++i) {
      if (ready()) return true;
      cpu_relax();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return ready();
}

int allowed_cpus() {
  for (size_t cpus = 1024; cpus <= (1 << 20); cpus *= 2) {  // the kernel's mask may be wider than cpu_set_t
    std::vector<unsigned long> mask(cpus / (8 * sizeof(long)));
    if (::sched_getaffinity(0, cpus / 8, reinterpret_cast<cpu_set_t*>(mask.data()))) continue;
    int n = 0;
    for (unsigned long word : mask) n += std::popcount(word);
    return std::clamp(n, 1, max_threads);
  }
  return 1;
}

int configured_threads(int cpus) {
  const char* text = std::getenv("PHLOX_NUM_THREADS");
  if (!text || !*text) return cpus;
  int n = 0;
  const char* end = text + std::strlen(text);
  const auto r = std::from_chars(text, end, n);
  if (r.ec != std::errc() || r.ptr != end || n < 1 || n > max_threads)
    fail(ErrorCode::invalid_argument, {.op = "PHLOX_NUM_THREADS",
                                       .fact = "not a number of threads",
                                       .got = text,
                                       .expected = cat("1 to ", max_threads)});
  return n;
}

}  // namespace

struct Team::Worker {
  Team* team;
  int slot;
  pthread_t thread;
};

// Written by the caller while no worker is inside; read by workers between joining and leaving. Pieces are
// numbered; slot s owns the numbers [first(s), first(s + 1)) and next[s] is the first one not yet claimed. A
// participant starts with its own slot, so that successive jobs over the same data find it in the same core's
// cache, then helps the others.
struct Team::Job {
  Fn fn;
  void* ctx;
  int64_t items, piece_items;
  uint32_t pieces, slots, float_mode;
  std::atomic<bool> failed;
  std::exception_ptr error;
  alignas(64) std::atomic<uint32_t> next[max_threads];

  uint32_t first(uint32_t slot) const { return uint32_t(uint64_t(pieces) * slot / slots); }
};

int Team::slot() { return current_slot; }
Team& team() { return root_object<Team>(); }

Team::Team() {
  cpus_ = allowed_cpus();
  const int n = configured_threads(cpus_);
  size_.store(n, std::memory_order_relaxed);
  spin_ = n <= cpus_;
  job_ = new Job;
  ::pthread_atfork(nullptr, nullptr, [] { root_object<Team>().after_fork_in_child(); });
}

void Team::run(int64_t items, int64_t grain, Fn fn, void* ctx) {
  if (items <= 0) return;
  if (items <= grain || in_piece || num_threads() == 1 || busy_.exchange(true, std::memory_order_acquire))
    return fn(ctx, 0, items);
  struct Unlock {
    std::atomic<bool>& busy;
    ~Unlock() { busy.store(false, std::memory_order_release); }
  } unlock{busy_};
  const int64_t threads = num_threads();
  if (started_ != threads - 1) start_workers();

  grain = std::max<int64_t>(grain, 1);
  const int64_t grains = (items - 1) / grain + 1;
  Job& j = *job_;
  j.fn = fn;
  j.ctx = ctx;
  j.items = items;
  j.piece_items = ((grains - 1) / std::min(grains, threads * pieces_per_thread) + 1) * grain;
  j.pieces = uint32_t((items - 1) / j.piece_items + 1);
  j.slots = std::min<uint32_t>(uint32_t(started_ + 1), j.pieces);
  j.float_mode = float_mode();
  j.failed.store(false, std::memory_order_relaxed);
  for (uint32_t s = 0; s < j.slots; ++s) j.next[s].store(j.first(s), std::memory_order_relaxed);

  publish(j.slots - 1);
  claim_pieces(0);
  wait_for_workers();
  if (j.error) [[unlikely]]
    std::rethrow_exception(std::exchange(j.error, nullptr));
}

void Team::publish(uint64_t limit) {
  const uint64_t epoch = (state_.load(std::memory_order_relaxed) + epoch_one) & epoch_mask;
  // Sequentially consistent together with wait_for_job: either this thread sees the sleeper or the sleeper
  // sees the job.
  state_.store(limit << limit_shift | epoch | open_bit, std::memory_order_seq_cst);
  // Woken workers wake the next ones: a large team then wakes in logarithmic time, and not at the caller's
  // expense.
  if (!limit || sleepers_.load(std::memory_order_seq_cst) <= 0) return;
  keep_apart();
  wake_sleepers(uint32_t(std::min<uint64_t>(limit, 2)));
}

// A scheduler likes to wake a thread where the waking one runs, and where there are few CPUs it may leave both there for
// tens of milliseconds while another CPU is idle. So workers that are about to wake must go elsewhere. Called by the
// holder of busy_.
void Team::keep_apart() {
  const int cpu = ::sched_getcpu();
  if (!spin_ || started_ >= most_kept_apart || cpu < 0 || cpu == avoided_cpu_) return;
  avoided_cpu_ = cpu;
  cpu_set_t others;
  if (::pthread_getaffinity_np(::pthread_self(), sizeof others, &others) || cpu >= CPU_SETSIZE) return;
  CPU_CLR(cpu, &others);
  if (CPU_COUNT(&others) < started_) return;  // this thread alone is bound: the scheduler knows where workers may run
  for (int i = 0; i < started_; ++i) ::pthread_setaffinity_np(workers_[i].thread, sizeof others, &others);
}

void Team::wake_sleepers(uint32_t at_most) {
  if (sleepers_.load(std::memory_order_seq_cst) <= 0) return;
  // Counted here and not by the woken, which may take long to run: else every job until then would wake them
  // again.
  const long woken = futex(low_half(state_), FUTEX_WAKE_PRIVATE, at_most);
  if (woken > 0) sleepers_.fetch_sub(int32_t(woken), std::memory_order_relaxed);
}

void Team::claim_pieces(int slot) noexcept {
  Job& j = *job_;
  in_piece = true;
  uint32_t s = uint32_t(slot) % j.slots;
  for (uint32_t visited = 0; visited < j.slots; ++visited, s = s + 1 == j.slots ? 0 : s + 1) {
    const uint32_t end = j.first(s + 1);
    while (j.next[s].load(std::memory_order_relaxed) < end && !j.failed.load(std::memory_order_relaxed)) {
      const uint32_t i = j.next[s].fetch_add(1, std::memory_order_relaxed);
      if (i >= end) break;
      const int64_t begin = i * j.piece_items;
      try {
        j.fn(j.ctx, begin, i + 1 == j.pieces ? j.items : begin + j.piece_items);
      } catch (...) {
        if (!j.failed.exchange(true, std::memory_order_relaxed)) j.error = std::current_exception();
      }
    }
  }
  in_piece = false;
}

// Closes the job, so that a worker that wakes late neither enters it nor delays the caller, and waits for
// those inside.
void Team::wait_for_workers() {
  auto none_inside = [this] { return !(state_.load(std::memory_order_acquire) & inside_mask); };
  if (!(state_.fetch_and(~open_bit, std::memory_order_acq_rel) & inside_mask)) return;
  if (spin_for(spin_ ? spin_time : std::chrono::nanoseconds(0), none_inside)) return;
  while (true) {
    const uint32_t ticket = done_.load(std::memory_order_acquire);
    if (!(state_.fetch_or(waiting_bit, std::memory_order_acq_rel) & inside_mask)) return;
    futex(reinterpret_cast<uint32_t*>(&done_), FUTEX_WAIT_PRIVATE, ticket);
    if (none_inside()) return;
  }
}

void Team::leave() {
  const uint64_t before = state_.fetch_sub(1, std::memory_order_acq_rel);
  if ((before & inside_mask) != 1 || !(before & waiting_bit)) return;
  done_.fetch_add(1, std::memory_order_release);
  futex(reinterpret_cast<uint32_t*>(&done_), FUTEX_WAKE_PRIVATE, 1);
}

static bool joinable(uint64_t s, uint64_t seen_epoch) {
  return (s & open_bit) && (s & epoch_mask) != seen_epoch && (s & inside_mask) < (s >> limit_shift);
}

bool Team::try_join(uint64_t& seen_epoch) {
  uint64_t s = state_.load(std::memory_order_acquire);
  while (joinable(s, seen_epoch)) {
    if (!state_.compare_exchange_weak(s, s + 1, std::memory_order_acq_rel, std::memory_order_acquire))
      continue;
    seen_epoch = s & epoch_mask;
    return true;
  }
  return false;
}

// Spins, then sleeps, until there may be a job for a worker that has seen this epoch, or the team stops.
void Team::wait_for_job(uint64_t seen_epoch) {
  auto wanted = [&](uint64_t s) { return (s & stop_bit) || joinable(s, seen_epoch); };
  if (spin_ && spin_for(spin_time, [&] { return wanted(state_.load(std::memory_order_acquire)); })) return;
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  const uint64_t s = state_.load(std::memory_order_seq_cst);
  if (wanted(s) || futex(low_half(state_), FUTEX_WAIT_PRIVATE, uint32_t(s)) != 0)
    sleepers_.fetch_sub(1, std::memory_order_relaxed);  // not woken by wake_sleepers, which counts for itself
  else
    wake_sleepers(2);
}

void* Team::worker_main(void* self) {
  const Worker& w =
      *static_cast<Worker*>(self);  // but for .thread, which pthread_create may still be writing
  Team& t = *w.team;
  current_slot = w.slot;
  uint64_t seen_epoch = ~uint64_t(0);
  while (!(t.state_.load(std::memory_order_acquire) & stop_bit)) {
    if (t.try_join(seen_epoch)) {
      if (float_mode() != t.job_->float_mode) set_float_mode(t.job_->float_mode);
      t.claim_pieces(current_slot);
      t.leave();
    } else {
      t.wait_for_job(seen_epoch);
    }
  }
  return nullptr;
}

// Called by the holder of busy_. A worker that cannot be started makes the team smaller.
void Team::start_workers() {
  stop_workers();
  const int n = num_threads() - 1;
  workers_ = new Worker[size_t(n)];
  sigset_t all, saved;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &saved);  // the user's signal handlers belong on the user's threads
  int error = 0;
  for (; started_ < n && !error; started_ += !error) {
    Worker& w = workers_[started_];
    w = {this, started_ + 1, {}};
    error = ::pthread_create(&w.thread, nullptr, worker_main, &w);
    if (!error) ::pthread_setname_np(w.thread, "phlox-worker");
  }
  ::pthread_sigmask(SIG_SETMASK, &saved, nullptr);
  if (!error) return;
  size_.store(started_ + 1, std::memory_order_relaxed);
  emit_event(EventKind::fallback, "thread team",
             cat("the system refused thread ", started_ + 1, " of ", n, ": ", strerrordesc_np(error)));
}

void Team::stop_workers() {
  if (started_) {
    state_.fetch_or(stop_bit, std::memory_order_seq_cst);
    futex(low_half(state_), FUTEX_WAKE_PRIVATE, INT_MAX);
    for (int i = 0; i < started_; ++i) ::pthread_join(workers_[i].thread, nullptr);
    state_.fetch_and(~stop_bit, std::memory_order_relaxed);
    sleepers_.store(0, std::memory_order_relaxed);
  }
  delete[] workers_;
  workers_ = nullptr;
  started_ = 0;
  avoided_cpu_ = -1;
}

void Team::set_num_threads(int n) {
  if (n < 1 || n > max_threads)
    fail(ErrorCode::invalid_argument, {.op = "set_num_threads",
                                       .fact = "the number of threads is out of range",
                                       .got = cat(n),
                                       .expected = cat("1 to ", max_threads)});
  if (in_piece)
    fail(ErrorCode::invalid_argument, {.op = "set_num_threads",
                                       .fact = "called from inside a parallel piece of work",
                                       .remedy = "set the number of threads between operations"});
  while (busy_.exchange(true, std::memory_order_acquire)) ::sched_yield();
  stop_workers();
  size_.store(n, std::memory_order_relaxed);
  spin_ = n <= cpus_;
  busy_.store(false, std::memory_order_release);
}

// Only the forking thread exists here. Plain stores alone: nothing else is safe after a fork of a threaded
// process.
void Team::after_fork_in_child() {
  state_.store(0, std::memory_order_relaxed);
  sleepers_.store(0, std::memory_order_relaxed);
  workers_ = nullptr;  // the parent's threads read them; here they are a small leak
  started_ = 0;
  avoided_cpu_ = -1;
  busy_.store(false, std::memory_order_relaxed);
}

}  // namespace phlox
