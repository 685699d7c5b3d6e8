#include "format/safetensors.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <random>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/mmap.h"
#include "safetensors_attacks.h"

namespace phlox {

static std::span<const std::byte> bytes_of(const std::string& s) {
  return std::as_bytes(std::span(s.data(), s.size()));
}

static std::string error_of(const std::string& file) {
  // An exact-size heap copy: reading past it is what a sanitizer would catch.
  const std::vector<std::byte> copy(bytes_of(file).begin(), bytes_of(file).end());
  try {
    parse_safetensors(copy);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::bad_file) << e.what();
    EXPECT_EQ(e.parts().op, "safetensors");
    EXPECT_FALSE(e.parts().fact.empty());
    EXPECT_FALSE(e.parts().remedy.empty()) << e.what();
    return e.what();
  }
  return "accepted";
}

// A folder of its own, removed with everything in it.
struct TemporaryFolder {
  std::filesystem::path path;
  TemporaryFolder() {
    std::string s = (std::filesystem::temp_directory_path() / "phlox-test-XXXXXX").string();
    PHLOX_CHECK(mkdtemp(s.data()));
    path = s;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path); }
  std::string file(const char* name) const { return (path / name).string(); }
  size_t count() const {
    return size_t(
        std::distance(std::filesystem::directory_iterator(path), std::filesystem::directory_iterator()));
  }
};

// ---- the malformed corpus ----

TEST(SafetensorsAttacks, every_one_is_refused_with_its_reason) {
  const auto attacks = safetensors_attacks();
  EXPECT_GE(attacks.size(), 60u);
  std::set<std::string> names;
  for (const Attack& a : attacks) {
    EXPECT_TRUE(names.insert(a.name).second) << a.name;
    const std::string error = error_of(a.file);
    EXPECT_NE(error.find(a.error), std::string::npos) << a.name << ": " << error;
    EXPECT_LE(error.size(), 400u) << error;
  }
}

TEST(SafetensorsAttacks, every_truncation_and_extension_of_a_valid_file_is_refused) {
  for (const std::string& file : safetensors_valid_files()) {
    ASSERT_EQ(error_of(file), "accepted");
    for (size_t n = 0; n < file.size(); ++n) EXPECT_NE(error_of(file.substr(0, n)), "accepted") << n;
    EXPECT_NE(error_of(file + '\0'), "accepted");
  }
}

TEST(SafetensorsAttacks, errors_name_the_tensor_and_the_remedy) {
  EXPECT_EQ(error_of(safetensors_file("{" + tensor_entry("w", "F32", "[2]", "[0,7]") + "}", 7)),
            "safetensors: tensor \"w\" has the wrong size; got 7 bytes in data_offsets [0, 7]; expected 8 "
            "bytes for "
            "F32[2]; the file is damaged or no safetensors file: get it again from its source");
  EXPECT_EQ(error_of(safetensors_file("{" + tensor_entry("w\\n", "F32", "[\"2\"]", "[0,8]") + "}", 8)),
            "safetensors: the header is malformed at \"w\\n\"; got a string at byte 31; expected a number; "
            "the file is "
            "damaged or no safetensors file: get it again from its source");
}

TEST(SafetensorsLimits, a_million_tensors_and_no_more) {
  const auto file = [](int n) {
    std::string s = "{";
    for (int i = 0; i < n; ++i)
      s += (i ? ",\"" : "\"") + std::to_string(i) +
           "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}";
    return safetensors_file(s + "}");
  };
  const SafetensorsFile f = parse_safetensors(bytes_of(file(1'000'000)));
  EXPECT_EQ(f.size(), 1'000'000u);
  EXPECT_EQ(f.at("999999").shape, (SafetensorsShape{0}));
  EXPECT_NE(error_of(file(1'000'001)).find("too many tensors"), std::string::npos);
}

