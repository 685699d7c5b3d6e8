#include "base/team.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/sanitizer.h"
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace phlox {

namespace {
// Tests change the size of the one team; this gives it back.
struct WithThreads {
  int saved = team().num_threads();
  explicit WithThreads(int n) { team().set_num_threads(n); }
  ~WithThreads() { team().set_num_threads(saved); }
};
}  // namespace

static void expect_each_item_once(int64_t items, int64_t grain) {
  std::vector<std::atomic<int>> hits(size_t(std::max<int64_t>(items, 0)));
  std::mutex mutex;
  int calls = 0;
  team().run(items, grain, [&](int64_t b, int64_t e) {
    EXPECT_LT(b, e);
    EXPECT_TRUE(b % std::max<int64_t>(grain, 1) == 0) << b << " " << grain;
    EXPECT_TRUE(e == items || e % std::max<int64_t>(grain, 1) == 0);
    for (int64_t i = b; i < e; ++i) hits[size_t(i)].fetch_add(1, std::memory_order_relaxed);
    std::lock_guard lock(mutex);
    ++calls;
  });
  for (auto& h : hits) ASSERT_EQ(h.load(), 1);
  if (items > 0 && items <= grain) {
    EXPECT_EQ(calls, 1);
  }
  EXPECT_LE(calls, 4 * team().num_threads());
}

TEST(Team, covers_every_item_once_for_all_sizes_and_grains) {
  for (int threads : {1, 2, 3, 8}) {
    WithThreads w(threads);
    for (int64_t items : {-1, 0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 1000, 4097})
      for (int64_t grain : {0, 1, 2, 7, 8, 64, 1000, 5000}) expect_each_item_once(items, grain);
  }
}

TEST(Team, random_jobs_in_quick_succession) {
  WithThreads w(3);
  std::mt19937 rng(1);
  for (int round = 0; round < 300; ++round) {
    std::vector<int64_t> data(1 + rng() % 3000, 1);
    const int64_t grain = 1 + rng() % 100;
    for (int step = 0; step < 5; ++step)  // plain memory: a job must see the previous job's writes
      team().run(int64_t(data.size()), grain, [&](int64_t b, int64_t e) {
        for (int64_t i = b; i < e; ++i) data[size_t(i)] += step;
      });
    for (int64_t v : data) ASSERT_EQ(v, 11);
    if (round % 50 == 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));  // lets workers fall asleep
  }
}

TEST(Team, a_sleeping_worker_wakes_for_long_work) {
  WithThreads w(2);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::atomic<int> arrived{0};
    // Against the rules of pieces, so as to see both participants: the job ends only when both are there.
    team().run(2, 1, [&](int64_t, int64_t) {
      arrived.fetch_add(1);
      while (arrived.load() < 2) std::this_thread::yield();
    });
    EXPECT_EQ(arrived.load(), 2);
  }
}

TEST(Team, nested_runs_are_serial_and_slots_are_distinct) {
  WithThreads w(4);
  std::atomic<int> used[4] = {};
  team().run(64, 1, [&](int64_t, int64_t) {
    const int slot = Team::slot();
    ASSERT_TRUE(slot >= 0 && slot < 4);
    EXPECT_EQ(used[slot].fetch_add(1), 0);  // nobody else has this slot now
    int calls = 0;
    const auto self = std::this_thread::get_id();
    team().run(1000, 1, [&](int64_t b, int64_t e) {
      ++calls;
      EXPECT_EQ(b, 0);
      EXPECT_EQ(e, 1000);
      EXPECT_EQ(std::this_thread::get_id(), self);
    });
    EXPECT_EQ(calls, 1);
    EXPECT_THROW(team().set_num_threads(2), Error);
    used[slot].fetch_sub(1);
  });
  EXPECT_EQ(Team::slot(), 0);
}

