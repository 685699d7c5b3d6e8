#include "native/tune_store.h"

#include <mutex>

#include "base/root.h"

namespace phlox {

namespace {
struct Lent {
  std::mutex mutex;
  TuneStore store;
};
TuneStore lent() {
  Lent& l = root_object<Lent>();
  std::lock_guard lock(l.mutex);
  return l.store;
}
}  // namespace

void set_tune_store(TuneStore store) {
  Lent& l = root_object<Lent>();
  std::lock_guard lock(l.mutex);
  l.store = store;
}
bool find_tuned(const std::string& key, std::span<std::byte> value) {
  const TuneStore s = lent();
  return s.find && s.find(key, value);
}
void put_tuned(const std::string& key, std::span<const std::byte> value) {
  if (const TuneStore s = lent(); s.put) s.put(key, value);
}

}  // namespace phlox
