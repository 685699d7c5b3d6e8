#include "toolchain/kernel_store.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "base/event.h"
#include "base/root.h"
#include "toolchain/kernel_pack.h"

namespace phlox {

namespace {

uint64_t now_us() {
  return uint64_t(std::chrono::duration_cast<std::chrono::microseconds>(
                      std::chrono::steady_clock::now().time_since_epoch())
                      .count());
}

// How long another process may hold a key before we compile it ourselves.
constexpr uint64_t patience_us = 60'000'000;

}  // namespace

Hash256 kernel_text_hash(const KernelText& kernel) {
  const std::string s = cat("abi ", kernel_abi_version, "\n", kernel.entry, "\n", kernel.source);
  return hash256(s.data(), s.size());
}

KernelStore::KernelStore(Options options) : options_(options) {}

KernelStore::~KernelStore() {
  {
    std::lock_guard lock(jobs_mutex_);
    stopping_ = true;
  }
  jobs_changed_.notify_all();
  if (worker_) worker_->join();
}

void KernelStore::add_pack(std::shared_ptr<const KernelPack> pack) {
  std::lock_guard lock(mutex_);
  packs_.push_back(std::move(pack));
}

KernelStore::Stats KernelStore::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

Compiler* KernelStore::compiler_for(const Target& target) {
  if (options_.compiler) return options_.compiler;
  const int kind = int(target.kind);
  std::lock_guard lock(compilers_mutex_);
  if (!asked_[kind]) {
    compilers_[kind] = find_compiler(target);
    asked_[kind] = true;
  }
  return compilers_[kind];
}

CacheKey KernelStore::key_of(const KernelText& text, const Target& target) {
  Compiler* const c = compiler_for(target);
  return cache_key(text, target, c ? c->fingerprint() : std::string("none"));
}

KernelFn KernelStore::load(Slot& slot) {
  if (!slot.fn) {
    PHLOX_CHECK(slot.image->entries.size() == 1, slot.image->entries.size(), " entries");
    slot.fn = reinterpret_cast<KernelFn>(code_arena().load(*slot.image).at(slot.image->entries[0].offset));
  }
  return slot.fn;
}

void KernelStore::publish(const CacheKey& key, Image image) {
  auto shared = std::make_shared<const Image>(std::move(image));
  {
    std::lock_guard lock(mutex_);
    Slot& s = slots_[key.hash];
    s.image = std::move(shared);
    s.busy = false;
  }
  changed_.notify_all();
}

// Whoever waits for the kernel tries it anew.
void KernelStore::give_up(const CacheKey& key) {
  {
    std::lock_guard lock(mutex_);
    const auto it = slots_.find(key.hash);
    if (it != slots_.end() && it->second.busy) slots_.erase(it);
  }
  changed_.notify_all();
}

// From a pack or the disk, if it is there.
bool KernelStore::take_known(const Task& task, const Target& target) {
  std::vector<std::shared_ptr<const KernelPack>> packs;
  {
    std::lock_guard lock(mutex_);
    packs = packs_;
  }
  std::optional<Image> image;
  uint64_t Stats::* counter = &Stats::pack_hits;
  if (!packs.empty()) {
    const Hash256 hash = kernel_text_hash(*task.text);
    for (size_t i = 0; i < packs.size() && !image; ++i) image = packs[i]->find(hash, target);
  }
  if (!image && options_.disk) {
    counter = &Stats::disk_hits;
    image = options_.disk->get(task.key);
  }
  // A pack's or file's image holds this one entry, or it is not what it says.
  if (!image || image->entries.size() != 1 || image->entries[0].name != task.text->entry) return false;
  {
    std::lock_guard lock(mutex_);
    ++(stats_.*counter);
  }
  publish(task.key, std::move(*image));
  return true;
}

std::vector<KernelStore::Slot> KernelStore::resolve(std::span<const KernelText> texts, const Target& target,
                                                    bool load_them) {
  std::vector<CacheKey> keys;
  for (const KernelText& t : texts) keys.push_back(key_of(t, target));
  std::vector<Slot> result(texts.size());
  std::vector<bool> have(texts.size()), counted(texts.size());
  for (;;) {
    std::vector<Task> tasks;
    bool all = true;
    {
      std::lock_guard lock(mutex_);
      for (size_t i = 0; i < texts.size(); ++i) {
        if (have[i]) continue;
        const auto [it, fresh] = slots_.try_emplace(keys[i].hash);
        Slot& s = it->second;
        if (fresh) {
          tasks.push_back({&texts[i], keys[i], std::nullopt});
        } else if (!s.busy) {
          if (load_them) load(s);
          result[i] = s;
          have[i] = true;
          if (!counted[i]) ++stats_.memory_hits;
        } else if (!counted[i]) {
          ++stats_.waited;
        }
        counted[i] = true;
        all = all && have[i];
      }
    }
    if (all) return result;
    if (!tasks.empty()) {
      produce(tasks, target);
      continue;
    }
    // Only kernels that others work on are left. Every change wakes us; each look takes what has become
    // ready.
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] {
      for (size_t i = 0; i < texts.size(); ++i) {
        if (have[i]) continue;
        const auto it = slots_.find(keys[i].hash);
        if (it == slots_.end() || !it->second.busy) return true;
      }
      return false;
    });
  }
}

