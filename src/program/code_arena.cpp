#include "program/code_arena.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/root.h"

namespace phlox {

namespace {

constexpr size_t block_align = 64;       // what images ask for
constexpr size_t chunk_bytes = 1 << 20;  // about 1,000 kernels
constexpr size_t page = 4096;
constexpr unsigned mfd_exec = 0x10;  // MFD_EXEC: newer kernels warn when it is left out, older ones refuse it

// Counts forks, in the parent as in the child.
struct ForkCounter {
  std::atomic<uint32_t> count{0};
  ForkCounter() {
    ::pthread_atfork(
        nullptr, [] { ++root_object<ForkCounter>().count; }, [] { ++root_object<ForkCounter>().count; });
  }
};
uint32_t fork_count() { return root_object<ForkCounter>().count.load(std::memory_order_relaxed); }

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

[[noreturn]] void no_executable_memory(const char* call) {
  fail(ErrorCode::device, {.op = "load kernels",
                           .fact = cat("the system refused executable memory (", call, ")"),
                           .got = std::strerror(errno),
                           .remedy = "allow executable memfd mappings (vm.memfd_noexec, SELinux execmem)"});
}

}  // namespace

void CodeArena::add_chunk(size_t bytes) {
  Chunk c;
  c.size = round_up(std::max(bytes, chunk_bytes), page);
  c.fork_count = fork_count();
  int fd = ::memfd_create("phlox-code", MFD_CLOEXEC | mfd_exec);
  if (fd < 0 && errno == EINVAL) fd = ::memfd_create("phlox-code", MFD_CLOEXEC);
  if (fd < 0) no_executable_memory("memfd_create");
  void* rw = MAP_FAILED;
  void* rx = MAP_FAILED;
  const char* call = "ftruncate";
  if (::ftruncate(fd, off_t(c.size)) == 0) {
    call = "mmap";
    rw = ::mmap(nullptr, c.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    rx = ::mmap(nullptr, c.size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
  }
  const int error = errno;
  ::close(fd);
  if (rw == MAP_FAILED || rx == MAP_FAILED) {
    if (rw != MAP_FAILED) ::munmap(rw, c.size);
    if (rx != MAP_FAILED) ::munmap(rx, c.size);
    errno = error;
    no_executable_memory(call);
  }
  c.rw = static_cast<std::byte*>(rw);
  c.rx = static_cast<std::byte*>(rx);
  c.free.push_back({0, c.size});
  chunks_.push_back(std::move(c));
}

// First fit, newest chunk first: kernels of one program end up near each other.
CodeArena::Chunk& CodeArena::chunk_with(size_t bytes, size_t& offset) {
  for (;;) {
    const uint32_t forks = fork_count();
    for (size_t i = chunks_.size(); i-- > 0;) {
      Chunk& c = chunks_[i];
      if (c.fork_count != forks) continue;
      for (size_t k = 0; k < c.free.size(); ++k) {
        Range& r = c.free[k];
        if (r.size < bytes) continue;
        offset = r.offset;
        r.offset += bytes;
        r.size -= bytes;
        if (r.size == 0) c.free.erase(c.free.begin() + long(k));
        return c;
      }
    }
    add_chunk(bytes);
  }
}

CodeArena::Block CodeArena::load(const Image& image) {
  if (std::string fault = image_fault(image); !fault.empty())
    fail(ErrorCode::bad_file,
         {.op = "load kernels", .fact = "the image is damaged", .got = std::move(fault)});
  const size_t bytes = round_up(image.bytes.size(), block_align);
  std::lock_guard lock(mutex_);
  size_t offset = 0;
  Chunk& c = chunk_with(bytes, offset);
  std::byte* const to = c.rw + offset;
  std::memcpy(to, image.bytes.data(), image.bytes.size());
  std::memset(to + image.bytes.size(), 0xcc, bytes - image.bytes.size());  // int3: running into the gap traps
  for (const Image::Import& i : image.imports) {
    void* const address = import_address(i.name);
    std::memcpy(to + i.slot, &address, sizeof address);
  }
  ++blocks_;
  used_ += bytes;
  return {c.rx + offset, bytes};
}

void CodeArena::unload(Block block) noexcept {
  std::lock_guard lock(mutex_);
  for (Chunk& c : chunks_) {
    if (block.code < c.rx || block.code >= c.rx + c.size) continue;
    --blocks_;
    used_ -= block.size;
    if (c.fork_count != fork_count()) return;  // the other process may still run it
    const size_t offset = size_t(block.code - c.rx);
    std::memset(c.rw + offset, 0xcc, block.size);
    auto next = c.free.begin();
    while (next != c.free.end() && next->offset < offset) ++next;
    next = c.free.insert(next, {offset, block.size});
    if (next + 1 != c.free.end() && next->offset + next->size == (next + 1)->offset) {
      next->size += (next + 1)->size;
      c.free.erase(next + 1);
    }
    if (next != c.free.begin() && (next - 1)->offset + (next - 1)->size == next->offset) {
      (next - 1)->size += next->size;
      c.free.erase(next);
    }
    return;
  }
}

CodeArena::Stats CodeArena::stats() const {
  std::lock_guard lock(mutex_);
  Stats s{blocks_, used_, 0};
  for (const Chunk& c : chunks_) s.bytes_mapped += c.size;
  return s;
}

CodeArena::~CodeArena() {
  for (const Chunk& c : chunks_) {
    ::munmap(c.rw, c.size);
    ::munmap(c.rx, c.size);
  }
}

namespace {

struct ProcessArena {
  CodeArena arena;
  ProcessArena() {
    fork_count();  // its handlers first
    ::pthread_atfork([] { code_arena().mutex().lock(); }, [] { code_arena().mutex().unlock(); },
                     [] { code_arena().mutex().unlock(); });
  }
};

}  // namespace

CodeArena& code_arena() { return root_object<ProcessArena>().arena; }

uint64_t entry_offset(const Image& image, std::string_view name) {
  for (const Image::Entry& e : image.entries)
    if (e.name == name) return e.offset;
  fail(ErrorCode::not_found,
       {.op = "load kernels", .fact = "the image has no such entry", .got = cat("'", name, "'")});
}

}  // namespace phlox
