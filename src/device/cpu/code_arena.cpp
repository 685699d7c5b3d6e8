#include "device/cpu/code_arena.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/root.h"

namespace phlox {

namespace {

constexpr size_t alignment = 64, segment_bytes = size_t(1) << 20, page_bytes = 4096;
constexpr int trap_byte = 0xcc;  // x86's int3: a call into freed code stops at once

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

struct Block {
  size_t segment = 0, offset = 0, bytes = 0;
  uint64_t fork_count = 0;  // at the time of loading
  bool reused = false;
};

// One memory file, seen twice. Free ranges are sorted by offset and never touch.
struct Segment {
  std::byte* writable;
  std::byte* executable;
  size_t bytes;
  size_t untouched;                             // bytes below were handed out at least once
  std::vector<std::pair<size_t, size_t>> free;  // offset, bytes
  bool frozen = false;                          // inherited through fork(): not ours to write
};

[[noreturn]] void refuse_memory(const char* what, int error) {
  fail(ErrorCode::device,
       {.op = "cpu module",
        .fact = "the system refuses executable memory",
        .got = cat(what, ": ", strerrordesc_np(error)),
        .remedy = "allow memfd_create and executable mappings for this process (SELinux, seccomp)"});
}

Segment map_segment(size_t bytes) {
#ifndef MFD_EXEC
  constexpr unsigned MFD_EXEC = 0x10;
#endif
  int fd = ::memfd_create("phlox-code", MFD_CLOEXEC | MFD_EXEC);
  if (fd < 0 && errno == EINVAL) fd = ::memfd_create("phlox-code", MFD_CLOEXEC);  // a kernel before that flag
  if (fd < 0) refuse_memory("memfd_create", errno);
  void *w = MAP_FAILED, *x = MAP_FAILED;
  int error = ::ftruncate(fd, off_t(bytes)) ? errno : 0;
  if (!error) {
    w = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    x = ::mmap(nullptr, bytes, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    if (w == MAP_FAILED || x == MAP_FAILED) error = errno;
  }
  ::close(fd);
  if (!error) return {static_cast<std::byte*>(w), static_cast<std::byte*>(x), bytes, 0, {}};
  if (w != MAP_FAILED) ::munmap(w, bytes);
  if (x != MAP_FAILED) ::munmap(x, bytes);
  refuse_memory("mmap", error);
}

uint64_t import_address(std::string_view name) {
  if (name == "memcpy") return reinterpret_cast<uint64_t>(&std::memcpy);
  if (name == "memmove") return reinterpret_cast<uint64_t>(&std::memmove);
  if (name == "memset") return reinterpret_cast<uint64_t>(&std::memset);
  fail(ErrorCode::bad_file, {.op = "cpu module",
                             .fact = "an image imports an unknown function",
                             .got = std::string(name),
                             .expected = "memcpy, memmove or memset"});
}

// The image's bytes with the addresses of its imports; everything is checked before memory is taken for it.
std::vector<std::byte> patched(const Image& image) {
  std::vector<std::byte> bytes = image.bytes;
  for (const Image::Import& i : image.imports) {
    if (i.slot > bytes.size() || bytes.size() - i.slot < 8)
      fail(ErrorCode::bad_file, {.op = "cpu module",
                                 .fact = "an import cell lies outside its image",
                                 .got = cat(i.name, " at ", i.slot),
                                 .expected = cat("an image of ", bytes.size(), " bytes")});
    const uint64_t address = import_address(i.name);
    std::memcpy(bytes.data() + i.slot, &address, sizeof address);
  }
  for (const Image::Entry& e : image.entries)
    if (e.offset >= bytes.size())
      fail(ErrorCode::bad_file, {.op = "cpu module",
                                 .fact = "an entry lies outside its image",
                                 .got = cat(e.name, " at ", e.offset),
                                 .expected = cat("an image of ", bytes.size(), " bytes")});
  return bytes;
}

}  // namespace

struct CodeArena::State {
  mutable std::mutex mutex;
  std::vector<Segment> segments;
  uint64_t forks = 0;
  int64_t used = 0, modules = 0;
  bool
      can_sync_cores;  // without it, freed code stays unused: other cores may still hold its old instructions