// Fills the slots that this thread claimed, or gives every one of them up and throws.
void KernelStore::produce(std::vector<Task>& tasks, const Target& target) {
  Request request{target, nullptr, {}, {}};
  std::vector<Task*> missing;
  try {
    for (Task& t : tasks)
      if (!take_known(t, target)) missing.push_back(&t);
    if (missing.empty()) return;
    request.compiler = compiler_for(target);
    if (!request.compiler)
      fail(ErrorCode::not_found,
           {.op = "compile kernels",
            .fact = "there is no compiler here",
            .got = cat(missing.size(), " kernels to compile"),
            .remedy = "install the compiler plug-in or a C compiler; PHLOX_EXPLAIN=1 says what was tried"});
    std::vector<Task*> ours, others;
    for (Task* t : missing) {
      if (options_.disk) t->lock = options_.disk->try_lock(t->key);
      (!options_.disk || t->lock ? ours : others).push_back(t);
    }
    compile(ours, request);
    for (Task* t : ours) t->lock.reset();
    wait_for_others(others, request);
  } catch (...) {
    if (!request.error) request.error = std::current_exception();
  }
  for (const Task& t : tasks) give_up(t.key);  // those still without a result
  if (request.error) std::rethrow_exception(request.error);
}

// Another process compiles these: its file is what we wait for, and its lock when it fails.
void KernelStore::wait_for_others(std::vector<Task*>& tasks, Request& request) {
  if (tasks.empty()) return;
  {
    std::lock_guard lock(mutex_);
    stats_.waited += tasks.size();
  }
  const uint64_t start = now_us();
  std::vector<Task*> ours;
  for (Task* t : tasks) {
    for (;;) {
      const bool patient = now_us() - start < patience_us;
      t->lock = options_.disk->try_lock(t->key);
      if (!t->lock && patient) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        continue;
      }
      if (!take_known(*t, request.target)) ours.push_back(t);
      break;
    }
  }
  compile(ours, request);
}

void KernelStore::compile(std::vector<Task*>& tasks, Request& request) {
  if (tasks.empty()) return;
  // The kernels of a CUDA program cannot be taken apart again, so each has its own.
  const size_t n = tasks.size(),
               most = request.target.kind == DeviceKind::cpu ? std::max<size_t>(1, options_.batch) : 1;
  const size_t threads =
      options_.threads > 0 ? size_t(options_.threads) : std::max(1u, std::thread::hardware_concurrency());
  const size_t batches = std::max((n + most - 1) / most, std::min(threads, n));
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t b; (b = next.fetch_add(1)) < batches;) {
      const size_t begin = n * b / batches, end = n * (b + 1) / batches;
      compile_batch(std::span(tasks).subspan(begin, end - begin), request);
    }
  };
  std::vector<std::thread> helpers;
  for (size_t i = 1; i < std::min(threads, batches); ++i) helpers.emplace_back(work);
  work();
  for (std::thread& t : helpers) t.join();
}

void KernelStore::compile_together(std::span<Task* const> tasks, Request& request) {
  std::vector<KernelText> texts;
  for (Task* t : tasks) texts.push_back(*t->text);
  const uint64_t start = now_us();
  std::vector<Image> images = request.compiler->compile_each(texts, request.target);
  const uint64_t us = now_us() - start;
  PHLOX_CHECK(images.size() == tasks.size(), images.size(), " images");
  {
    std::lock_guard lock(mutex_);
    stats_.compiled += tasks.size();
    stats_.compile_us += us;
    ++stats_.batches;
  }
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (options_.disk) options_.disk->put(tasks[i]->key, images[i]);
    publish(tasks[i]->key, std::move(images[i]));
  }
  emit_event(EventKind::compile, cat(tasks.size(), tasks.size() == 1 ? " kernel" : " kernels"),
             cat(request.compiler->name(), ", ", double(us / 100) / 10, " ms"));
}

