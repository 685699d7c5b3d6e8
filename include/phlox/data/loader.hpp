// DataLoader: a dataset in batches, shuffled anew each epoch, fetched ahead by a thread of its own.
//
//   data::DataLoader loader(dataset, {.batch_size = 64, .shuffle = true, .seed = 1});
//   for (int epoch = 0; epoch < 5; ++epoch)
//     for (auto [x, y] : loader.epoch(epoch)) ...
//
// Invariant: which examples make batch b of epoch e depends on the seed, e and b alone, not on threads, on
// what ran before or on the library's generator. A run that stopped goes on with epoch(e, b). An exception in
// batch() is thrown from the iterator that would have given the batch.
#pragma once
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "phlox/data/dataset.hpp"

namespace phlox {
inline namespace v1 {
namespace data {

struct LoaderOptions {
  int64_t batch_size = 1;
  bool shuffle = false;
  uint64_t seed = 0;
  bool drop_last = false;  // leave out a last batch that is not full
  int prefetch = 2;        // batches fetched ahead; 0: none, and no thread
};

namespace data_detail {
// A small generator with 64 bits of state; every seed gives another sequence.
struct SplitMix {
  uint64_t state;
  uint64_t next() {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  uint64_t below(uint64_t n) {  // uniform: the high half of a product, short ranges drawn again
    for (;;) {
      const __uint128_t product = __uint128_t(next()) * n;
      if (uint64_t(product) >= n || uint64_t(product) >= -n % n) return uint64_t(product >> 64);
    }
  }
};
inline std::vector<int64_t> shuffled(int64_t n, uint64_t seed, int64_t epoch) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) order[size_t(i)] = i;
  SplitMix mix{seed};
  SplitMix random{mix.next() ^ (uint64_t(epoch) * 0xd1342543de82ef95u)};
  for (int64_t i = n - 1; i > 0; --i) std::swap(order[size_t(i)], order[random.below(uint64_t(i) + 1)]);
  return order;
}
}  // namespace data_detail

// One pass over the data; an input range. It ends its thread when it is destroyed, also in the middle.
template <class D>
class Epoch {
 public:
  using Batch = decltype(std::declval<const D&>().batch(std::vector<int64_t>()));

  Epoch(const D& dataset, const LoaderOptions& o, int64_t epoch, int64_t first_batch)
      : dataset_(dataset), options_(o), next_(first_batch) {
    const int64_t n = dataset.size();
    batches_ = o.drop_last ? n / o.batch_size : (n + o.batch_size - 1) / o.batch_size;
    if (o.shuffle) order_ = data_detail::shuffled(n, o.seed, epoch);
    if (o.prefetch > 0 && next_ < batches_) worker_ = std::thread([this] { work(); });
  }
  Epoch(const Epoch&) = delete;
  ~Epoch() {
    if (!worker_.joinable()) return;
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    worker_.join();
  }

  struct End {};
  class Iterator {
   public:
    explicit Iterator(Epoch* e) : epoch_(e) { ++*this; }
    Batch& operator*() { return *batch_; }
    Iterator& operator++() {
      batch_ = epoch_->take();
      return *this;
    }
    friend bool operator!=(const Iterator& i, End) { return i.batch_ != nullptr; }
    friend bool operator==(const Iterator& i, End) { return i.batch_ == nullptr; }

   private:
    Epoch* epoch_;
    std::unique_ptr<Batch> batch_;
  };
  Iterator begin() { return Iterator(this); }
  End end() { return {}; }
  // The next batch; null at the end.
  std::unique_ptr<Batch> take() {
    if (!worker_.joinable()) return next_ < batches_ ? fetch(next_++) : nullptr;
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !ready_.empty() || finished_; });
    if (ready_.empty()) {
      if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
      return nullptr;
    }
    std::unique_ptr<Batch> b = std::move(ready_.front());
    ready_.pop_front();
    lock.unlock();
    changed_.notify_all();
    return b;
  }

 private:
  std::unique_ptr<Batch> fetch(int64_t b) const {
    const int64_t from = b * options_.batch_size, to = std::min(from + options_.batch_size, dataset_.size());
    std::vector<int64_t> numbers;
    for (int64_t i = from; i < to; ++i) numbers.push_back(options_.shuffle ? order_[size_t(i)] : i);
    return std::make_unique<Batch>(dataset_.batch(numbers));
  }
  void work() {
    std::exception_ptr failure;
    try {
      for (; next_ < batches_; ++next_) {
        std::unique_ptr<Batch> b = fetch(next_);
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return stop_ || int(ready_.size()) < options_.prefetch; });
        if (stop_) return;
        ready_.push_back(std::move(b));
        lock.unlock();
        changed_.notify_all();
      }
    } catch (...) {
      failure = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    failure_ = failure;
    finished_ = true;
    changed_.notify_all();
  }

  const D& dataset_;
  LoaderOptions options_;
  std::vector<int64_t> order_;
  int64_t batches_ = 0, next_;
  std::thread worker_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<Batch>> ready_;
  std::exception_ptr failure_;
  bool stop_ = false, finished_ = false;
};

template <class D>
class DataLoader {
 public:
  explicit DataLoader(D dataset, const LoaderOptions& o = {}) : dataset_(std::move(dataset)), options_(o) {
    if (o.batch_size < 1)
      throw Error(ErrorCode::invalid_argument, "DataLoader", "batch_size is positive",
                  std::to_string(o.batch_size));
  }
  // The number of batches of an epoch.
  int64_t size() const {
    const int64_t n = dataset_.size(), b = options_.batch_size;
    return options_.drop_last ? n / b : (n + b - 1) / b;
  }
  Epoch<D> epoch(int64_t epoch, int64_t first_batch = 0) const {
    return {dataset_, options_, epoch, first_batch};
  }
  const D& dataset() const { return dataset_; }

 private:
  D dataset_;
  LoaderOptions options_;
};

}  // namespace data
}  // namespace v1
}  // namespace phlox