TEST(SafetensorsLimits, names_of_1024_bytes_and_64_dimensions_pass) {
  const std::string name(1024, 'n');
  EXPECT_EQ(error_of(safetensors_file(
                "{" + tensor_entry(name, "U8", "[8" + repeated(",1", 63) + "]", "[0,8]") + "}", 8)),
            "accepted");
  // The limit counts the resolved name, not its escapes.
  EXPECT_EQ(error_of(safetensors_file(
                "{" + tensor_entry(repeated("\\u0061", 1024), "U8", "[8]", "[0,8]") + "}", 8)),
            "accepted");
}

// Heap in use at the worst moment of parsing, by counting allocator calls, against 2 x file + 16 MiB.
static size_t live_bytes = 0, peak_bytes = 0;
static bool counting = false;

TEST(SafetensorsLimits, memory_stays_below_twice_the_file_and_16_mib) {
  std::vector<std::string> headers(4, "{");
  for (int i = 0; i < 900'000; ++i)
    headers[0] +=
        (i ? ",\"" : "\"") + std::to_string(i) + "\":{\"shape\":[],\"dtype\":\"U8\",\"data_offsets\":[0,1]}";
  headers[1] += "\"__metadata__\":{";
  for (int i = 0; i < 65'536; ++i) headers[1] += (i ? ",\"" : "\"") + std::to_string(i) + "\":\"\"";
  headers[1] += "}";
  headers[2] += "\"__metadata__\":{\"braces\":\"" + std::string(30'000'000, '{') + "\"}";
  headers[3] += "\"" + repeated("\\u0061", 5'000'000) + "\":{}";
  for (std::string& h : headers) {
    const std::string file = safetensors_file(h + "}");
    live_bytes = peak_bytes = 0;
    counting = true;
    try {
      parse_safetensors(bytes_of(file));
    } catch (const Error&) {
    }
    counting = false;
    EXPECT_LE(peak_bytes, 2 * file.size() + (16u << 20)) << h.substr(0, 60);
    EXPECT_GT(peak_bytes, file.size() / 2);  // the counter works
  }
}

// ---- round trips ----

struct RandomTensor {
  std::string name;
  SafetensorsDType dtype;
  std::vector<int64_t> shape;
  std::string bytes;
  SafetensorsTensor view() const { return {name, dtype, shape, bytes_of(bytes)}; }
};

static std::string random_text(std::mt19937_64& rng, size_t longest) {
  static const char* const pieces[] = {"a", "layers.", "\"", "\\", "\n",      "\x01", "/",   " ",
                                       "é", "€",       "😀", "0",  ".weight", "{",    "\x7F"};
  std::string s;
  for (size_t n = rng() % (longest + 1); n > 0; --n) s += pieces[rng() % std::size(pieces)];
  return s;
}

static std::vector<RandomTensor> random_tensors(std::mt19937_64& rng) {
  std::vector<RandomTensor> tensors(rng() % 8);
  for (size_t i = 0; i < tensors.size(); ++i) {
    RandomTensor& t = tensors[i];
    t.name = random_text(rng, 5) + "#" + std::to_string(i);
    t.dtype = SafetensorsDType(rng() % safetensors_dtype_count);
    for (size_t r = rng() % 5; r > 0; --r) t.shape.push_back(int64_t(rng() % 10 == 0 ? 0 : 1 + rng() % 5));
    if (safetensors_dtype_info(t.dtype).bits < 8) t.shape.push_back(8);
    t.bytes.resize(safetensors_size(t.dtype, t.shape).bytes);
    for (char& c : t.bytes) c = char(rng());
  }
  return tensors;
}

TEST(Safetensors, random_files_round_trip) {
  std::mt19937_64 rng(1);
  for (int trial = 0; trial < 2000; ++trial) {
    const std::vector<RandomTensor> tensors = random_tensors(rng);
    SafetensorsMetadata metadata;
    for (size_t n = rng() % 3; n > 0; --n)
      metadata.push_back({random_text(rng, 4) + "#" + std::to_string(n), random_text(rng, 9)});
    std::vector<SafetensorsTensor> views;
    for (const RandomTensor& t : tensors) views.push_back(t.view());
    const std::vector<std::byte> bytes = safetensors_bytes(views, metadata);
    const SafetensorsPlan plan = plan_safetensors(views, metadata);
    ASSERT_EQ(plan.file_bytes, bytes.size());

    const SafetensorsFile file = parse_safetensors(bytes);
    ASSERT_EQ(file.size(), tensors.size());
    ASSERT_EQ(file.data_offset() % 8, 0u);
    for (size_t i = 0; i < tensors.size(); ++i) {
      const RandomTensor& t = tensors[i];
      const SafetensorsEntry e = file.at(t.name);
      EXPECT_EQ(e.dtype, t.dtype);
      EXPECT_EQ(e.shape, SafetensorsShape(t.shape));
      EXPECT_EQ(e.offset, plan.offsets[i]);
      ASSERT_EQ(e.bytes.size(), t.bytes.size());
      EXPECT_EQ(std::memcmp(e.bytes.data(), t.bytes.data(), t.bytes.size()), 0);
      EXPECT_EQ(e.bytes.data(), bytes.data() + e.offset) << "zero copy";
    }
    ASSERT_EQ(file.metadata_size(), metadata.size());
    for (size_t i = 0; i < metadata.size(); ++i) {
      EXPECT_EQ(file.metadata_entry(i), (std::pair<std::string_view, std::string_view>(metadata[i])));
      EXPECT_EQ(file.metadata(metadata[i].first), metadata[i].second);
    }
  }
}

TEST(Safetensors, the_order_of_the_input_does_not_change_the_file) {
  std::mt19937_64 rng(2);
  for (int trial = 0; trial < 100; ++trial) {
    const std::vector<RandomTensor> tensors = random_tensors(rng);
    std::vector<SafetensorsTensor> views;
    for (const RandomTensor& t : tensors) views.push_back(t.view());
    const auto bytes = safetensors_bytes(views);
    std::shuffle(views.begin(), views.end(), rng);
    EXPECT_EQ(safetensors_bytes(views), bytes);
  }
}

TEST(Safetensors, the_written_bytes_are_the_formats) {
  const int64_t shape[] = {2};
  const std::string f32(8, 1), u8(2, 2), i64(16, 3);
  const SafetensorsTensor tensors[] = {{"b", SafetensorsDType::f32, shape, bytes_of(f32)},
                                       {"c", SafetensorsDType::u8, shape, bytes_of(u8)},
                                       {"a", SafetensorsDType::f32, shape, bytes_of(f32)},
                                       {"d", SafetensorsDType::i64, shape, bytes_of(i64)}};
  const auto bytes = safetensors_bytes(tensors, {{"format", "pt"}});
  const std::string header =
      "{\"__metadata__\":{\"format\":\"pt\"},"
      "\"d\":{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[0,16]},"
      "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[16,24]},"
      "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[24,32]},"
      "\"c\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[32,34]}}";
  const size_t padded = (header.size() + 7) / 8 * 8;
  const std::string expected =
      safetensors_length(padded) + header + std::string(padded - header.size(), ' ') + i64 + f32 + f32 + u8;
  EXPECT_EQ(std::string(static_cast<const char*>(static_cast<const void*>(bytes.data())), bytes.size()),
            expected);
}

TEST(Safetensors, valid_oddities) {
  const auto files = safetensors_valid_files();
  EXPECT_TRUE(parse_safetensors(bytes_of(files[0])).empty());
  const SafetensorsFile metadata = parse_safetensors(bytes_of(files[2]));
  EXPECT_EQ(metadata.metadata("k\n"), "v\xC3\xA9");
  EXPECT_EQ(metadata.metadata("k"), std::nullopt);
  const SafetensorsFile scalar = parse_safetensors(bytes_of(files[4]));
  EXPECT_EQ(scalar[0].shape.size(), 0u);
  EXPECT_EQ(scalar.at("").bytes.size(), 4u);
  EXPECT_EQ(parse_safetensors(bytes_of(files[5]))[0].shape, (SafetensorsShape{3, 0, INT64_MAX}));
  const SafetensorsFile order = parse_safetensors(bytes_of(files[7]));
  std::vector<std::string> names;
  for (const SafetensorsEntry& e : order) names.emplace_back(e.name);
  EXPECT_EQ(names, (std::vector<std::string>{"a", "e", "b"}));  // by place, not by name
  EXPECT_EQ(order.at("a").shape, (SafetensorsShape{2}));
  EXPECT_EQ(parse_safetensors(bytes_of(files[8]))[0].dtype, SafetensorsDType::f8_e8m0);
}

TEST(Safetensors, dtypes_agree_with_phlox) {
  for (int i = 0; i < safetensors_dtype_count; ++i) {
    const SafetensorsDTypeInfo& info = safetensors_dtype_info(SafetensorsDType(i));
    EXPECT_EQ(parse_safetensors_dtype(info.name), SafetensorsDType(i));
    if (!info.dtype) continue;
    EXPECT_EQ(safetensors_dtype(*info.dtype), SafetensorsDType(i));
    EXPECT_EQ(dtype_info(*info.dtype).safetensors, info.name);
    EXPECT_EQ(dtype_bytes(*info.dtype) * 8, info.bits);
  }
  for (int i = 0; i < dtype_count; ++i)
    EXPECT_EQ(safetensors_dtype(DType(i)).has_value(), dtype_info(DType(i)).safetensors != nullptr);
}

TEST(Safetensors, typed_values_check_dtype_and_alignment) {
  std::vector<std::byte> bytes;
  const float values[] = {1, 2, 3};
  const int64_t shape[] = {3};
  const SafetensorsTensor t{"w", SafetensorsDType::f32, shape, std::as_bytes(std::span(values))};
  bytes = safetensors_bytes({&t, 1});
  EXPECT_EQ(parse_safetensors(bytes).at("w").values<float>()[2], 3);
  EXPECT_THROW(parse_safetensors(bytes).at("w").values<int32_t>(), Error);
  std::vector<std::byte> shifted(1);
  shifted.insert(shifted.end(), bytes.begin(), bytes.end());
  EXPECT_THROW(parse_safetensors(std::span(shifted).subspan(1)).at("w").values<float>(), Error);
}

TEST(Safetensors, a_missing_name_lists_its_neighbours) {
  const std::string file =
      safetensors_file("{" + tensor_entry("model.layers.0.weight", "U8", "[1]", "[0,1]") + "," +
                           tensor_entry("zz", "U8", "[1]", "[1,2]") + "}",
                       2);
  try {
    parse_safetensors(bytes_of(file)).at("layers.0.weight");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::not_found);
    EXPECT_NE(std::string(e.what()).find("\"model.layers.0.weight\""), std::string::npos) << e.what();
  }
}

TEST(Safetensors, non_finite_values_are_found_on_request) {
  const auto check = [](SafetensorsDType dtype, const std::string& element, size_t more) {
    const int64_t shape[] = {int64_t(more) + 1};
    const std::string data = std::string(more * element.size(), 0) + element;
    const SafetensorsTensor t{"w", dtype, shape, bytes_of(data)};
    const auto bytes = safetensors_bytes({&t, 1});
    try {
      require_finite(parse_safetensors(bytes));
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("finite");
  };
  using D = SafetensorsDType;
  EXPECT_NE(check(D::f32, std::string("\0\0\x80\x7F", 4), 5).find("element 5"), std::string::npos);
  EXPECT_NE(check(D::f16, std::string("\1\xFC", 2), 1), "finite");
  EXPECT_NE(check(D::bf16, std::string("\x80\x7F", 2), 1), "finite");
  EXPECT_NE(check(D::f64, std::string("\0\0\0\0\0\0\xF0\xFF", 8), 0), "finite");
  EXPECT_NE(check(D::f8_e4m3, "\xFF", 0), "finite");
  EXPECT_NE(check(D::f8_e4m3fnuz, "\x80", 0), "finite");
  EXPECT_NE(check(D::c64, std::string("\0\0\0\0\0\0\xC0\x7F", 8), 2).find("element 2"), std::string::npos);
  EXPECT_EQ(check(D::f32, std::string("\xFF\xFF\x7F\x7F", 4), 5), "finite");
  EXPECT_EQ(check(D::f8_e4m3, "\x7E", 0), "finite");
  EXPECT_EQ(check(D::i32, "\xFF\xFF\xFF\xFF", 0), "finite");
}

// ---- the writer ----

TEST(SafetensorsWriter, refuses_what_a_reader_would_refuse) {
  const int64_t two[] = {2}, negative[] = {-1}, huge[] = {INT64_MAX, 4}, odd[] = {3};
  const std::vector<int64_t> deep(65, 1);
  const std::string eight(8, 0);
  const auto refused = [&](std::vector<SafetensorsTensor> tensors, const SafetensorsMetadata& metadata = {}) {
    try {
      safetensors_bytes(tensors, metadata);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
      return std::string(e.what());
    }
    return std::string("accepted");
  };
  using D = SafetensorsDType;
  const std::string long_name(1025, 'x'), nul("a\0", 2);
  const auto one = [&](std::string_view name, D d, std::span<const int64_t> shape) {
    return refused({{name, d, shape, bytes_of(eight)}});
  };
  EXPECT_EQ(one("a", D::f32, two), "accepted");
  EXPECT_NE(one("a", D::f64, two).find("wrong number of bytes"), std::string::npos);
  EXPECT_NE(one("a", D::f32, negative).find("negative"), std::string::npos);
  EXPECT_NE(one("a", D::f32, huge).find("overflows"), std::string::npos);
  EXPECT_NE(one("a", D::f4, odd).find("whole bytes"), std::string::npos);
  EXPECT_NE(one("a", D::f32, deep).find("too many dimensions"), std::string::npos);
  EXPECT_NE(one("__metadata__", D::f32, two).find("cannot be named"), std::string::npos);
  EXPECT_NE(one("\xFF", D::f32, two).find("UTF-8"), std::string::npos);
  EXPECT_NE(one(nul, D::f32, two).find("NUL"), std::string::npos);
  EXPECT_NE(one(long_name, D::f32, two).find("too long"), std::string::npos);
  const SafetensorsTensor a{"a", D::f32, two, bytes_of(eight)};
  EXPECT_NE(refused({a, a}).find("stands twice"), std::string::npos);
  EXPECT_NE(refused({a}, {{"k", "1"}, {"k", "2"}}).find("stands twice"), std::string::npos);
  EXPECT_NE(refused({a}, {{"k", "\xFF"}}).find("UTF-8"), std::string::npos);
}

TEST(SafetensorsWriter, files_map_and_can_be_replaced_while_mapped) {
  TemporaryFolder folder;
  const std::string path = folder.file("m.safetensors");
  const int64_t shape[] = {300'000}, small[] = {2};
  std::string first(1'200'000, 'a'), second(1'200'000, 'b'), tiny(8, 't');
  const auto save = [&](const std::string& data) {
    const SafetensorsTensor t[] = {{"w", SafetensorsDType::f32, shape, bytes_of(data)},
                                   {"v", SafetensorsDType::f32, small, bytes_of(tiny)}};
    write_safetensors(path, t, {{"step", "1"}});
  };
  save(first);
  const MappedFile mapped(path);
  const SafetensorsFile file = parse_safetensors(mapped.bytes());
  // Saving over the very bytes that are being read.
  const SafetensorsEntry w = file.at("w");
  const SafetensorsTensor again{"w", w.dtype, shape, w.bytes};
  write_safetensors(path, {&again, 1});
  save(second);
  EXPECT_EQ(std::memcmp(w.bytes.data(), first.data(), first.size()), 0);
  const MappedFile now(path);
  EXPECT_EQ(std::memcmp(parse_safetensors(now.bytes()).at("w").bytes.data(), second.data(), second.size()),
            0);
  EXPECT_EQ(folder.count(), 1u);
}

// Runs `save` in a child that cannot write past `limit` bytes in any file: the disk is "full" there.
template <class F>
static int with_file_limit(rlim_t limit, const F& save) {
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit r{limit, limit};
    setrlimit(RLIMIT_FSIZE, &r);
    int code = 0;
    try {
      save();
    } catch (const Error& e) {
      code = e.code() == ErrorCode::io ? 1 : 2;
    }
    _exit(code);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(SafetensorsWriter, a_failed_save_leaves_the_old_file) {
  TemporaryFolder folder;
  const std::string path = folder.file("m.safetensors");
  const int64_t shape[] = {50'000};
  const std::string old_data(200'000, 'o'), new_data(200'000, 'n');
  const SafetensorsTensor old_tensor{"w", SafetensorsDType::f32, shape, bytes_of(old_data)};
  write_safetensors(path, {&old_tensor, 1});
  const std::string before = read_file(path);
  const auto save = [&] {
    const SafetensorsTensor t{"w", SafetensorsDType::f32, shape, bytes_of(new_data)};
    write_safetensors(path, {&t, 1});
  };
  for (const rlim_t limit : {0, 1, 7, 8, 50, 100, 4096, 100'000, 199'999, 200'000}) {
    EXPECT_EQ(with_file_limit(limit, save), 1) << limit;
    EXPECT_EQ(read_file(path), before) << limit;
    EXPECT_EQ(folder.count(), 1u) << "a temporary file stays behind at " << limit;
  }
  EXPECT_EQ(with_file_limit(RLIM_INFINITY, save), 0);
  EXPECT_NE(read_file(path), before);
}

TEST(SafetensorsWriter, a_bad_target_is_an_error) {
  const SafetensorsTensor none[1] = {};
  EXPECT_THROW(write_safetensors("/dev/null/x.safetensors", std::span(none, 0)), Error);
  EXPECT_THROW(write_safetensors("/nonexistent-folder/x.safetensors", std::span(none, 0)), Error);
  TemporaryFolder folder;
  std::filesystem::create_directory(folder.path / "taken");
  EXPECT_THROW(write_safetensors(folder.file("taken"), std::span(none, 0)), Error);  // a folder has the name
  EXPECT_EQ(folder.count(), 1u);
}

TEST(SafetensorsWriter, nothing_is_touched_when_the_arguments_are_wrong) {
  TemporaryFolder folder;
  const int64_t shape[] = {3};
  const SafetensorsTensor t{"w", SafetensorsDType::f32, shape, {}};
  EXPECT_THROW(write_safetensors(folder.file("x"), {&t, 1}), Error);
  EXPECT_EQ(folder.count(), 0u);
}

}  // namespace phlox

// Replaceable allocation functions of this program, for the test about memory. The size stands in front of
// the block.
static constexpr size_t allocation_header = alignof(std::max_align_t);
void* operator new(size_t n) {
  void* p = malloc(n + allocation_header);
  if (!p) throw std::bad_alloc();
  std::memcpy(p, &n, sizeof n);
  if (phlox::counting) phlox::peak_bytes = std::max(phlox::peak_bytes, phlox::live_bytes += n);
  return static_cast<char*>(p) + allocation_header;
}
void operator delete(void* q) noexcept {
  if (!q) return;
  void* const p = static_cast<char*>(q) - allocation_header;
  size_t n;
  std::memcpy(&n, p, sizeof n);
  if (phlox::counting) phlox::live_bytes -= std::min(phlox::live_bytes, n);
  free(p);
}
void operator delete(void* q, size_t) noexcept { operator delete(q); }