// Never throws: the first error is kept in the request, and the slots of failed kernels stay busy for
// produce().
void KernelStore::compile_batch(std::span<Task* const> tasks, Request& request) {
  try {
    try {
      return compile_together(tasks, request);
    } catch (const Error& e) {
      const bool text = e.code() == ErrorCode::internal || e.code() == ErrorCode::bad_file;
      if (tasks.size() == 1 || !text) throw;
      emit_event(EventKind::fallback, cat(tasks.size(), " kernels"),
                 cat("do not compile together, so each by itself: ", e.what()));
    }
    for (Task* const& t : tasks) compile_batch({&t, 1}, request);
  } catch (...) {
    {
      std::lock_guard lock(mutex_);
      stats_.failed += tasks.size();
    }
    std::lock_guard lock(request.mutex);
    if (!request.error) request.error = std::current_exception();
  }
}

std::vector<std::shared_ptr<const Image>> KernelStore::images(std::span<const KernelText> texts,
                                                              const Target& target) {
  std::vector<std::shared_ptr<const Image>> r;
  for (Slot& s : resolve(texts, target, false)) r.push_back(std::move(s.image));
  return r;
}

std::vector<KernelFn> KernelStore::get(std::span<const KernelText> texts, const Target& target) {
  PHLOX_CHECK(target.kind == DeviceKind::cpu, "only cpu kernels have an address");
  std::vector<KernelFn> r;
  for (const Slot& s : resolve(texts, target, true)) r.push_back(s.fn);
  return r;
}

KernelFn KernelStore::find(const KernelText& text, const Target& target) {
  PHLOX_CHECK(target.kind == DeviceKind::cpu, "only cpu kernels have an address");
  const Task task{&text, key_of(text, target), std::nullopt};
  {
    std::lock_guard lock(mutex_);
    const auto [it, fresh] = slots_.try_emplace(task.key.hash);
    if (!fresh) {
      if (it->second.busy) return nullptr;
      ++stats_.memory_hits;
      return load(it->second);
    }
  }
  bool known = false;
  try {
    known = take_known(task, target);
  } catch (...) {
    give_up(task.key);
    throw;
  }
  if (!known) {
    give_up(task.key);
    return nullptr;
  }
  std::lock_guard lock(mutex_);
  return load(slots_.at(task.key.hash));
}

std::shared_ptr<const KernelStore::Prefetch> KernelStore::prefetch(std::vector<KernelText> texts,
                                                                   const Target& target) {
  auto result = std::make_shared<Prefetch>();
  {
    std::lock_guard lock(jobs_mutex_);
    jobs_.push_back({std::move(texts), target, result});
    std::erase_if(in_background_, [](const std::weak_ptr<Prefetch>& p) { return p.expired(); });
    in_background_.push_back(result);
    if (!worker_) worker_ = std::make_unique<std::thread>([this] { work_in_background(); });
  }
  jobs_changed_.notify_one();
  return result;
}

void KernelStore::work_in_background() {
  for (;;) {
    std::unique_lock lock(jobs_mutex_);
    jobs_changed_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
    if (stopping_) {
      for (Job& j : jobs_) {
        j.result->error = "the kernel store was closed";
        j.result->state.store(Prefetch::failed, std::memory_order_release);
      }
      return;
    }
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    int state = Prefetch::ready;
    try {
      if (job.target.kind == DeviceKind::cpu)
        job.result->entries = get(job.texts, job.target);
      else
        images(job.texts, job.target);
    } catch (const std::exception& e) {
      job.result->error = e.what();
      state = Prefetch::failed;
    }
    job.result->state.store(state, std::memory_order_release);
  }
}

void KernelStore::before_fork() {
  jobs_mutex_.lock();
  compilers_mutex_.lock();
  mutex_.lock();
}

void KernelStore::after_fork(bool in_child) {
  if (in_child) {
    std::erase_if(slots_, [](const auto& item) { return item.second.busy; });
    jobs_.clear();
    for (const std::weak_ptr<Prefetch>& w : in_background_) {
      const std::shared_ptr<Prefetch> p = w.lock();
      if (!p || p->state.load() != Prefetch::running) continue;
      p->error = "the process was forked";
      p->state.store(Prefetch::failed, std::memory_order_release);
    }
    in_background_.clear();
    (void)worker_.release();  // its thread is the parent's; there is nothing to join
  }
  mutex_.unlock();
  compilers_mutex_.unlock();
  jobs_mutex_.unlock();
}

namespace {

struct ProcessStore {
  DiskCache disk{DiskCache::environment_options()};
  KernelStore store{{.disk = &disk}};

  ProcessStore() {
    for (auto& pack : shipped_packs()) store.add_pack(std::move(pack));
    code_arena();  // its fork handlers must be older than ours: the store calls the arena while it is locked
    ::pthread_atfork([] { kernel_store().before_fork(); }, [] { kernel_store().after_fork(false); },
                     [] { kernel_store().after_fork(true); });
  }
};

}  // namespace

KernelStore& kernel_store() { return root_object<ProcessStore>().store; }

}  // namespace phlox
