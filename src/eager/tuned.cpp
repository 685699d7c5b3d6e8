#include "eager/tuned.h"

#include <cstring>

#include "base/format.h"
#include "base/root.h"
#include "native/tune_store.h"
#include "toolchain/disk_cache.h"

namespace phlox {

namespace {

struct Tuned {
  DiskCache disk{[] {
    DiskCache::Options o = DiskCache::environment_options();
    if (!o.folder.empty()) o.folder += "/tune";
    o.max_bytes = 16 << 20;
    return o;
  }()};
};

CacheKey key_of(const std::string& text) { return {cat("tuned: ", text), hash256(text.data(), text.size())}; }

bool find(const std::string& key, std::span<std::byte> value) {
  const std::optional<Image> image = root_object<Tuned>().disk.get(key_of(key));
  if (!image || image->bytes.size() != value.size()) return false;
  std::memcpy(value.data(), image->bytes.data(), value.size());
  return true;
}

void put(const std::string& key, std::span<const std::byte> value) {
  Image image;
  image.bytes.assign(value.begin(), value.end());
  image.entries.push_back({"value", 0});
  root_object<Tuned>().disk.put(key_of(key), image);
}

}  // namespace

void lend_tune_store() { set_tune_store({find, put}); }

}  // namespace phlox
