// JSON, both ways, in one small place.
//
// JsonWriter builds text: commas, escapes and numbers are its business, so a report, a trace or a file header
// cannot come out malformed. Text that is no UTF-8 is repaired with U+FFFD; non-finite doubles, which JSON
// cannot say, become null.
//
// JsonReader is a strict pull scanner over text nobody trusts (RFC 8259 and nothing more: no comments, no
// trailing commas, no leading zeros, no byte order mark). It builds no tree and allocates nothing: the caller
// asks for what it expects, in order, and gets views into the text. That is why it exists beside general
// libraries: duplicate keys, depth and memory stay under the caller's control, integers are never read
// through a double, and every error knows its byte. Invariant: what it has returned obeys the grammar and is
// valid UTF-8. Refuses (Error, bad_file): anything else, nesting deeper than max_depth, numbers that a double
// or the asked integer cannot hold, lone surrogates.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/format.h"

namespace phlox {

// Offset of the first byte that does not continue valid UTF-8 (no overlong forms, no surrogates), or npos.
size_t find_invalid_utf8(std::string_view text);

// Appends `text` as a JSON string with its quotes.
void append_json_string(std::string& out, std::string_view text);
// A name from a file, made safe to print: a JSON string, cut after `limit` bytes with "...".
std::string quoted(std::string_view text, size_t limit = 64);

class JsonWriter {
 public:
  // indent > 0 breaks lines and indents each level by that many spaces.
  explicit JsonWriter(std::string& out, int indent = 0) : out_(out), indent_(indent) {}
  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }
  JsonWriter& key(std::string_view name);
  JsonWriter& null();
  JsonWriter& raw(std::string_view json);  // a value that is JSON already
  template <class T>
  JsonWriter& value(const T& v) {
    separate();
    if constexpr (std::is_floating_point_v<T>)
      append_number(double(v));
    else if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, char>)
      append_part(out_, v);
    else
      append_json_string(out_, v);
    return *this;
  }
  template <class T>
  JsonWriter& member(std::string_view name, const T& v) {
    return key(name).value(v);
  }

 private:
  JsonWriter& open(char bracket);
  JsonWriter& close(char bracket);
  void separate();  // the comma and line break due before the next value
  void line_break();
  void append_number(double v);

  std::string& out_;
  int indent_;
  int depth_ = 0;
  bool first_ = true;  // nothing stands in the current container yet
  bool after_key_ = false;
};

enum class JsonKind : uint8_t { object, array, string, number, boolean, null };

// A string as it stands in the text, between its quotes, escapes checked but not resolved.
struct JsonString {
  std::string_view raw;
  bool escaped = false;
  // Writes the resolved text to `out`, which needs raw.size() bytes and may be where raw itself lies; returns
  // its length.
  size_t unescape(char* out) const;
  std::string str() const;
  bool equals(std::string_view text) const { return escaped ? str() == text : raw == text; }
};

class JsonReader {
 public:
  static constexpr int depth_limit = 64;
  // What errors say beside the offence: "safetensors: the header is malformed; got an array at byte 7;
  // expected a string; fetch the file again". The texts must outlive the reader.
  struct Context {
    std::string_view op, what, remedy;
  };
  JsonReader(std::string_view text, Context context, int max_depth = depth_limit);

  JsonKind peek();  // of the next value, which must exist
  void begin_object();
  bool next_member(JsonString& key);  // false: the object is closed
  void begin_array();
  bool next_element();  // false: the array is closed
  JsonString string();
  uint64_t unsigned_integer();  // digits only: no sign, fraction or exponent
  int64_t integer();
  double number();
  bool boolean();
  void null();
  void skip();    // one value of any kind, checked as if it were read
  void finish();  // only white space may follow

  size_t position() const { return at_; }
  // Names the part that errors are about, from here on; empty: the whole.
  void set_subject(std::string_view name) { subject_ = name; }
  [[noreturn]] void error(std::string_view got, std::string_view expected) const;

 private:
  char next_token();  // skips white space; 0 at the end
  void expect_kind(JsonKind kind, std::string_view expected);
  void literal(std::string_view word);
  void enter();
  bool advance(char close_bracket);  // past a comma or the closing bracket
  std::string_view number_text(bool& whole);
  void check_escape();
  uint32_t hex4(size_t at) const;
  std::string describe() const;  // the token at at_, for errors

  std::string_view text_, subject_;
  Context context_;
  size_t at_ = 0;
  int depth_ = 0, max_depth_;
  std::array<bool, depth_limit> fresh_{};  // the container at this depth has no member yet
};

}  // namespace phlox
