#include "device/cpu/page_heap.h"

#include <gtest/gtest.h>

#include <random>

namespace phlox {

static constexpr int64_t mib = 1 << 20;

TEST(PageHeap, spans_split_and_merge) {
  PageHeap h(256 * mib);
  PageSpan* a = h.take(10, 64 * mib);
  PageSpan* b = h.take(20, 64 * mib);
  PageSpan* c = h.take(30, 64 * mib);
  ASSERT_TRUE(a && b && c);
  EXPECT_EQ(h.committed_bytes(), 2 * mib);
  EXPECT_EQ(h.address(*b) - h.address(*a), 10 * PageHeap::unit_bytes);
  h.give(b);
  h.verify();
  h.give(a);
  h.verify();
  PageSpan* ab = h.take(30, 64 * mib);  // fits exactly where a and b were
  EXPECT_EQ(h.address(*ab), h.base());
  h.give(ab);
  h.give(c);
  h.verify();
  EXPECT_EQ(h.committed_bytes(), 2 * mib);
  EXPECT_EQ(h.segments(), 1);
}

TEST(PageHeap, commits_no_more_than_the_limit) {
  PageHeap h(256 * mib);
  EXPECT_EQ(h.largest_available(16 * mib), 16 * mib);
  EXPECT_EQ(h.largest_available(17 * mib - 1), 16 * mib);  // whole chunks only
  PageSpan* a = h.take(7 * 64, 16 * mib);                  // 7 MiB
  ASSERT_TRUE(a);
  EXPECT_EQ(h.take(10 * 64, 16 * mib), nullptr);
  EXPECT_EQ(h.largest_available(16 * mib), 9 * mib);
  PageSpan* b = h.take(9 * 64, 16 * mib);  // the free end of the last chunk counts
  ASSERT_TRUE(b);
  EXPECT_EQ(h.committed_bytes(), 16 * mib);
  EXPECT_EQ(h.take(1, 16 * mib), nullptr);
  EXPECT_EQ(h.take(1, 0), nullptr);
  EXPECT_EQ(h.largest_available(16 * mib), 0);
  h.verify();
}

TEST(PageHeap, the_address_space_is_a_limit_too) {
  PageHeap h(64 * mib);
  EXPECT_EQ(h.take(65 * 64, 1024 * mib), nullptr);
  PageSpan* a = h.take(64 * 64, 1024 * mib);
  ASSERT_TRUE(a);
  EXPECT_EQ(h.take(1, 1024 * mib), nullptr);
  h.give(a);
  h.verify();
}

TEST(PageHeap, release_makes_holes_that_are_used_again) {
  PageHeap h(256 * mib);
  PageSpan* s[4];
  for (PageSpan*& x : s) x = h.take(4 * 64, 256 * mib);  // 4 MiB each
  memset(h.address(*s[1]), 1, 4 * mib);
  h.give(s[1]);
  h.give(s[3]);
  h.release();
  h.verify();
  EXPECT_EQ(h.committed_bytes(), 8 * mib);
  EXPECT_EQ(h.segments(), 2);
  PageSpan* again = h.take(3 * 64, 256 * mib);  // 3 MiB: 4 MiB of the hole come back
  EXPECT_EQ(h.address(*again), h.base() + 4 * mib);
  EXPECT_EQ(*h.address(*again), std::byte(0));  // the old pages are gone
  EXPECT_EQ(h.committed_bytes(), 12 * mib);
  h.verify();
  h.give(again);
  h.give(s[0]);
  h.give(s[2]);
  h.release();
  h.verify();
  EXPECT_EQ(h.committed_bytes(), 0);
  EXPECT_EQ(h.segments(), 0);
}

TEST(PageHeap, random_programs_keep_the_invariants) {
  std::mt19937 rng(7);
  PageHeap h(1024 * mib);
  std::vector<std::pair<PageSpan*, uint32_t>> live;
  for (int step = 0; step < 2500; ++step) {
    const uint32_t r = rng() % 100;
    if (r < 55 || live.empty()) {
      const uint32_t units = 1 + (rng() % 8 ? rng() % 100 : rng() % 2000);
      if (PageSpan* s = h.take(units, 512 * mib)) {
        ASSERT_EQ(s->units, units);
        uint32_t* first = reinterpret_cast<uint32_t*>(h.address(*s));
        *first = uint32_t(step);
        first[units * PageHeap::unit_bytes / 4 - 1] = uint32_t(step);
        live.emplace_back(s, step);
      } else {
        EXPECT_LT(h.largest_available(512 * mib), units * PageHeap::unit_bytes);
      }
    } else if (r < 99) {
      const size_t i = rng() % live.size();
      PageSpan* s = live[i].first;
      const uint32_t* first = reinterpret_cast<const uint32_t*>(h.address(*s));
      ASSERT_EQ(*first, live[i].second);
      ASSERT_EQ(first[s->units * PageHeap::unit_bytes / 4 - 1], live[i].second);
      h.give(s);
      live[i] = live.back();
      live.pop_back();
    } else {
      h.release();
    }
    if (step % 50 == 0) h.verify();
    ASSERT_LE(h.committed_bytes(), 512 * mib);
  }
  for (auto& l : live) h.give(l.first);
  h.release();
  h.verify();
  EXPECT_EQ(h.committed_bytes(), 0);
}

}  // namespace phlox
