#include "program/code_arena.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>

#include "base/error.h"

using namespace phlox;

namespace {

// mov eax, imm32; ret
Image constant(uint32_t value, size_t pad = 0) {
  Image image;
  const uint8_t code[] = {
      0xb8, uint8_t(value), uint8_t(value >> 8), uint8_t(value >> 16), uint8_t(value >> 24), 0xc3};
  image.bytes.resize(sizeof code + pad);
  std::memcpy(image.bytes.data(), code, sizeof code);
  image.entries = {{"k_1", 0}};
  return image;
}
uint32_t call(CodeArena::Block b) { return reinterpret_cast<uint32_t (*)()>(b.at(0))(); }

#if defined(__x86_64__)
TEST(CodeArena, LoadsAndRuns) {
  CodeArena arena;
  std::vector<CodeArena::Block> blocks;
  for (uint32_t i = 0; i < 3000; ++i) blocks.push_back(arena.load(constant(i, i % 700)));
  for (uint32_t i = 0; i < 3000; ++i) {
    EXPECT_EQ(call(blocks[i]), i);
    EXPECT_EQ(uintptr_t(blocks[i].code) % 64, 0u);
  }
  EXPECT_EQ(arena.stats().blocks, 3000u);
}

TEST(CodeArena, ReusesWhatWasUnloaded) {
  CodeArena arena;
  std::vector<CodeArena::Block> blocks;
  for (uint32_t i = 0; i < 100; ++i) blocks.push_back(arena.load(constant(i)));
  for (uint32_t i = 0; i < 100; i += 2) arena.unload(blocks[i]);
  for (uint32_t i = 1; i < 100; i += 2) EXPECT_EQ(call(blocks[i]), i);
  for (uint32_t i = 1; i < 100; i += 2) arena.unload(blocks[i]);
  EXPECT_EQ(arena.stats().bytes_used, 0u);
  EXPECT_EQ(arena.load(constant(7)).code, blocks[0].code);
  for (int round = 0; round < 50; ++round) arena.unload(arena.load(constant(1, 900000)));
  EXPECT_EQ(arena.stats().bytes_mapped, 1u << 20);
}

TEST(CodeArena, ImportsArePatched) {
  // k(p): memset through the slot at 8: mov eax... is not needed, a tail jump keeps all arguments: jmp *[rip
  // + 2]
  Image image;
  const uint8_t code[16] = {0xff, 0x25, 2, 0, 0, 0};
  image.bytes.resize(sizeof code);
  std::memcpy(image.bytes.data(), code, sizeof code);
  image.entries = {{"k_1", 0}};
  image.imports = {{"memset", 8}};
  CodeArena arena;
  char buffer[5] = "abcd";
  reinterpret_cast<void* (*)(void*, int, size_t)>(arena.load(image).at(0))(buffer, 'x', 3);
  EXPECT_STREQ(buffer, "xxxd");
}

TEST(CodeArena, NeverWritableAndExecutable) {
  CodeArena arena;
  arena.load(constant(1));
  std::ifstream maps("/proc/self/maps");
  int views = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find("phlox-code") == std::string::npos) continue;
    ++views;
    const std::string perms = line.substr(line.find(' ') + 1, 4);
    EXPECT_FALSE(perms[1] == 'w' && perms[2] == 'x') << line;
  }
  EXPECT_GE(views, 2);
}

TEST(CodeArena, ForkedProcessesDoNotWriteIntoEachOther) {
  CodeArena arena;
  const auto before = arena.load(constant(11));
  int to_child[2], to_parent[2];
  ASSERT_EQ(::pipe(to_child), 0);
  ASSERT_EQ(::pipe(to_parent), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto mine = arena.load(constant(22));
    char c = 1;
    if (::write(to_parent[1], &c, 1) != 1 || ::read(to_child[0], &c, 1) != 1) ::_exit(1);
    ::_exit(call(mine) == 22 && call(before) == 11 ? 0 : 1);
  }
  char c = 1;
  ASSERT_EQ(::read(to_parent[0], &c, 1), 1);
  const auto mine = arena.load(constant(33));
  arena.unload(before);  // must stay runnable in the child
  ASSERT_EQ(::write(to_child[1], &c, 1), 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(call(mine), 33u);
}

TEST(CodeArena, ThreadsLoadTogether) {
  CodeArena arena;
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; ++t)
    threads.emplace_back([&arena, t] {
      for (uint32_t i = 0; i < 500; ++i) {
        const auto b = arena.load(constant(t << 16 | i));
        EXPECT_EQ(call(b), t << 16 | i);
        if (i % 3 == 0) arena.unload(b);
      }
    });
  for (auto& t : threads) t.join();
}
#endif

TEST(CodeArena, RefusesDamagedImages) {
  CodeArena arena;
  const auto fault = [&](auto damage) {
    Image image = constant(1, 58);
    damage(image);
    EXPECT_THROW(arena.load(image), Error);
    return image_fault(image);
  };
  EXPECT_EQ(fault([](Image& i) { i.bytes.clear(); }), "no code");
  EXPECT_EQ(fault([](Image& i) { i.entries.clear(); }), "no entries");
  EXPECT_EQ(fault([](Image& i) { i.entries[0].offset = 64; }), "entry 'k_1' lies outside the code");
  EXPECT_EQ(fault([](Image& i) { i.entries[0].offset = ~0ull; }), "entry 'k_1' lies outside the code");
  EXPECT_EQ(fault([](Image& i) { i.imports = {{"system", 0}}; }),
            "import 'system' is not offered to kernels");
  EXPECT_EQ(fault([](Image& i) { i.imports = {{"memset", 57}}; }),
            "the slot of import 'memset' lies outside the code");
  EXPECT_EQ(fault([](Image& i) { i.imports = {{"memset", ~0ull - 7}}; }),
            "the slot of import 'memset' lies outside the code");
  EXPECT_THROW(entry_offset(constant(1), "k_2"), Error);
}

}  // namespace
