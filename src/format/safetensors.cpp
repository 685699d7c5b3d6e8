#include "format/safetensors.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>

#include "base/error.h"
#include "base/json.h"

namespace phlox {

static constexpr std::string_view op = "safetensors";
static constexpr std::string_view damaged =
    "the file is damaged or no safetensors file: get it again from its source";

static constexpr SafetensorsDTypeInfo infos[safetensors_dtype_count] = {
    {"BOOL", 8, DType::boolean},
    {"F4", 4, std::nullopt},
    {"F6_E2M3", 6, std::nullopt},
    {"F6_E3M2", 6, std::nullopt},
    {"U8", 8, DType::u8},
    {"I8", 8, DType::i8},
    {"F8_E5M2", 8, DType::f8e5m2},
    {"F8_E4M3", 8, DType::f8e4m3},
    {"F8_E8M0", 8, std::nullopt},
    {"F8_E4M3FNUZ", 8, std::nullopt},
    {"F8_E5M2FNUZ", 8, std::nullopt},
    {"I16", 16, DType::i16},
    {"U16", 16, DType::u16},
    {"F16", 16, DType::f16},
    {"BF16", 16, DType::bf16},
    {"I32", 32, DType::i32},
    {"U32", 32, DType::u32},
    {"F32", 32, DType::f32},
    {"C64", 64, DType::c64},
    {"F64", 64, DType::f64},
    {"I64", 64, DType::i64},
    {"U64", 64, DType::u64},
};

const SafetensorsDTypeInfo& safetensors_dtype_info(SafetensorsDType d) { return infos[int(d)]; }

std::optional<SafetensorsDType> safetensors_dtype(DType d) {
  for (int i = 0; i < safetensors_dtype_count; ++i)
    if (infos[i].dtype == d) return SafetensorsDType(i);
  return std::nullopt;
}

std::optional<SafetensorsDType> parse_safetensors_dtype(std::string_view name) {
  for (int i = 0; i < safetensors_dtype_count; ++i)
    if (infos[i].name == name) return SafetensorsDType(i);
  return std::nullopt;
}

void append(std::string& s, SafetensorsDType d) { s += infos[int(d)].name; }

[[noreturn]] static void bad(std::string fact, std::string got, std::string expected,
                             std::string_view remedy = damaged) {
  fail(ErrorCode::bad_file,
       {std::string(op), std::move(fact), std::move(got), std::move(expected), std::string(remedy)});
}

SafetensorsSize safetensors_size(SafetensorsDType dtype, std::span<const int64_t> shape) {
  uint64_t n = 1;
  for (const int64_t dim : shape) {
    if (dim < 0) return {0, "a dimension is negative"};
    if (__builtin_mul_overflow(n, uint64_t(dim), &n)) return {0, "the number of elements overflows 64 bits"};
  }
  if (__builtin_mul_overflow(n, uint64_t(safetensors_dtype_info(dtype).bits), &n))
    return {0, "the number of bits overflows 64 bits"};
  if (n % 8) return {0, "the elements do not fill whole bytes"};
  return {n / 8, nullptr};
}

static std::string shape_text(SafetensorsDType dtype, std::span<const int64_t> shape) {
  return cat(dtype, "[", join(shape), "]");
}

// ---- the parser ----

class SafetensorsParser {
 public:
  explicit SafetensorsParser(std::span<const std::byte> file) : file_(file) {}
  SafetensorsFile run();

 private:
  void take_header();
  void read_header(JsonReader& json);
  void read_metadata(JsonReader& json);
  void read_tensor(JsonReader& json, const JsonString& name);
  SafetensorsDType read_dtype(JsonReader& json, std::string_view name);
  void read_shape(JsonReader& json, std::string_view name, SafetensorsShape& shape);
  void read_offsets(JsonReader& json, std::string_view name, uint64_t& begin, uint64_t& end);
  std::string_view keep(const JsonString& s);  // resolves escapes where the text stands
  uint32_t place(std::string_view s) const { return uint32_t(s.data() - out_.header_.data()); }
  void check_names();
  void check_metadata_keys();
  void check_ranges();

