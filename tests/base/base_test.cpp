#include <gtest/gtest.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/event.h"
#include "base/hash.h"
#include "base/ref.h"
#include "base/small_vector.h"

namespace phlox {

TEST(Format, shortest_doubles) {
  EXPECT_EQ(cat(0.1, " ", 1e300, " ", -0.0, " ", 1.0 / 0.0, " ", int8_t(-3), " ", true), "0.1 1e+300 -0 inf -3 true");
}

TEST(Error, text_has_all_parts_in_order) {
  try {
    fail(ErrorCode::invalid_argument, {"matmul", "inner sizes differ", "64 and 16", "equal sizes", "transpose b"});
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "matmul: inner sizes differ; got 64 and 16; expected equal sizes; transpose b");
    return;
  }
  FAIL();
}

TEST(Checked, overflow_is_an_error) {
  EXPECT_EQ(checked_mul(1 << 20, 1 << 20), int64_t(1) << 40);
  EXPECT_THROW(checked_mul(int64_t(1) << 40, int64_t(1) << 40), Error);
  EXPECT_THROW(checked_add(INT64_MAX, 1), Error);
}

TEST(SmallVector, grows_past_the_inline_part_and_moves) {
  SmallVector<std::string, 2> v{"a", "b"};
  v.push_back("c");
  SmallVector<std::string, 2> w = std::move(v);
  EXPECT_EQ(w.size(), 3u);
  EXPECT_TRUE(v.empty());
  w.insert(0, "z");
  w.erase(1);
  EXPECT_EQ(join(w), "z, b, c");
  SmallVector<std::string, 2> u{"q"};
  SmallVector<std::string, 2> t = std::move(u);
  EXPECT_EQ(join(t), "q");
}

TEST(Ref, counts) {
  struct Node : RefCounted { bool* gone; explicit Node(bool* g) : gone(g) {} ~Node() { *gone = true; } };
  bool gone = false;
  {
    Ref<Node> a = make_ref<Node>(&gone);
    Ref<Node> b = a;
    EXPECT_EQ(a->use_count(), 2u);
    a = nullptr;
    EXPECT_FALSE(gone);
  }
  EXPECT_TRUE(gone);
}

TEST(Hash, hex_is_stable_and_input_sensitive) {
  EXPECT_EQ(hex(hash256("abc", 3)).size(), 64u);
  EXPECT_NE(hex(hash256("abc", 3)), hex(hash256("abd", 3)));
  EXPECT_EQ(hash_text("abc"), hash_text("abc"));
}

TEST(Event, is_kept_with_its_reason) {
  emit_event(EventKind::fallback, "test", "because");
  auto e = recent_events();
  ASSERT_FALSE(e.empty());
  EXPECT_EQ(e.back().reason, "because");
}

}  // namespace phlox
