#include "base/philox.h"

#include <gtest/gtest.h>

namespace phlox {

// The three known answers that the generator's authors publish for philox4x32 with 10 rounds.
static_assert(philox4x32_10({0, 0, 0, 0}, {0, 0}) ==
              PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
static_assert(philox4x32_10({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) ==
              PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
static_assert(philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
              PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});

TEST(Philox, known_answers_at_run_time) {
  volatile uint32_t zero = 0;  // keeps the compiler from folding the call
  EXPECT_EQ(philox4x32_10({zero, 0, 0, 0}, {0, 0}),
            (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
}

TEST(Philox, block_uses_all_bits_of_seed_stream_and_index) {
  const PhiloxCounter base = philox_block(1, 2, 3);
  EXPECT_EQ(base, philox4x32_10({3, 0, 2, 0}, {1, 0}));
  for (int bit = 0; bit < 64; ++bit) {
    EXPECT_NE(philox_block(1 ^ (1ull << bit), 2, 3), base);
    EXPECT_NE(philox_block(1, 2 ^ (1ull << bit), 3), base);
    EXPECT_NE(philox_block(1, 2, 3 ^ (1ull << bit)), base);
  }
}

}  // namespace phlox