  std::span<const std::byte> file_;
  SafetensorsFile out_;
};

SafetensorsFile parse_safetensors(std::span<const std::byte> file) { return SafetensorsParser(file).run(); }

SafetensorsFile SafetensorsParser::run() {
  take_header();
  JsonReader json(out_.header_, {op, "the header", damaged});
  read_header(json);
  check_metadata_keys();
  check_names();
  check_ranges();
  return std::move(out_);
}

void SafetensorsParser::take_header() {
  if (file_.size() < 8)
    bad("the file is too short to hold the header's length", cat(file_.size(), " bytes"), "at least 8");
  uint64_t n = 0;
  for (int i = 7; i >= 0; --i) n = n << 8 | std::to_integer<uint64_t>(file_[size_t(i)]);
  if (n > safetensors_limits::header_bytes)
    bad("the header is too long", cat(n, " bytes"), cat("at most ", safetensors_limits::header_bytes));
  if (n > file_.size() - 8)
    bad("the file ends inside the header", cat(file_.size(), " bytes with a header of ", n),
        cat("at least ", 8 + n));
  out_.header_.resize(n);
  if (n > 0) std::memcpy(out_.header_.data(), file_.data() + 8, n);
  out_.data_offset_ = 8 + n;
  out_.data_ = file_.subspan(8 + n);
  if (n == 0 || out_.header_[0] != '{')
    bad("the header does not begin with '{'",
        n ? quoted(std::string_view(out_.header_).substr(0, 1)) : "an empty header", "a JSON object");
}

std::string_view SafetensorsParser::keep(const JsonString& s) {
  char* const at = out_.header_.data() + place(s.raw);
  return {at, s.escaped ? s.unescape(at) : s.raw.size()};
}

void SafetensorsParser::read_header(JsonReader& json) {
  // Reserving once keeps the peak below the promise; an entry needs about 50 bytes of text.
  const size_t braces = size_t(std::count(out_.header_.begin(), out_.header_.end(), '{'));
  out_.records_.reserve(std::min({braces, out_.header_.size() / 50 + 1, safetensors_limits::tensors}));
  bool metadata_seen = false;
  JsonString key;
  json.begin_object();
  while (json.next_member(key)) {
    if (!key.equals("__metadata__")) {
      read_tensor(json, key);
      continue;
    }
    if (metadata_seen) bad("the key \"__metadata__\" stands twice", "", "");
    metadata_seen = true;
    json.set_subject("__metadata__");
    read_metadata(json);
  }
  json.set_subject("");
  json.finish();
}

void SafetensorsParser::read_metadata(JsonReader& json) {
  JsonString key;
  json.begin_object();
  while (json.next_member(key)) {
    if (out_.metadata_.size() == safetensors_limits::metadata_entries)
      bad("__metadata__ has too many entries", "", cat("at most ", safetensors_limits::metadata_entries));
    const std::string_view k = keep(key), v = keep(json.string());
    out_.metadata_.push_back({place(k), uint32_t(k.size()), place(v), uint32_t(v.size())});
  }
}

void SafetensorsParser::read_tensor(JsonReader& json, const JsonString& raw_name) {
  if (out_.records_.size() == safetensors_limits::tensors)
    bad("the file has too many tensors", "", cat("at most ", safetensors_limits::tensors),
        "store the model in several files");
  const std::string_view name = keep(raw_name);
  if (name.size() > safetensors_limits::name_bytes)
    bad(cat("the name ", quoted(name), " is too long"), cat(name.size(), " bytes"),
        cat("at most ", safetensors_limits::name_bytes),
        "rename the tensor in the program that wrote the file");
  if (name.find('\0') != std::string_view::npos)
    bad(cat("the name ", quoted(name), " holds a NUL"), "", "text",
        "rename the tensor in the program that wrote the file");
  json.set_subject(name);

  enum Field : unsigned { dtype_field = 1, shape_field = 2, offsets_field = 4 };
  unsigned seen = 0;
  SafetensorsFile::Record r{};
  SafetensorsShape shape;
  const auto once = [&](Field f, const char* field_name) {
    if (seen & f) bad(cat("tensor ", quoted(name), " has \"", field_name, "\" twice"), "", "");
    seen |= f;
  };
  JsonString key;
  json.begin_object();
  while (json.next_member(key)) {
    if (key.equals("dtype")) {
      once(dtype_field, "dtype");
      r.dtype = read_dtype(json, name);
    } else if (key.equals("shape")) {
      once(shape_field, "shape");
      json.peek();  // to where the value stands
      r.shape = uint32_t(json.position());
      read_shape(json, name, shape);
    } else if (key.equals("data_offsets")) {
      once(offsets_field, "data_offsets");
      read_offsets(json, name, r.begin, r.end);
    } else {
      json.skip();
    }
  }
  for (const auto& [field, field_name] :
       {std::pair{dtype_field, "dtype"}, {shape_field, "shape"}, {offsets_field, "data_offsets"}})
    if (!(seen & field)) bad(cat("tensor ", quoted(name), " has no \"", field_name, "\""), "", "");

  if (r.begin > r.end)
    bad(cat("tensor ", quoted(name), " ends before it begins"),
        cat("data_offsets [", r.begin, ", ", r.end, "]"), "");
  const SafetensorsSize size = safetensors_size(r.dtype, shape);
  if (size.problem) bad(cat("tensor ", quoted(name), ": ", size.problem), shape_text(r.dtype, shape), "");
  if (size.bytes != r.end - r.begin)
    bad(cat("tensor ", quoted(name), " has the wrong size"),
        cat(r.end - r.begin, " bytes in data_offsets [", r.begin, ", ", r.end, "]"),
        cat(size.bytes, " bytes for ", shape_text(r.dtype, shape)));
  r.name = place(name);
  r.name_size = uint16_t(name.size());
  out_.records_.push_back(r);
}

SafetensorsDType SafetensorsParser::read_dtype(JsonReader& json, std::string_view name) {
  const std::string text = json.string().str();
  const auto d = parse_safetensors_dtype(text);
  if (!d)
    bad(cat("tensor ", quoted(name), " has an unknown dtype"), quoted(text), "BOOL, U8, F32, ... in capitals",
        "a newer phlox may know it");
  return *d;
}

void SafetensorsParser::read_shape(JsonReader& json, std::string_view name, SafetensorsShape& shape) {
  json.begin_array();
  while (json.next_element()) {
    const uint64_t dim = json.unsigned_integer();
    if (dim > uint64_t(INT64_MAX))
      bad(cat("tensor ", quoted(name), " has a dimension that is too large"), cat(dim),
          cat("at most ", INT64_MAX));
    if (shape.size() == safetensors_limits::rank)
      bad(cat("tensor ", quoted(name), " has too many dimensions"), "",
          cat("at most ", safetensors_limits::rank));
    shape.push_back(int64_t(dim));
  }
}

void SafetensorsParser::read_offsets(JsonReader& json, std::string_view name, uint64_t& begin,
                                     uint64_t& end) {
  uint64_t ends[2] = {};
  size_t count = 0;
  json.begin_array();
  while (json.next_element()) {
    const uint64_t v = json.unsigned_integer();
    if (count < 2) ends[count] = v;
    ++count;
  }
  if (count != 2)
    bad(cat("tensor ", quoted(name), ": data_offsets is no pair"), cat(count, " numbers"), "[begin, end]");
  begin = ends[0];
  end = ends[1];
}

// Duplicates are found by sorting, not by a hash table that a hostile file could make slow.
void SafetensorsParser::check_names() {
  std::sort(out_.records_.begin(), out_.records_.end(), [&](const auto& a, const auto& b) {
    if (a.begin != b.begin) return a.begin < b.begin;
    if (a.end != b.end) return a.end < b.end;  // empty tensors before the one that starts at the same place
    return out_.name_of(a) < out_.name_of(b);
  });
  out_.by_name_.resize(out_.records_.size());
  for (size_t i = 0; i < out_.by_name_.size(); ++i) out_.by_name_[i] = uint32_t(i);
  const auto name = [&](uint32_t i) { return out_.name_of(out_.records_[i]); };
  std::sort(out_.by_name_.begin(), out_.by_name_.end(),
            [&](uint32_t a, uint32_t b) { return name(a) < name(b); });
  for (size_t i = 1; i < out_.by_name_.size(); ++i)
    if (name(out_.by_name_[i - 1]) == name(out_.by_name_[i]))
      bad(cat("the tensor ", quoted(name(out_.by_name_[i])), " stands twice"), "", "unique names");
}

void SafetensorsParser::check_metadata_keys() {
  std::vector<uint32_t> order(out_.metadata_.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = uint32_t(i);
  const auto key = [&](uint32_t i) { return out_.metadata_entry(i).first; };
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return key(a) < key(b); });
  for (size_t i = 1; i < order.size(); ++i)
    if (key(order[i - 1]) == key(order[i]))
      bad(cat("the metadata key ", quoted(key(order[i])), " stands twice"), "", "unique keys");
}