  Block take(size_t bytes);
  bool take_from(size_t segment, size_t bytes, Block& block);
  void give(const Block& b) noexcept;
};

// Code for the life of the module. Made without code, so that nothing can fail between taking memory and
// owning it.
class CodeModule final : public Module {
 public:
  CodeModule(CodeArena::State& arena, const Image& image) : arena_(arena) {
    for (const Image::Entry& e : image.entries) entries_.emplace_back(e.name, e.offset);
    std::sort(entries_.begin(), entries_.end());
  }
  ~CodeModule() override {
    if (block_.bytes) arena_.give(block_);
  }
  void own(const Block& block, std::byte* code) {
    block_ = block;
    code_ = code;
  }
  void* entry(const std::string& name) const override {
    const auto i = std::lower_bound(entries_.begin(), entries_.end(), name,
                                    [](const auto& e, const std::string& n) { return e.first < n; });
    if (i == entries_.end() || i->first != name)
      fail(ErrorCode::not_found, {.op = "cpu module", .fact = "no such entry", .got = name});
    return code_ + i->second;
  }

 private:
  CodeArena::State& arena_;
  Block block_;
  std::byte* code_ = nullptr;
  std::vector<std::pair<std::string, uint64_t>> entries_;
};

CodeArena& CodeArena::host() { return root_object<CodeArena>(); }

CodeArena::CodeArena() : state_(new State) {
  state_->can_sync_cores =
      ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0) == 0;
  ::pthread_atfork([] { host().state_->mutex.lock(); },
                   [] {
                     State& s = *host().state_;
                     ++s.forks;
                     s.mutex.unlock();
                   },
                   [] {
                     State& s = *host().state_;
                     ++s.forks;
                     for (Segment& g : s.segments) g.frozen = true;
                     s.mutex.unlock();
                   });
}

bool CodeArena::State::take_from(size_t segment, size_t bytes, Block& block) {
  Segment& g = segments[segment];
  if (g.frozen) return false;
  // Every module freed may leave one range: room for it is made now, as giving must not fail.
  if (g.free.capacity() < size_t(modules) + 2) g.free.reserve(2 * size_t(modules) + 16);
  for (auto& f : g.free) {
    if (f.second < bytes) continue;
    block = {segment, f.first, bytes, forks, true};
    f.first += bytes;
    f.second -= bytes;
    if (!f.second) g.free.erase(g.free.begin() + (&f - g.free.data()));
    return true;
  }
  if (g.bytes - g.untouched < bytes) return false;
  block = {segment, g.untouched, bytes, forks, false};
  g.untouched += bytes;
  return true;
}

Block CodeArena::State::take(size_t bytes) {
  Block b;
  for (size_t i = segments.size(); i-- > 0;)
    if (take_from(i, bytes, b)) return b;
  segments.reserve(segments.size() + 1);
  segments.push_back(map_segment(round_up(std::max(bytes, segment_bytes), page_bytes)));
  PHLOX_CHECK(take_from(segments.size() - 1, bytes, b), bytes, " bytes of code");
  return b;
}

void CodeArena::State::give(const Block& b) noexcept {
  std::lock_guard lock(mutex);
  used -= int64_t(b.bytes);
  --modules;
  // Loaded before a fork: the other process may still run it.
  if (b.fork_count != forks || !can_sync_cores) return;
  Segment& g = segments[b.segment];
  std::memset(g.writable + b.offset, trap_byte, b.bytes);
  auto next = std::lower_bound(g.free.begin(), g.free.end(), std::pair(b.offset, size_t(0)));
  const bool joins_next = next != g.free.end() && b.offset + b.bytes == next->first;
  if (next != g.free.begin() && std::prev(next)->first + std::prev(next)->second == b.offset) {
    std::prev(next)->second += b.bytes + (joins_next ? next->second : 0);
    if (joins_next) g.free.erase(next);
  } else if (joins_next) {
    next->first = b.offset;
    next->second += b.bytes;
  } else {
    g.free.insert(next, {b.offset, b.bytes});
  }
}

Ref<Module> CodeArena::load(const Image& image) {
  const std::vector<std::byte> bytes = patched(image);
  State& s = *state_;
  Ref<CodeModule> module = make_ref<CodeModule>(s, image);
  std::lock_guard lock(s.mutex);
  const Block b = s.take(round_up(std::max<size_t>(bytes.size(), 1), alignment));
  const Segment& g = s.segments[b.segment];
  if (!bytes.empty()) std::memcpy(g.writable + b.offset, bytes.data(), bytes.size());
  std::memset(g.writable + b.offset + bytes.size(), trap_byte, b.bytes - bytes.size());
  char* code = reinterpret_cast<char*>(g.executable + b.offset);
  __builtin___clear_cache(code, code + b.bytes);
  if (b.reused) (void)::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
  s.used += int64_t(b.bytes);
  ++s.modules;
  module->own(b, g.executable + b.offset);
  return module;
}

CodeArena::Stats CodeArena::stats() const {
  std::lock_guard lock(state_->mutex);
  int64_t mapped = 0;
  for (const Segment& g : state_->segments) mapped += int64_t(g.bytes);
  return {state_->used, mapped, state_->modules};
}

}  // namespace phlox
