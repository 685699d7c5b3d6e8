#include "toolchain/kernel_pack.h"

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/event.h"
#include "base/file.h"
#include "toolchain/places.h"

namespace phlox {

namespace {

constexpr char magic[8] = {'p', 'h', 'l', 'o', 'x', 'k', 'p', '\n'};
constexpr uint32_t format_version = 1;
constexpr uint32_t max_kernels = 1 << 20;

struct Header {
  char magic[8];
  uint32_t format, kernel_abi, kernels, reserved;
  char arch[32];
  uint64_t file_bytes;
  Hash256 checksum;  // of this header with the field zero, and of the index
};
static_assert(sizeof(Header) == 96);

Hash256 checksum_of(Header h, std::span<const std::byte> index) {
  h.checksum = {};
  const Hash256 both[2] = {hash256(&h, sizeof h), hash256(index.data(), index.size())};
  return hash256(both, sizeof both);
}

// What a record says that it is for.
CacheKey record_key(const Hash256& text, std::string_view arch) {
  return {cat("phlox pack kernel: ", arch), text};
}

// Whether somebody may have changed it who could not have changed the library.
const char* distrust(const std::string& path) {
  struct stat file, own;
  if (::stat(path.c_str(), &file) != 0) return nullptr;  // opening it says more
  if (file.st_mode & S_IWOTH) return "everybody may write to it";
  if (file.st_uid == 0 || file.st_uid == ::geteuid()) return nullptr;
  Dl_info info;
  const bool known = ::dladdr(reinterpret_cast<void*>(&distrust), &info) && info.dli_fname &&
                     ::stat(info.dli_fname, &own) == 0;
  return known && own.st_uid == file.st_uid ? nullptr : "it belongs to another user";
}

[[noreturn]] void bad_pack(const std::string& path, const char* fact) {
  fail(ErrorCode::bad_file,
       {.op = "open kernel pack", .fact = fact, .got = path, .remedy = "reinstall phlox"});
}

}  // namespace

PackFile::PackFile(const std::string& path) : file_(path) {
  if (const char* why = distrust(path)) bad_pack(path, why);
  const auto bytes = file_.bytes();
  Header h;
  if (bytes.size() < sizeof h) bad_pack(path, "the file is truncated");
  std::memcpy(&h, bytes.data(), sizeof h);
  if (std::memcmp(h.magic, magic, sizeof magic) != 0) bad_pack(path, "not a kernel pack");
  if (h.format != format_version || h.kernel_abi != kernel_abi_version)
    bad_pack(path, "written for another version");
  if (h.file_bytes != bytes.size()) bad_pack(path, "the file has another size than it says");
  if (h.kernels > max_kernels || h.arch[sizeof h.arch - 1] != 0) bad_pack(path, "bad header");
  count_ = h.kernels;
  index_ = sizeof h;
  if ((bytes.size() - index_) / sizeof(IndexEntry) < count_) bad_pack(path, "the index is truncated");
  if (h.checksum != checksum_of(h, bytes.subspan(index_, count_ * sizeof(IndexEntry))))
    bad_pack(path, "the checksum does not fit");
  arch_ = h.arch;
  for (size_t i = 0; i < count_; ++i) {
    const IndexEntry e = entry(i);
    if (e.offset > bytes.size() || bytes.size() - e.offset < e.bytes)
      bad_pack(path, "a kernel lies outside the file");
    if (i > 0 && !(entry(i - 1).text < e.text)) bad_pack(path, "the index is not sorted");
  }
  file_.advise(MappedFile::Access::random);
}

PackFile::IndexEntry PackFile::entry(size_t i) const {
  IndexEntry e;
  std::memcpy(&e, file_.bytes().data() + index_ + i * sizeof e, sizeof e);
  return e;
}

std::optional<Image> PackFile::find(const Hash256& text, const Target& target) const {
  Target needed;
  needed.arch = arch_;
  if (target.kind != DeviceKind::cpu || cpu_level(target) < cpu_level(needed)) return std::nullopt;
  size_t low = 0, high = count_;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (entry(middle).text < text)
      low = middle + 1;
    else
      high = middle;
  }
  if (low == count_) return std::nullopt;
  const IndexEntry e = entry(low);
  if (e.text != text) return std::nullopt;
  std::string fault;
  std::optional<Image> image =
      decode_cache_file(file_.bytes().subspan(e.offset, e.bytes), record_key(text, arch_), fault);
  if (!image) emit_event(EventKind::cache, file_.path(), cat("a kernel of the pack is damaged: ", fault));
  return image;
}

void write_kernel_pack(const std::string& path, const std::string& arch, std::span<const KernelText> texts,
                       std::span<const std::shared_ptr<const Image>> images) {
  Header h{};
  PHLOX_CHECK(texts.size() == images.size() && texts.size() <= max_kernels, texts.size(), " texts");
  PHLOX_CHECK(arch.size() < sizeof h.arch, arch);
  std::vector<std::pair<Hash256, const Image*>> sorted;
  for (size_t i = 0; i < texts.size(); ++i) sorted.emplace_back(kernel_text_hash(texts[i]), images[i].get());
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end(),
                           [](const auto& a, const auto& b) { return a.first == b.first; }),
               sorted.end());

  struct IndexEntry {
    Hash256 text;
    uint64_t offset, bytes;
  };
  std::vector<IndexEntry> index;
  std::vector<std::byte> records;
  const uint64_t start = sizeof h + sorted.size() * sizeof(IndexEntry);
  for (const auto& [text, image] : sorted) {
    const std::vector<std::byte> record = encode_cache_file(record_key(text, arch), *image);
    index.push_back({text, start + records.size(), record.size()});
    records.insert(records.end(), record.begin(), record.end());
  }
  std::memcpy(h.magic, magic, sizeof magic);
  h.format = format_version, h.kernel_abi = kernel_abi_version;
  h.kernels = uint32_t(sorted.size());
  std::memcpy(h.arch, arch.data(), arch.size());
  h.file_bytes = start + records.size();
  const auto index_bytes = std::as_bytes(std::span<const IndexEntry>(index));
  h.checksum = checksum_of(h, index_bytes);
  FileReplacement file(path);
  file.write(std::as_bytes(std::span(&h, 1)));
  file.write(index_bytes);
  file.write(std::span<const std::byte>(records));
  file.commit();
}

std::vector<std::shared_ptr<const KernelPack>> shipped_packs() {
  std::vector<std::shared_ptr<const KernelPack>> r;
  for (const char* arch : {"x86-64-v4", "x86-64-v3"})
    for (const std::string& path : shipped_file_places(cat("phlox_kernels.", arch, ".pack"))) {
      if (::access(path.c_str(), R_OK) != 0) continue;
      try {
        r.push_back(std::make_shared<PackFile>(path));
        break;
      } catch (const Error& e) {
        emit_event(EventKind::cache, path, e.what());
      }
    }
  return r;
}

}  // namespace phlox
