// DiskCache: compiled kernels on disk, one file a kernel. What it returns is run as code, so it trusts
// nothing: the folder and each file must belong to this user and be writable by nobody else, links are not
// followed, and a file must carry exactly the key asked for (its hash and its whole text) and a checksum over
// everything. Whatever does not hold is removed, an event says why, and the caller compiles: a bad cache
// costs time, never an error or a wrong result.
//
// Files are written under a temporary name in the same folder and renamed, without fsync: a torn file fails
// its checksum. Processes may share a folder; a lock per key only saves double work. Above its size limit the
// cache drops what was used longest ago.
#pragma once
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "program/image.h"
#include "toolchain/compiler.h"

namespace phlox {

// Names a compiled kernel: everything that its image depends on, as text, and the hash of that.
struct CacheKey {
  std::string text;
  Hash256 hash;
};
CacheKey cache_key(const KernelText& kernel, const Target& target, std::string_view compiler_fingerprint);

class DiskCache {
 public:
  enum class Mode : uint8_t { off, read_only, read_write };
  struct Options {
    std::string folder;  // absolute
    Mode mode = Mode::read_write;
    int64_t max_bytes = int64_t(512) << 20;
  };
  // PHLOX_CACHE=off|ro, PHLOX_CACHE_DIR (else $XDG_CACHE_HOME/phlox, else ~/.cache/phlox), PHLOX_CACHE_SIZE
  // in MiB.
  static Options environment_options();

  explicit DiskCache(Options options);  // a folder that cannot be trusted turns the cache off, with an event
  DiskCache(const DiskCache&) = delete;
  DiskCache& operator=(const DiskCache&) = delete;
  ~DiskCache();

  std::optional<Image> get(const CacheKey& key);
  void put(const CacheKey& key, const Image& image);

  // Held by the process that compiles a key. Releases itself.
  class Lock {
   public:
    Lock(Lock&& o) noexcept;
    Lock& operator=(Lock&& o) noexcept;
    ~Lock();

   private:
    friend class DiskCache;
    Lock(int folder, int fd, std::string name) : folder_(folder), fd_(fd), name_(std::move(name)) {}
    int folder_, fd_;
    std::string name_;
  };
  // Null only when another holder has it now. Where locking does not work, everybody gets it.
  std::optional<Lock> try_lock(const CacheKey& key);

  struct Stats {
    uint64_t hits, misses, refused, written, evicted;
  };
  Stats stats() const;
  Mode mode() const { return options_.mode; }
  std::string file_path(const CacheKey& key) const;  // for reports and tests

 private:
  void turn_off(std::string why);
  void refuse(const std::string& name, std::string why);
  void make_room();

  Options options_;
  int folder_ = -1;
  std::mutex room_mutex_;
  int64_t bytes_ = -1;  // estimate of the folder's size; -1: not looked yet
  std::atomic<uint64_t> hits_{0}, misses_{0}, refused_{0}, written_{0}, evicted_{0};
};

// The file format, apart from the disk: bytes of one entry, and back. `fault` says why there is no image.
std::vector<std::byte> encode_cache_file(const CacheKey& key, const Image& image);
void seal_cache_file(std::span<std::byte> file);  // sets the size and checksum that the header carries
std::optional<Image> decode_cache_file(std::span<const std::byte> bytes, const CacheKey& key,
                                       std::string& fault);

}  // namespace phlox
