// The bytes of a cache file: a header, the key's text, entries, imports, code. Little-endian; nothing between
// or after.
#include <cstring>

#include "base/error.h"
#include "toolchain/disk_cache.h"

namespace phlox {

namespace {

constexpr uint32_t format_version = 1;
constexpr char magic[8] = {'p', 'h', 'l', 'o', 'x', 'k', 'c', '\n'};
constexpr uint64_t max_items = 1 << 16, max_name = 256, max_text = 64 << 20, max_code = 64 << 20;

struct Header {
  char magic[8];
  uint32_t format, kernel_abi;
  Hash256 key;
  Hash256 checksum;  // of the whole file with this field zero
  uint64_t file_bytes, text_bytes, code_bytes;
  uint32_t entries, imports;
};
static_assert(sizeof(Header) == 112);

struct Item {
  uint64_t offset, name_bytes;
};

void append_bytes(std::vector<std::byte>& to, const void* p, size_t n) {
  if (n) to.insert(to.end(), static_cast<const std::byte*>(p), static_cast<const std::byte*>(p) + n);
}

void append_item(std::vector<std::byte>& to, uint64_t offset, const std::string& name) {
  const Item item{offset, name.size()};
  append_bytes(to, &item, sizeof item);
  append_bytes(to, name.data(), name.size());
}

// Reads forward; false once anything is missing.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : rest_(bytes) {}
  bool take(void* to, size_t n) {
    if (n > rest_.size()) return false;
    if (n) std::memcpy(to, rest_.data(), n);
    rest_ = rest_.subspan(n);
    return true;
  }
  bool take(std::string& to, uint64_t n) {
    if (n > rest_.size()) return false;
    to.assign(reinterpret_cast<const char*>(rest_.data()), n);
    rest_ = rest_.subspan(n);
    return true;
  }
  bool item(uint64_t& offset, std::string& name) {
    Item i;
    if (!take(&i, sizeof i) || i.name_bytes > max_name) return false;
    offset = i.offset;
    return take(name, i.name_bytes);
  }
  std::span<const std::byte> rest() const { return rest_; }

 private:
  std::span<const std::byte> rest_;
};

Hash256 checksum_of(std::span<const std::byte> bytes, Header header) {
  // Two hashes, so that the file need not be copied to blank one field.
  header.checksum = {};
  const Hash256 head = hash256(&header, sizeof header);
  const Hash256 body = hash256(bytes.data() + sizeof header, bytes.size() - sizeof header);
  const Hash256 both[2] = {head, body};
  return hash256(both, sizeof both);
}

}  // namespace

CacheKey cache_key(const KernelText& kernel, const Target& target, std::string_view compiler_fingerprint) {
  CacheKey k;
  k.text = cat("phlox kernel: format ", format_version, ", abi ", kernel_abi_version, "\n",
               code_target_text(target), "\n", compiler_fingerprint, "\n", kernel.entry, "\n", kernel.source);
  k.hash = hash256(k.text.data(), k.text.size());
  return k;
}

std::vector<std::byte> encode_cache_file(const CacheKey& key, const Image& image) {
  Header h{};
  std::memcpy(h.magic, magic, sizeof magic);
  h.format = format_version, h.kernel_abi = kernel_abi_version;
  h.key = key.hash;
  h.text_bytes = key.text.size(), h.code_bytes = image.bytes.size();
  h.entries = uint32_t(image.entries.size()), h.imports = uint32_t(image.imports.size());
  std::vector<std::byte> file;
  file.reserve(sizeof h + key.text.size() + image.bytes.size() +
               64 * (image.entries.size() + image.imports.size()));
  append_bytes(file, &h, sizeof h);
  append_bytes(file, key.text.data(), key.text.size());
  for (const Image::Entry& e : image.entries) append_item(file, e.offset, e.name);
  for (const Image::Import& i : image.imports) append_item(file, i.slot, i.name);
  append_bytes(file, image.bytes.data(), image.bytes.size());
  seal_cache_file(file);
  return file;
}

void seal_cache_file(std::span<std::byte> file) {
  Header h;
  PHLOX_CHECK(file.size() >= sizeof h, file.size(), " bytes");
  std::memcpy(&h, file.data(), sizeof h);
  h.file_bytes = file.size();
  h.checksum = checksum_of(file, h);
  std::memcpy(file.data(), &h, sizeof h);
}

std::optional<Image> decode_cache_file(std::span<const std::byte> bytes, const CacheKey& key,
                                       std::string& fault) {
  const auto bad = [&](const char* why) {
    fault = why;
    return std::nullopt;
  };
  Reader in(bytes);
  Header h;
  if (!in.take(&h, sizeof h)) return bad("the file is truncated");
  if (std::memcmp(h.magic, magic, sizeof magic) != 0) return bad("not a kernel cache file");
  if (h.format != format_version || h.kernel_abi != kernel_abi_version)
    return bad("written by another version");
  if (h.file_bytes != bytes.size()) return bad("the file has another size than it says");
  if (h.checksum != checksum_of(bytes, h)) return bad("the checksum does not fit");
  if (h.key != key.hash) return bad("the file is for another kernel");
  if (h.text_bytes > max_text || h.code_bytes > max_code || h.entries > max_items || h.imports > max_items)
    return bad("sizes beyond their limits");
  std::string text;
  if (!in.take(text, h.text_bytes) || text != key.text) return bad("the file is for another kernel");
  Image image;
  image.entries.resize(h.entries);
  image.imports.resize(h.imports);
  for (Image::Entry& e : image.entries)
    if (!in.item(e.offset, e.name)) return bad("bad entry table");
  for (Image::Import& i : image.imports)
    if (!in.item(i.slot, i.name)) return bad("bad import table");
  if (in.rest().size() != h.code_bytes) return bad("the code has another size than it says");
  image.bytes.assign(in.rest().begin(), in.rest().end());
  fault = image_fault(image);
  if (!fault.empty()) return std::nullopt;
  return image;
}

}  // namespace phlox