void SafetensorsParser::check_ranges() {
  uint64_t end = 0;
  std::string_view before = "the start";
  for (const auto& r : out_.records_) {
    if (r.begin != end) {
      const bool hole = r.begin > end;
      bad(cat("tensor ", quoted(out_.name_of(r)), hole ? " leaves a hole behind " : " overlaps ",
              end ? quoted(before) : std::string(before)),
          cat("begin ", r.begin), cat("begin ", end));
    }
    end = r.end;
    before = out_.name_of(r);
  }
  const uint64_t have = out_.data_.size();
  if (end == have) return;
  const std::string last = out_.records_.empty() ? "" : cat(" (the last tensor is ", quoted(before), ")");
  bad(end > have ? "the file ends inside the data" : "the file goes on behind the data",
      cat(have, " bytes of data"), cat(end, last));
}

// ---- the parsed file ----

SafetensorsEntry SafetensorsFile::operator[](size_t i) const {
  PHLOX_CHECK(i < records_.size());
  const Record& r = records_[i];
  SafetensorsEntry e{
      name_of(r), r.dtype, {}, data_.subspan(r.begin, r.end - r.begin), data_offset_ + r.begin};
  // The text was checked when it was parsed: '[', integers that fit, ']'.
  const char* p = header_.data() + r.shape + 1;
  const char* const end = header_.data() + header_.size();
  for (; *p != ']'; ++p) {
    if (*p < '0' || *p > '9') continue;
    int64_t dim = 0;
    p = std::from_chars(p, end, dim).ptr - 1;
    e.shape.push_back(dim);
  }
  return e;
}

