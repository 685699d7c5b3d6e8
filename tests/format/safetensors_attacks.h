// Malformed safetensors files, made by code: what each one does wrong and a piece of the error it must get.
// They are test cases, and seeds of the fuzz target.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace phlox {

struct Attack {
  std::string name;
  std::string file;
  std::string error;  // must occur in the message
};

inline std::string safetensors_length(uint64_t n) {
  std::string s;
  for (int i = 0; i < 8; ++i) s += char(n >> (8 * i));
  return s;
}
inline std::string safetensors_file(const std::string& header, size_t data_bytes = 0) {
  return safetensors_length(header.size()) + header + std::string(data_bytes, '\x2a');
}
// An entry `"name":{...}` of the header.
inline std::string tensor_entry(const std::string& name, const std::string& dtype, const std::string& shape,
                                const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets +
         "}";
}
inline std::string repeated(const std::string& s, size_t n) {
  std::string r;
  for (size_t i = 0; i < n; ++i) r += s;
  return r;
}

inline std::vector<Attack> safetensors_attacks() {
  std::vector<Attack> all;
  const auto add = [&](std::string name, std::string file, std::string error) {
    all.push_back({std::move(name), std::move(file), std::move(error)});
  };
  // A file whose only fault lies in the header's text.
  const auto header = [&](std::string name, std::string text, std::string error, size_t data = 8) {
    add(std::move(name), safetensors_file(text, data), std::move(error));
  };
  const std::string good = tensor_entry("a", "F32", "[2]", "[0,8]");

  // The frame.
  add("empty file", "", "too short to hold");
  add("7 bytes", "\2\0\0\0\0\0", "too short to hold");
  add("length only", safetensors_length(0), "does not begin with '{'");
  add("length past the end by one", safetensors_length(3) + "{}", "ends inside the header");
  add("length far past the end", safetensors_length(99'999'999) + "{}", "ends inside the header");
  add("length over the limit", safetensors_length(100'000'001) + "{}", "header is too long");
  add("length 2^32", safetensors_length(uint64_t(1) << 32) + "{}", "header is too long");
  add("length 2^63", safetensors_length(uint64_t(1) << 63) + "{}", "header is too long");
  add("length 2^64-1", safetensors_length(UINT64_MAX) + "{}", "header is too long");
  add("length 2^64-8: plus 8 wraps to 0", safetensors_length(UINT64_MAX - 7) + "{}", "header is too long");
  add("length big-endian", std::string("\0\0\0\0\0\0\0\2", 8) + "{}", "header is too long");
  add("length cuts the header", safetensors_length(10) + "{" + good + "}" + std::string(8, 0), "malformed");
  add("a byte of data without tensors", safetensors_file("{}", 1), "goes on behind the data");
  add("payload one byte short", safetensors_file("{" + good + "}", 7), "ends inside the data");
  add("payload one byte long", safetensors_file("{" + good + "}", 9), "goes on behind the data");
  add("payload missing", safetensors_file("{" + good + "}", 0), "ends inside the data");
  add("a zip file", std::string("PK\3\4\0\0\0\0", 8) + std::string(64, 'x'), "ends inside the header");
  add("a pickle", std::string("\x80\x02}q\0.\0\0", 8) + std::string(8, 'x'), "header is too long");

  // The header's text.
  header("leading space", " {" + good + "}", "does not begin with '{'");
  header("leading newline", "\n{" + good + "}", "does not begin with '{'");
  header("byte order mark", "\xEF\xBB\xBF{" + good + "}", "does not begin with '{'");
  header("trailing text", "{" + good + "}x", "malformed");
  header("trailing NUL", "{" + good + "}" + std::string(1, '\0'), "malformed");
  header("two objects", "{" + good + "}{}", "malformed");
  header("an array", "[]", "does not begin with '{'", 0);
  header("a string", "\"{}\"", "does not begin with '{'", 0);
  header("not JSON", "{hello}", "malformed", 0);
  header("unterminated", "{" + good, "malformed");
  header("trailing comma", "{" + good + ",}", "malformed");
  header("comment", "{/**/" + good + "}", "malformed");
  header("single quotes", "{'a':1}", "malformed", 0);
  header("not UTF-8 in a name", "{" + tensor_entry("\xFF", "F32", "[2]", "[0,8]") + "}", "not valid UTF-8");
  header("overlong UTF-8", "{" + tensor_entry("\xC0\xAF", "F32", "[2]", "[0,8]") + "}", "not valid UTF-8");
  header("UTF-8 surrogate", "{" + tensor_entry("\xED\xA0\x80", "F32", "[2]", "[0,8]") + "}",
         "not valid UTF-8");
  header("cut UTF-8 at the end", "{" + good + "}\xE2\x82", "not valid UTF-8");
  header("lone surrogate escape", "{" + tensor_entry("\\ud800", "F32", "[2]", "[0,8]") + "}",
         "lone surrogate");
  header("unknown escape", "{" + tensor_entry("\\x41", "F32", "[2]", "[0,8]") + "}", "unknown escape");
  header("control character in a name", "{" + tensor_entry("a\x01", "F32", "[2]", "[0,8]") + "}",
         "control character");
  header("NUL in a name", "{" + tensor_entry("a\\u0000b", "F32", "[2]", "[0,8]") + "}", "holds a NUL");
  header("raw NUL in a name", "{" + tensor_entry(std::string("a\0b", 3), "F32", "[2]", "[0,8]") + "}",
         "control character");
  header("name of 1025 bytes", "{" + tensor_entry(std::string(1025, 'n'), "F32", "[2]", "[0,8]") + "}",
         "is too long");
  header("name of 1 MB", "{" + tensor_entry(std::string(1'000'000, 'n'), "F32", "[2]", "[0,8]") + "}",
         "is too long");
  header("deep nesting in an unknown field",
         "{\"a\":{\"dtype\":\"F32\",\"x\":" + repeated("[", 70) + repeated("]", 70) + "}}",
         "nesting deeper than 64");
  header("a million brackets", "{\"a\":{\"x\":" + repeated("[", 1'000'000), "nesting deeper than 64");
  header("a million objects", "{\"a\":" + repeated("{\"a\":", 1'000'000), "nesting deeper than 64");
  header("number out of range in an unknown field", "{\"a\":{\"x\":1e999}}", "malformed");

  // Keys.
  header("duplicate tensor", "{" + good + "," + good + "}", "stands twice");
  header("duplicate tensor by an escape",
         "{" + tensor_entry("ab", "F32", "[1]", "[0,4]") + "," +
             tensor_entry("\\u0061b", "F32", "[1]", "[4,8]") + "}",
         "stands twice");
  header("duplicate empty tensors",
         "{" + repeated(tensor_entry("z", "F32", "[0]", "[0,0]") + ",", 2) + good + "}", "stands twice");
  header("duplicate metadata", "{\"__metadata__\":{},\"__metadata__\":{}," + good + "}", "stands twice");
  header("duplicate metadata key", "{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}," + good + "}",
         "stands twice");
  header("duplicate dtype",
         "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "twice");
  header("duplicate shape", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"shape\":[2],\"data_offsets\":[0,8]}}",
         "twice");
  header("duplicate data_offsets",
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"data_offsets\":[0,8]}}", "twice");
  header("no dtype", "{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", "has no \"dtype\"");
  header("no shape", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", "has no \"shape\"");
  header("no data_offsets", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", "has no \"data_offsets\"");
  header("empty entry", "{\"a\":{}}", "has no \"dtype\"", 0);
  header("dtype in the wrong case of key", "{\"a\":{\"Dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
         "has no \"dtype\"");

  // Types.
  header("entry is a number", "{\"a\":1}", "expected an object", 0);
  header("entry is null", "{\"a\":null}", "expected an object", 0);
  header("entry is a string", "{\"a\":\"F32\"}", "expected an object", 0);
  header("entry is an array", "{\"a\":[\"F32\",[2],[0,8]]}", "expected an object");
  header("metadata is null", "{\"__metadata__\":null," + good + "}", "expected an object");
  header("metadata is an array", "{\"__metadata__\":[]," + good + "}", "expected an object");
  header("metadata is a string", "{\"__metadata__\":\"x\"," + good + "}", "expected an object");
  header("metadata value is a number", "{\"__metadata__\":{\"k\":1}," + good + "}", "expected a string");
  header("metadata value is null", "{\"__metadata__\":{\"k\":null}," + good + "}", "expected a string");
  header("metadata value is an object", "{\"__metadata__\":{\"k\":{}}," + good + "}", "expected a string");
  header("dtype is a number", "{\"a\":{\"dtype\":1,\"shape\":[2],\"data_offsets\":[0,8]}}",
         "expected a string");
  header("dtype is an object", "{\"a\":{\"dtype\":{\"F32\":null},\"shape\":[2],\"data_offsets\":[0,8]}}",
         "expected a string");
  header("dtype unknown", "{" + tensor_entry("a", "F31", "[2]", "[0,8]") + "}", "unknown dtype");
  header("dtype in lower case", "{" + tensor_entry("a", "f32", "[2]", "[0,8]") + "}", "unknown dtype");
  header("dtype empty", "{" + tensor_entry("a", "", "[2]", "[0,8]") + "}", "unknown dtype");
  header("dtype of the framework", "{" + tensor_entry("a", "torch.float32", "[2]", "[0,8]") + "}",
         "unknown dtype");
  header("shape is a number", "{" + tensor_entry("a", "F32", "2", "[0,8]") + "}", "expected an array");
  header("shape is a string", "{" + tensor_entry("a", "F32", "\"2\"", "[0,8]") + "}", "expected an array");
  header("shape is null", "{" + tensor_entry("a", "F32", "null", "[0,8]") + "}", "expected an array");
  header("shape of strings", "{" + tensor_entry("a", "F32", "[\"2\"]", "[0,8]") + "}", "expected a number");
  header("shape nested", "{" + tensor_entry("a", "F32", "[[2]]", "[0,8]") + "}", "expected a number");
  header("negative dimension", "{" + tensor_entry("a", "F32", "[-2]", "[0,8]") + "}",
         "expected an integer from 0");
  header("two negative dimensions", "{" + tensor_entry("a", "F32", "[-1,-2]", "[0,8]") + "}",
         "expected an integer from 0");
  header("minus zero", "{" + tensor_entry("a", "F32", "[-0]", "[0,0]") + "}", "expected an integer from 0",
         0);
  header("dimension 2.0", "{" + tensor_entry("a", "F32", "[2.0]", "[0,8]") + "}",
         "expected an integer from 0");
  header("dimension 2e0", "{" + tensor_entry("a", "F32", "[2e0]", "[0,8]") + "}",
         "expected an integer from 0");
  header("dimension 02", "{" + tensor_entry("a", "F32", "[02]", "[0,8]") + "}", "leading zero");
  header("dimension 0x2", "{" + tensor_entry("a", "F32", "[0x2]", "[0,8]") + "}", "malformed");
  header("dimension NaN", "{" + tensor_entry("a", "F32", "[NaN]", "[0,8]") + "}", "malformed");
  header("dimension true", "{" + tensor_entry("a", "F32", "[true]", "[0,8]") + "}", "expected a number");
  header("65 dimensions", "{" + tensor_entry("a", "F32", "[2" + repeated(",1", 64) + "]", "[0,8]") + "}",
         "too many dimensions");
  header("a million dimensions",
         "{" + tensor_entry("a", "F32", "[2" + repeated(",1", 1'000'000) + "]", "[0,8]") + "}",
         "too many dimensions");
  header("offsets is an object", "{" + tensor_entry("a", "F32", "[2]", "{\"0\":8}") + "}",
         "expected an array");
  header("one offset", "{" + tensor_entry("a", "F32", "[2]", "[8]") + "}", "no pair");
  header("three offsets", "{" + tensor_entry("a", "F32", "[2]", "[0,8,8]") + "}", "no pair");
  header("no offsets", "{" + tensor_entry("a", "F32", "[2]", "[]") + "}", "no pair");
  header("negative offset", "{" + tensor_entry("a", "F32", "[2]", "[-8,0]") + "}",
         "expected an integer from 0");
  header("offset 8.0", "{" + tensor_entry("a", "F32", "[2]", "[0,8.0]") + "}", "expected an integer from 0");
  header("offset as text", "{" + tensor_entry("a", "F32", "[2]", "[0,\"8\"]") + "}", "expected a number");

  // Arithmetic.
  header("dimension 2^63", "{" + tensor_entry("a", "U8", "[9223372036854775808,0]", "[0,0]") + "}",
         "too large", 0);
  header("dimension 2^64", "{" + tensor_entry("a", "U8", "[18446744073709551616]", "[0,8]") + "}",
         "expected an integer");
  header("elements wrap to 8", "{" + tensor_entry("a", "U8", "[8,2305843009213693953]", "[0,8]") + "}",
         "number of elements overflows");
  header("elements wrap to 0", "{" + tensor_entry("a", "U8", "[4294967296,4294967296]", "[0,0]") + "}",
         "number of elements overflows", 0);
  header("overflow hidden by a later zero",
         "{" + tensor_entry("a", "U8", "[9223372036854775807,4,0]", "[0,0]") + "}",
         "number of elements overflows", 0);
  header("bits wrap to 64", "{" + tensor_entry("a", "F32", "[576460752303423490]", "[0,8]") + "}",
         "number of bits overflows");
  header("offsets 2^64", "{" + tensor_entry("a", "F32", "[2]", "[0,18446744073709551616]") + "}",
         "expected an integer");
  header("end near 2^64",
         "{" + tensor_entry("a", "F32", "[2]", "[18446744073709551607,18446744073709551615]") + "}",
         "leaves a hole");
  header("sum of the ranges near 2^64",
         "{" + tensor_entry("a", "U8", "[2305843009213693951]", "[0,2305843009213693951]") + "," +
             tensor_entry("b", "U8", "[8]", "[2305843009213693951,2305843009213693959]") + "}",
         "ends inside the data");
  header("begin after end", "{" + tensor_entry("a", "F32", "[2]", "[8,0]") + "}", "ends before it begins");
  header("size too small for the shape", "{" + tensor_entry("a", "F32", "[2]", "[0,7]") + "}", "wrong size",
         7);
  header("size too large for the shape", "{" + tensor_entry("a", "F32", "[2]", "[0,9]") + "}", "wrong size",
         9);
  header("size of another dtype", "{" + tensor_entry("a", "F64", "[2]", "[0,8]") + "}", "wrong size");
  header("scalar without bytes", "{" + tensor_entry("a", "F32", "[]", "[0,0]") + "}", "wrong size", 0);
  header("empty tensor with bytes", "{" + tensor_entry("a", "F32", "[0]", "[0,8]") + "}", "wrong size");
  header("one 4-bit element", "{" + tensor_entry("a", "F4", "[1]", "[0,1]") + "}", "do not fill whole bytes",
         1);
  header("six-bit elements, 20 bits over", "{" + tensor_entry("a", "F6_E2M3", "[6]", "[0,5]") + "}",
         "do not fill whole bytes", 5);

  // The tiling.
  const auto pair = [](const std::string& a, const std::string& b) {
    return "{" + tensor_entry("a", "U8", "[4]", a) + "," + tensor_entry("b", "U8", "[4]", b) + "}";
  };
  header("hole at the start", "{" + tensor_entry("a", "F32", "[1]", "[4,8]") + "}",
         "leaves a hole behind the start");
  header("hole of one byte", pair("[0,4]", "[5,9]"), "tensor \"b\" leaves a hole behind \"a\"", 9);
  header("hole at the end", pair("[0,4]", "[4,8]"), "goes on behind the data", 9);
  header("overlap of one byte", pair("[0,4]", "[3,7]"), "tensor \"b\" overlaps \"a\"", 7);
  header("same range twice", pair("[0,4]", "[0,4]"), "overlaps", 4);
  header("overlap, listed backwards", pair("[3,7]", "[0,4]"), "tensor \"a\" overlaps \"b\"", 7);
  header("one inside another",
         "{" + tensor_entry("a", "U8", "[8]", "[0,8]") + "," + tensor_entry("b", "U8", "[2]", "[3,5]") + "}",
         "overlaps");
  header("empty tensor inside another",
         "{" + tensor_entry("a", "U8", "[8]", "[0,8]") + "," + tensor_entry("b", "U8", "[0]", "[4,4]") + "}",
         "overlaps");
  header("empty tensor past the end",
         "{" + tensor_entry("a", "U8", "[8]", "[0,8]") + "," + tensor_entry("b", "U8", "[0]", "[9,9]") + "}",
         "leaves a hole");
  header(
      "allocation bomb: many tensors on the same bytes",
      [] {
        std::string s = "{";
        for (int i = 0; i < 1000; ++i)
          s += (i ? "," : "") + tensor_entry("t" + std::to_string(i), "U8", "[8]", "[0,8]");
        return s + "}";
      }(),
      "overlaps");
  header(
      "metadata bomb",
      [] {
        std::string s = "{\"__metadata__\":{";
        for (int i = 0; i <= 65'536; ++i) s += (i ? ",\"" : "\"") + std::to_string(i) + "\":\"\"";
        return s + "}}";
      }(),
      "too many entries", 0);
  return all;
}

// Valid files of every shape of header: the other half of the seeds.
inline std::vector<std::string> safetensors_valid_files() {
  return {
      safetensors_file("{}"),
      safetensors_file("{}      "),
      safetensors_file("{ \"__metadata__\" : { \"k\\n\" : \"v\\u00e9\" } }\n\t "),
      safetensors_file("{" + tensor_entry("a", "F32", "[2]", "[0,8]") + "}", 8),
      safetensors_file("{" + tensor_entry("", "F32", "[]", "[0,4]") + "}", 4),
      safetensors_file("{" + tensor_entry("z", "F32", "[3,0,9223372036854775807]", "[0,0]") + "}"),
      safetensors_file("{" + tensor_entry("q", "F4", "[2,3]", "[0,3]") + "," +
                           tensor_entry("r", "F6_E3M2", "[4]", "[3,6]") + "}",
                       6),
      safetensors_file("{" + tensor_entry("b", "I64", "[1]", "[2,10]") + "," +
                           tensor_entry("a", "U8", "[ 2 ]", "[0, 2]") + "," +
                           tensor_entry("e", "BOOL", "[0]", "[2,2]") + ",\"__metadata__\":{}}",
                       10),
      safetensors_file("{\"a\":{\"x\":[{\"dtype\":1.5e3},null,true,\"\\ud83d\\ude00\"],\"data_offsets\":[0,1]"
                       ",\"shape\":[1],"
                       "\"\\u0064type\":\"F8_E8M0\"}}",
                       1),
  };
}

}  // namespace phlox
