// KernelStore: kernel text in, callable kernels out. A text is looked for in memory, in the built-in packs,
// on disk, and is compiled last: what is missing of one request goes to the compiler in batches, several at a
// time. Each kernel is compiled once however many threads (or processes that share the disk cache) ask for it
// at the same moment.
//
// Kernels stay loaded for the life of the store. A text that does not compile throws Error with the
// compiler's log to everybody who asked; the other kernels of its batch are kept.
#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "program/code_arena.h"
#include "toolchain/compiler.h"
#include "toolchain/disk_cache.h"

namespace phlox {

// Kernels that ship with phlox, compiled when it was built. A pack is looked up by text and says itself which
// targets its images serve: a kernel for x86-64-v3 may be given to any target above it.
class KernelPack {
 public:
  virtual ~KernelPack() = default;
  virtual std::optional<Image> find(const Hash256& text, const Target& target) const = 0;
};
Hash256 kernel_text_hash(const KernelText& kernel);  // of entry, text and ABI; no target, no compiler

class KernelStore {
 public:
  struct Options {
    Compiler* compiler = nullptr;  // null: find_compiler(target), asked once a device kind
    DiskCache* disk = nullptr;     // null: none
    int threads = 0;               // compiling at the same time; 0: as many as there are processors
    size_t batch = 25;             // kernels a translation unit, at most
  };
  struct Stats {
    uint64_t memory_hits, pack_hits, disk_hits, compiled, failed;
    uint64_t batches,
        compile_us;   // compile_us: summed over batches, more than wall time where threads overlap
    uint64_t waited;  // kernels that another thread or process was compiling already
  };
  // A request in the background. `state` may be read by anyone at any time; the rest once it is not running.
  struct Prefetch {
    enum State : int { running, ready, failed };
    std::atomic<int> state{running};
    std::vector<KernelFn> entries;  // when ready, in the order of the texts (cpu only)
    std::string error;              // when failed
  };

  explicit KernelStore(Options options);
  KernelStore(const KernelStore&) = delete;
  KernelStore& operator=(const KernelStore&) = delete;
  ~KernelStore();  // waits for background work

  // One image a text, in order. Throws Error(not_found) when something has to be compiled and there is no
  // compiler.
  std::vector<std::shared_ptr<const Image>> images(std::span<const KernelText> texts, const Target& target);
  // The same, loaded. cpu only.
  std::vector<KernelFn> get(std::span<const KernelText> texts, const Target& target);
  // What is there without compiling (memory, pack or disk), or null. cpu only.
  KernelFn find(const KernelText& text, const Target& target);
  // Starts get() or images() in the background.
  std::shared_ptr<const Prefetch> prefetch(std::vector<KernelText> texts, const Target& target);

  void add_pack(std::shared_ptr<const KernelPack> pack);
  Stats stats() const;

  // Around fork(): holds everything still, so that the child's copy is whole. The child has no other threads:
  // what they were producing is free to be produced again, and background requests have failed.
  void before_fork();
  void after_fork(bool in_child);

 private:
  struct Slot {
    bool busy = true;  // somebody works on it
    std::shared_ptr<const Image> image;
    KernelFn fn = nullptr;
  };
  struct Hasher {
    size_t operator()(const Hash256& h) const { return size_t(h[0]); }
  };
  // One kernel of a request that this thread has to produce.
  struct Task {
    const KernelText* text;
    CacheKey key;
    std::optional<DiskCache::Lock> lock;
  };
  struct Request {
    const Target& target;
    Compiler* compiler;
    std::mutex mutex;  // of error
    std::exception_ptr error;
  };
  struct Job {
    std::vector<KernelText> texts;
    Target target;
    std::shared_ptr<Prefetch> result;
  };

  Compiler* compiler_for(const Target& target);
  CacheKey key_of(const KernelText& text, const Target& target);
  std::vector<Slot> resolve(std::span<const KernelText> texts, const Target& target, bool load);
  bool take_known(const Task& task, const Target& target);
  void produce(std::vector<Task>& tasks, const Target& target);
  void compile(std::vector<Task*>& tasks, Request& request);
  void compile_together(std::span<Task* const> tasks, Request& request);
  void compile_batch(std::span<Task* const> tasks, Request& request);
  void wait_for_others(std::vector<Task*>& tasks, Request& request);
  void publish(const CacheKey& key, Image image);
  void give_up(const CacheKey& key);
  KernelFn load(Slot& slot);
  void work_in_background();

  const Options options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::unordered_map<Hash256, Slot, Hasher> slots_;
  std::vector<std::shared_ptr<const KernelPack>> packs_;
  Stats stats_{};

  std::mutex compilers_mutex_;
  bool asked_[2] = {};
  Compiler* compilers_[2] = {};

  std::mutex jobs_mutex_;
  std::condition_variable jobs_changed_;
  std::deque<Job> jobs_;
  std::vector<std::weak_ptr<Prefetch>>
      in_background_;  // given to the worker and not finished when last looked
  bool stopping_ = false;
  std::unique_ptr<std::thread> worker_;
};

// The process-wide one, with the packs of this installation and the disk cache that the environment
// describes.
KernelStore& kernel_store();

}  // namespace phlox