std::optional<SafetensorsEntry> SafetensorsFile::find(std::string_view name) const {
  const auto at = std::lower_bound(by_name_.begin(), by_name_.end(), name,
                                   [&](uint32_t i, std::string_view n) { return name_of(records_[i]) < n; });
  if (at == by_name_.end() || name_of(records_[*at]) != name) return std::nullopt;
  return (*this)[*at];
}

SafetensorsEntry SafetensorsFile::at(std::string_view name) const {
  if (auto e = find(name)) return *std::move(e);
  // The neighbours in the alphabet: a wrong prefix or a missing ".weight" shows at once.
  auto at = std::lower_bound(by_name_.begin(), by_name_.end(), name,
                             [&](uint32_t i, std::string_view n) { return name_of(records_[i]) < n; });
  std::string near;
  const size_t first = size_t(at - by_name_.begin()) > 2 ? size_t(at - by_name_.begin()) - 2 : 0;
  for (size_t i = first; i < std::min(first + 4, by_name_.size()); ++i)
    near += cat(i > first ? ", " : "", quoted(name_of(records_[by_name_[i]])));
  fail(ErrorCode::not_found, {.op = std::string(op),
                              .fact = cat("no tensor ", quoted(name)),
                              .got = cat(size(), " tensors"),
                              .expected = near.empty() ? "" : cat("a name such as ", near)});
}