TEST(Team, exceptions_reach_the_caller_and_the_team_goes_on) {
  for (int threads : {1, 4}) {
    WithThreads w(threads);
    for (int round = 0; round < 50; ++round) {
      try {
        team().run(100, 1, [&](int64_t b, int64_t e) {
          if (b <= 37 && 37 < e) fail(ErrorCode::invalid_argument, {.op = "piece", .fact = cat("item ", 37)});
        });
        FAIL() << "no exception";
      } catch (const Error& e) {
        EXPECT_STREQ(e.what(), "piece: item 37");
      }
      expect_each_item_once(100, 1);
    }
  }
}

TEST(Team, several_user_threads_at_once) {
  WithThreads w(3);
  std::vector<std::thread> users;
  std::atomic<int> wrong{0};
  for (int u = 0; u < 4; ++u)
    users.emplace_back([&, u] {
      std::vector<int> data(2000);
      for (int round = 0; round < 200; ++round) {
        team().run(2000, 16, [&](int64_t b, int64_t e) {
          for (int64_t i = b; i < e; ++i) data[size_t(i)] += u;
        });
      }
      for (int v : data) wrong += v != 200 * u;
    });
  std::thread resizer([] {
    for (int n : {1, 5, 2, 4, 3}) {
      team().set_num_threads(n);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  for (auto& t : users) t.join();
  resizer.join();
  EXPECT_EQ(wrong.load(), 0);
}

TEST(Team, size_is_checked) {
  EXPECT_THROW(team().set_num_threads(0), Error);
  EXPECT_THROW(team().set_num_threads(1025), Error);
}

#if defined(__SSE__)
TEST(Team, workers_use_the_callers_float_mode) {
  WithThreads w(2);
  const unsigned saved = _mm_getcsr();
  for (unsigned mode : {saved | 0x8040u, saved}) {  // flush and denormals-are-zero on, then as before
    _mm_setcsr(mode);
    std::atomic<int> arrived{0}, right{0};
    team().run(2, 1, [&](int64_t, int64_t) {
      right += (_mm_getcsr() & ~0x3fu) == (mode & ~0x3fu);
      arrived.fetch_add(1);
      while (arrived.load() < 2) std::this_thread::yield();
    });
    _mm_setcsr(saved);
    EXPECT_EQ(right.load(), 2);
  }
}
#endif

#if !PHLOX_TSAN  // which refuses threads in the child of a threaded process
TEST(Team, a_forked_child_has_a_team_of_its_own) {
  WithThreads w(2);
  expect_each_item_once(1000, 1);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);
    std::atomic<int> arrived{0};
    team().run(2, 1, [&](int64_t, int64_t) {
      arrived.fetch_add(1);
      while (arrived.load() < 2) std::this_thread::yield();
    });
    ::_exit(arrived.load() == 2 ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  expect_each_item_once(1000, 1);
}
#endif

static std::string child_says(const char* threads) {  // what team() does in a fresh process with this setting
  std::string out(256, '\0');
  int fds[2];
  if (::pipe(fds)) return "";
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv("PHLOX_NUM_THREADS", threads, 1);
    ::dup2(fds[1], 1);
    ::execl("/proc/self/exe", "test_base", "--gtest_filter=Team.has_a_size", "--gtest_brief=1", nullptr);
    ::_exit(127);
  }
  ::close(fds[1]);
  std::string text;
  char b[256];
  for (ssize_t n; (n = ::read(fds[0], b, sizeof b)) > 0;) text.append(b, size_t(n));
  ::close(fds[0]);
  ::waitpid(child, nullptr, 0);
  return text;
}

TEST(Team, has_a_size) {
  try {  // the next test reads what this one prints
    std::printf("size %d\n", team().num_threads());
  } catch (const Error& e) {
    std::printf("%s\n", e.what());
  }
}

TEST(Team, environment_sets_the_size) {
  EXPECT_NE(child_says("7").find("size 7\n"), std::string::npos);
  EXPECT_NE(child_says("0").find("PHLOX_NUM_THREADS: not a number of threads; got 0; expected 1 to 1024\n"),
            std::string::npos);
  EXPECT_NE(child_says("two").find("got two"), std::string::npos);
}

}  // namespace phlox
