#include "format/inspect.h"

#include <algorithm>
#include <array>

#include "base/json.h"

namespace phlox {

std::string human_bytes(uint64_t bytes) {
  static constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return cat(bytes, " B");
  size_t unit = 1;
  for (; bytes >= 1024 * 1024; bytes /= 1024) ++unit;
  // Integers and cut, not rounded: 1023.99 must not become "1024.0".
  const uint64_t tenths = bytes * 10 / 1024;
  return cat(tenths / 10, ".", tenths % 10, " ", units[unit]);
}

// A text from the file that cannot move the cursor, cut to `limit` bytes.
static std::string printable(std::string_view text, size_t limit = SIZE_MAX) {
  const bool cut = text.size() > limit;
  std::string json = quoted(text, limit);
  // JSON leaves DEL and U+0080..U+009F alone; a terminal does not.
  std::string safe;
  bool escaped = false;
  const auto byte = [&](size_t i) { return i < json.size() ? static_cast<unsigned char>(json[i]) : 0u; };
  for (size_t i = 0; i < json.size(); ++i) {
    const bool del = byte(i) == 0x7F, c1 = byte(i) == 0xC2 && byte(i + 1) < 0xA0;
    if (!del && !c1) {
      escaped |= json[i] == '\\';
      safe += json[i];
      continue;
    }
    static constexpr char digits[] = "0123456789abcdef";
    const unsigned code = del ? 0x7F : byte(++i);
    safe += cat("\\u00", digits[code >> 4], digits[code & 15]);
    escaped = true;
  }
  // The quotes help only where something is odd: an escape, an end, or white space at the border.
  const bool border = text.empty() || text.front() == ' ' || text.back() == ' ';
  if (escaped || cut || border) return safe;
  return safe.substr(1, safe.size() - 2);
}

// Columns on a terminal, near enough: one a character.
static size_t width(std::string_view s) {
  return size_t(std::count_if(s.begin(), s.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

// Rows of equally many cells, padded to columns; those from `first_right` on stand at the right.
class Table {
 public:
  using Row = std::vector<std::string>;
  Table(size_t first_right, Row head) : first_right_(first_right), widths_(head.size()) {
    add(std::move(head));
  }
  void add(Row row) {
    for (size_t c = 0; c < row.size(); ++c) widths_[c] = std::max(widths_[c], width(row[c]));
    rows_.push_back(std::move(row));
  }
  void append_to(std::string& out) const {
    for (const Row& row : rows_) {
      for (size_t c = 0; c < row.size(); ++c) {
        const std::string space(widths_[c] - width(row[c]), ' ');
        const bool right = c >= first_right_;
        out += cat(c ? "  " : "", right ? space : "", row[c], right ? "" : space);
      }
      out += '\n';
    }
  }

 private:
  size_t first_right_;
  std::vector<size_t> widths_;
  std::vector<Row> rows_;
};

static uint64_t element_count(const SafetensorsEntry& e) {
  return e.bytes.size() * 8 / safetensors_dtype_info(e.dtype).bits;
}

static void append_metadata(std::string& out, const SafetensorsFile& file, const InspectOptions& options) {
  if (file.metadata_size() == 0) return;
  out += "\nmetadata\n";
  for (size_t i = 0; i < file.metadata_size(); ++i) {
    const auto [key, value] = file.metadata_entry(i);
    out +=
        cat("  ", printable(key, options.longest_value), ": ", printable(value, options.longest_value), "\n");
  }
}

static void append_dtypes(std::string& out, const SafetensorsFile& file) {
  struct Sum {
    uint64_t tensors = 0, elements = 0, bytes = 0;
  };
  std::array<Sum, safetensors_dtype_count> sums{};
  for (const SafetensorsEntry& e : file) {
    Sum& s = sums[size_t(e.dtype)];
    ++s.tensors;
    s.elements += element_count(e);
    s.bytes += e.bytes.size();
  }
  Table table(1, {"dtype", "tensors", "elements", "size"});
  for (size_t d = 0; d < sums.size(); ++d)
    if (sums[d].tensors)
      table.add({cat(SafetensorsDType(d)), cat(sums[d].tensors), cat(sums[d].elements),
                 human_bytes(sums[d].bytes)});
  out += "\n";
  table.append_to(out);
}

std::string inspect_safetensors(const SafetensorsFile& file, std::string_view title,
                                const InspectOptions& options) {
  uint64_t elements = 0;
  for (const SafetensorsEntry& e : file) elements += element_count(e);
  const uint64_t total = file.data_offset() + file.data().size();
  std::string out =
      cat(printable(title), ": safetensors, ", file.size(), file.size() == 1 ? " tensor, " : " tensors, ",
          elements, " elements, ", human_bytes(total), " (header ", human_bytes(file.data_offset()), ")\n");
  append_metadata(out, file, options);
  if (file.empty()) return out;

  std::vector<SafetensorsEntry> entries;
  for (const SafetensorsEntry& e : file) entries.push_back(e);
  if (options.by_name)
    std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  Table table(3, {"name", "dtype", "shape", "size", "offset"});
  for (const SafetensorsEntry& e : entries)
    table.add({printable(e.name), cat(e.dtype), cat("[", join(e.shape), "]"), human_bytes(e.bytes.size()),
               cat(e.offset)});
  out += "\n";
  table.append_to(out);
  append_dtypes(out, file);
  return out;
}

}  // namespace phlox