std::pair<std::string_view, std::string_view> SafetensorsFile::metadata_entry(size_t i) const {
  PHLOX_CHECK(i < metadata_.size());
  const MetadataRecord& m = metadata_[i];
  return {text(m.key, m.key_size), text(m.value, m.value_size)};
}

std::optional<std::string_view> SafetensorsFile::metadata(std::string_view key) const {
  for (size_t i = 0; i < metadata_.size(); ++i)
    if (const auto [k, v] = metadata_entry(i); k == key) return v;
  return std::nullopt;
}

const void* SafetensorsEntry::typed_data(SafetensorsDType wanted, size_t alignment) const {
  if (dtype != wanted)
    fail(ErrorCode::invalid_argument, {.op = std::string(op),
                                       .fact = cat("tensor ", quoted(name), " has another dtype"),
                                       .got = cat(dtype),
                                       .expected = cat(wanted)});
  const void* const p = bytes.data();
  if (std::bit_cast<uintptr_t>(p) % alignment)
    fail(ErrorCode::invalid_argument, {.op = std::string(op),
                                       .fact = cat("tensor ", quoted(name), " is not aligned in memory"),
                                       .got = cat("offset ", offset),
                                       .expected = cat("a multiple of ", alignment),
                                       .remedy = "copy its bytes instead"});
  return p;
}

// ---- finite values ----

// An element is not finite when (bits & mask) == pattern; bytes == 0: every pattern is finite.
struct NonFinite {
  size_t bytes = 0;
  uint64_t mask = 0, pattern = 0;
};
static NonFinite non_finite(SafetensorsDType d) {
  using D = SafetensorsDType;
  switch (d) {
    case D::f16: return {2, 0x7C00, 0x7C00};
    case D::bf16: return {2, 0x7F80, 0x7F80};
    case D::f32:
    case D::c64: return {4, 0x7F800000, 0x7F800000};
    case D::f64: return {8, 0x7FF0000000000000, 0x7FF0000000000000};
    case D::f8_e5m2: return {1, 0x7C, 0x7C};
    case D::f8_e4m3: return {1, 0x7F, 0x7F};  // no infinity, one NaN of each sign
    case D::f8_e8m0: return {1, 0xFF, 0xFF};
    case D::f8_e4m3fnuz:
    case D::f8_e5m2fnuz: return {1, 0xFF, 0x80};  // NaN sits where -0 would be
    default: return {};
  }
}

template <class Word>
static std::optional<size_t> find_non_finite(std::span<const std::byte> bytes, const NonFinite& rule) {
  for (size_t i = 0; i < bytes.size() / sizeof(Word); ++i) {
    Word v;
    std::memcpy(&v, bytes.data() + i * sizeof v, sizeof v);
    if ((v & Word(rule.mask)) == Word(rule.pattern)) return i;
  }
  return std::nullopt;
}

void require_finite(const SafetensorsFile& file) {
  for (const SafetensorsEntry& e : file) {
    const NonFinite rule = non_finite(e.dtype);
    std::optional<size_t> at;
    switch (rule.bytes) {
      case 1: at = find_non_finite<uint8_t>(e.bytes, rule); break;
      case 2: at = find_non_finite<uint16_t>(e.bytes, rule); break;
      case 4: at = find_non_finite<uint32_t>(e.bytes, rule); break;
      case 8: at = find_non_finite<uint64_t>(e.bytes, rule); break;
    }
    if (!at) continue;
    bad(cat("tensor ", quoted(e.name), " holds a value that is not finite"),
        cat("element ", e.dtype == SafetensorsDType::c64 ? *at / 2 : *at), "finite values",
        "load it without this check if NaN and infinity are meant");
  }
}

}  // namespace phlox
