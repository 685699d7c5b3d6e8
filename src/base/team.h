// Team: the one fork-join thread team of the process. run() cuts [0, items) into pieces, the caller and the
// workers claim them, and run() returns when all are done. What a piece computes must not depend on how the
// range was cut.
//
// Invariants: every item is in exactly one piece; a piece is a multiple of `grain` items (but the last) and
// runs on one thread; effects of all pieces are visible to the caller after run(). Workers use the caller's
// floating-point mode, so a result cannot depend on which thread computed it. Workers start at the first run
// that needs them, spin for about 50 microseconds after a job and then sleep; small teams keep sleepers off the CPU of the
// thread that wakes them. One job at a time: a run() from
// a piece, or while another thread's job is running, computes its whole range itself on the calling thread.
// So pieces may block on other threads' runs without deadlock, and nobody waits for a turn. An exception in a
// piece stops the claiming of further pieces and is thrown again by run(); of several, one is. fork(): a
// child starts workers of its own when it needs them. A child forked inside a piece must exec or exit.
// Refuses: pieces that wait for each other (one thread may run them all), detached tasks, changing the size
// from inside a piece.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace phlox {

class Team {
 public:
  using Fn = void (*)(void* ctx, int64_t begin, int64_t end);

  // Calls fn(ctx, begin, end) over [0, items) in pieces of at least `grain` items (one of the calling thread
  // when items <= grain). items <= 0 calls nothing.
  void run(int64_t items, int64_t grain, Fn fn, void* ctx);

  // The same for a callable f(begin, end), which is not copied.
  template <class F>
    requires std::is_invocable_v<F&, int64_t, int64_t>
  void run(int64_t items, int64_t grain, F&& f) {
    run(
        items, grain,
        [](void* c, int64_t b, int64_t e) { (*static_cast<std::remove_reference_t<F>*>(c))(b, e); },
        const_cast<void*>(static_cast<const void*>(std::addressof(f))));
  }

  // PHLOX_NUM_THREADS, else the number of CPUs this process may run on, until set. The caller counts as one.
  int num_threads() const { return size_.load(std::memory_order_relaxed); }
  // Waits for a running job. Throws Error(invalid_argument) for n outside [1, 1024] or inside a piece.
  void set_num_threads(int n);

  // Which of the num_threads() participants of the current job this thread is: 0 for the caller and outside
  // jobs. Two threads of one job never share a slot: it indexes scratch memory that belongs to the run()
  // call.
  static int slot();

  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

 private:
  template <class T>
  friend T& root_object();
  Team();
  ~Team() = delete;  // workers may run until the process ends

  struct Worker;
  struct Job;
  static void* worker_main(void* self);
  void start_workers();
  void stop_workers();
  void publish(uint64_t limit);
  void wait_for_workers();
  void claim_pieces(int slot) noexcept;
  bool try_join(uint64_t& seen_epoch);
  void leave();
  void wait_for_job(uint64_t seen_epoch);
  void wake_sleepers(uint32_t at_most);
  void keep_apart();
  void after_fork_in_child();

  // All coordination is in one word: how many workers are inside the job, whether it is open, and which job
  // it is.
  alignas(64) std::atomic<uint64_t> state_{0};
  std::atomic<int32_t> sleepers_{0};  // workers in the kernel, waiting for state_ to change
  alignas(64) Job* job_ = nullptr;
  std::atomic<uint32_t> done_{0};              // the caller sleeps on it when workers stay inside for long
  alignas(64) std::atomic<bool> busy_{false};  // held by the one thread that runs a job or changes the team
  std::atomic<int> size_{1};
  bool spin_ = true;  // only while every participant can have a CPU
  int cpus_ = 1;
  Worker* workers_ = nullptr;  // started_ of them
  int started_ = 0;
  int avoided_cpu_ = -1;  // where workers may not run: the caller does
};

Team& team();

}  // namespace phlox
