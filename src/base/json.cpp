#include "base/json.h"

#include <charconv>
#include <cmath>

#include "base/error.h"

namespace phlox {

// ---- text ----

// Length of the UTF-8 sequence at p, 0 when there is none.
static size_t utf8_length(const unsigned char* p, size_t left) {
  if (p[0] < 0x80) return 1;
  const auto tail = [&](size_t i, unsigned low = 0x80, unsigned high = 0xBF) {
    return i < left && p[i] >= low && p[i] <= high;
  };
  if (p[0] >= 0xC2 && p[0] <= 0xDF) return tail(1) ? 2 : 0;
  if (p[0] >= 0xE0 && p[0] <= 0xEF) {
    // E0 would allow overlong forms, ED the surrogates.
    const bool second = tail(1, p[0] == 0xE0 ? 0xA0 : 0x80, p[0] == 0xED ? 0x9F : 0xBF);
    return second && tail(2) ? 3 : 0;
  }
  if (p[0] >= 0xF0 && p[0] <= 0xF4) {
    const bool second = tail(1, p[0] == 0xF0 ? 0x90 : 0x80, p[0] == 0xF4 ? 0x8F : 0xBF);
    return second && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

static const unsigned char* bytes_of(std::string_view s) {
  return static_cast<const unsigned char*>(static_cast<const void*>(s.data()));
}

size_t find_invalid_utf8(std::string_view text) {
  const unsigned char* p = bytes_of(text);
  for (size_t i = 0; i < text.size();) {
    const size_t n = utf8_length(p + i, text.size() - i);
    if (n == 0) return i;
    i += n;
  }
  return std::string_view::npos;
}

static void append_hex_escape(std::string& out, unsigned code) {
  static constexpr char digits[] = "0123456789abcdef";
  out += "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) out += digits[(code >> shift) & 15];
}

void append_json_string(std::string& out, std::string_view text) {
  const unsigned char* p = bytes_of(text);
  out += '"';
  for (size_t i = 0; i < text.size();) {
    const unsigned char c = p[i];
    const size_t n = utf8_length(p + i, text.size() - i);
    if (n == 0) {
      out += "\xEF\xBF\xBD";
      ++i;
      continue;
    }
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (c < 0x20)
          append_hex_escape(out, c);
        else
          out.append(text.substr(i, n));
    }
    i += n;
  }
  out += '"';
}

std::string quoted(std::string_view text, size_t limit) {
  std::string s;
  if (text.size() <= limit) {
    append_json_string(s, text);
    return s;
  }
  // Cut between characters: a sequence split in two would print as a replacement sign.
  size_t cut = limit;
  while (cut > 0 && (bytes_of(text)[cut] & 0xC0) == 0x80) --cut;
  append_json_string(s, text.substr(0, cut));
  return s + "...";
}

// ---- writer ----

void JsonWriter::line_break() {
  if (indent_ == 0) return;
  out_ += '\n';
  out_.append(size_t(depth_) * size_t(indent_), ' ');
}

void JsonWriter::separate() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (!first_) out_ += ',';
  if (depth_ > 0) line_break();
  first_ = false;
}

JsonWriter& JsonWriter::open(char bracket) {
  separate();
  out_ += bracket;
  ++depth_;
  first_ = true;
  return *this;
}

JsonWriter& JsonWriter::close(char bracket) {
  PHLOX_CHECK(depth_ > 0 && !after_key_, "JSON containers closed out of order");
  --depth_;
  if (!first_) line_break();
  out_ += bracket;
  first_ = false;
  return *this;
}

JsonWriter& JsonWriter::key(std::string_view name) {
  separate();
  append_json_string(out_, name);
  out_ += indent_ ? ": " : ":";
  after_key_ = true;
  return *this;
}

JsonWriter& JsonWriter::null() { return raw("null"); }

JsonWriter& JsonWriter::raw(std::string_view json) {
  separate();
  out_ += json;
  return *this;
}

void JsonWriter::append_number(double v) {
  if (std::isfinite(v))
    append_double(out_, v);
  else
    out_ += "null";
}

// ---- reader ----

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

static char* put_utf8(char* out, uint32_t code) {
  if (code < 0x80) {
    *out++ = char(code);
    return out;
  }
  const int tails = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  static constexpr uint32_t lead[] = {0, 0xC0, 0xE0, 0xF0};
  *out++ = char(lead[tails] | (code >> (6 * tails)));
  for (int i = tails - 1; i >= 0; --i) *out++ = char(0x80 | ((code >> (6 * i)) & 0x3F));
  return out;
}

static uint32_t hex4_of(const char* p) {
  uint32_t v = 0;
  for (int i = 0; i < 4; ++i) v = v * 16 + uint32_t(hex_value(p[i]));
  return v;
}

size_t JsonString::unescape(char* out) const {
  // Reading runs ahead of writing: an escape is longer than what it stands for, so `out` may be raw's own
  // bytes.
  char* const start = out;
  const char* p = raw.data();
  const char* const end = p + raw.size();
  while (p < end) {
    if (*p != '\\') {
      *out++ = *p++;
      continue;
    }
    const char kind = p[1];
    p += 2;
    switch (kind) {
      case 'b': *out++ = '\b'; break;
      case 'f': *out++ = '\f'; break;
      case 'n': *out++ = '\n'; break;
      case 'r': *out++ = '\r'; break;
      case 't': *out++ = '\t'; break;
      case 'u': {
        uint32_t code = hex4_of(p);
        p += 4;
        if (code >= 0xD800 && code < 0xDC00) {
          code = 0x10000 + ((code - 0xD800) << 10) + (hex4_of(p + 2) - 0xDC00);
          p += 6;
        }
        out = put_utf8(out, code);
        break;
      }
      default: *out++ = kind;
    }
  }
  return size_t(out - start);
}

std::string JsonString::str() const {
  std::string s(raw.size(), '\0');
  s.resize(unescape(s.data()));
  return s;
}

JsonReader::JsonReader(std::string_view text, Context context, int max_depth)
    : text_(text), context_(context), max_depth_(max_depth) {
  PHLOX_CHECK(max_depth <= depth_limit);
  const size_t bad = find_invalid_utf8(text);
  if (bad != std::string_view::npos)
    fail(ErrorCode::bad_file, {.op = std::string(context.op),
                               .fact = cat(context.what, " is not valid UTF-8"),
                               .got = cat("value ", unsigned(bytes_of(text)[bad]), " at byte ", bad),
                               .remedy = std::string(context.remedy)});
}

void JsonReader::error(std::string_view got, std::string_view expected) const {
  std::string fact = cat(context_.what, " is malformed");
  if (!subject_.empty()) fact += cat(" at ", quoted(subject_));
  fail(ErrorCode::bad_file, {.op = std::string(context_.op),
                             .fact = fact,
                             .got = cat(got, " at byte ", at_),
                             .expected = std::string(expected),
                             .remedy = std::string(context_.remedy)});
}

std::string JsonReader::describe() const {
  if (at_ >= text_.size()) return "the end";
  switch (text_[at_]) {
    case '{': return "an object";
    case '[': return "an array";
    case '"': return "a string";
    case 't':
    case 'f': return "a boolean";
    case 'n': return "null";
  }
  if (text_[at_] == '-' || is_digit(text_[at_])) return "a number";
  return quoted(text_.substr(at_, 1));
}

char JsonReader::next_token() {
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c != ' ' && c != '\n' && c != '\t' && c != '\r') return c;
    ++at_;
  }
  return 0;
}

JsonKind JsonReader::peek() {
  const char c = next_token();
  switch (c) {
    case '{': return JsonKind::object;
    case '[': return JsonKind::array;
    case '"': return JsonKind::string;
    case 't':
    case 'f': return JsonKind::boolean;
    case 'n': return JsonKind::null;
  }
  if (c == '-' || is_digit(c)) return JsonKind::number;
  error(describe(), "a value");
}

void JsonReader::expect_kind(JsonKind kind, std::string_view expected) {
  if (peek() != kind) error(describe(), expected);
}

void JsonReader::enter() {
  if (depth_ == max_depth_) error(cat("nesting deeper than ", max_depth_), "");
  fresh_[size_t(depth_++)] = true;
  ++at_;
}

bool JsonReader::advance(char close_bracket) {
  const char c = next_token();
  bool& fresh = fresh_[size_t(depth_ - 1)];
  if (c == close_bracket) {
    ++at_;
    --depth_;
    return false;
  }
  if (!fresh) {
    if (c != ',') error(describe(), close_bracket == '}' ? "',' or '}'" : "',' or ']'");
    ++at_;
    next_token();
  }
  fresh = false;
  return true;
}

void JsonReader::begin_object() {
  expect_kind(JsonKind::object, "an object");
  enter();
}

void JsonReader::begin_array() {
  expect_kind(JsonKind::array, "an array");
  enter();
}

bool JsonReader::next_member(JsonString& key) {
  if (!advance('}')) return false;
  if (next_token() != '"') error(describe(), "a quoted key");
  key = string();
  if (next_token() != ':') error(describe(), "':'");
  ++at_;
  return true;
}

bool JsonReader::next_element() { return advance(']'); }

uint32_t JsonReader::hex4(size_t at) const {
  uint32_t v = 0;
  for (size_t i = at; i < at + 4; ++i) {
    const int digit = i < text_.size() ? hex_value(text_[i]) : -1;
    if (digit < 0) error("a broken \\u escape", "four hexadecimal digits");
    v = v * 16 + uint32_t(digit);
  }
  return v;
}

// at_ is on a backslash; leaves at_ behind the escape.
void JsonReader::check_escape() {
  const char kind = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
  if (kind != 'u') {
    if (kind == '\0' || std::string_view("\"\\/bfnrt").find(kind) == std::string_view::npos)
      error("an unknown escape", "one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u");
    at_ += 2;
    return;
  }
  const uint32_t code = hex4(at_ + 2);
  if (code >= 0xDC00 && code < 0xE000) error("a lone surrogate", "a surrogate pair");
  if (code < 0xD800 || code >= 0xDC00) {
    at_ += 6;
    return;
  }
  if (text_.substr(at_ + 6, 2) != "\\u") error("a lone surrogate", "a surrogate pair");
  const uint32_t low = hex4(at_ + 8);
  if (low < 0xDC00 || low >= 0xE000) error("a lone surrogate", "a surrogate pair");
  at_ += 12;
}

JsonString JsonReader::string() {
  expect_kind(JsonKind::string, "a string");
  JsonString s;
  const size_t start = ++at_;
  for (;;) {
    if (at_ >= text_.size()) error("the end inside a string", "'\"'");
    const unsigned char c = bytes_of(text_)[at_];
    if (c == '"') break;
    if (c < 0x20) error("a control character inside a string", "it escaped");
    if (c == '\\') {
      s.escaped = true;
      check_escape();
    } else {
      ++at_;
    }
  }
  s.raw = text_.substr(start, at_++ - start);
  return s;
}

std::string_view JsonReader::number_text(bool& whole) {
  expect_kind(JsonKind::number, "a number");
  size_t i = at_;
  const auto here = [&] { return i < text_.size() ? text_[i] : '\0'; };
  const auto digits = [&] {
    if (!is_digit(here())) error("a number without digits", "a digit");
    while (is_digit(here())) ++i;
  };
  if (here() == '-') ++i;
  if (here() == '0' && i + 1 < text_.size() && is_digit(text_[i + 1]))
    error("a number with a leading zero", "a number");
  digits();
  whole = true;
  if (here() == '.') {
    whole = false;
    ++i;
    digits();
  }
  if (here() == 'e' || here() == 'E') {
    whole = false;
    ++i;
    if (here() == '+' || here() == '-') ++i;
    digits();
  }
  return text_.substr(at_, i - at_);
}

uint64_t JsonReader::unsigned_integer() {
  bool whole;
  const std::string_view t = number_text(whole);
  uint64_t v = 0;
  // from_chars refuses a sign here, which the grammar allowed.
  const auto r = std::from_chars(t.data(), t.data() + t.size(), v);
  if (!whole || r.ec != std::errc() || r.ptr != t.data() + t.size())
    error(quoted(t, 40), "an integer from 0 to 2^64-1");
  at_ += t.size();
  return v;
}

int64_t JsonReader::integer() {
  bool whole;
  const std::string_view t = number_text(whole);
  int64_t v = 0;
  const auto r = std::from_chars(t.data(), t.data() + t.size(), v);
  if (!whole || r.ec != std::errc() || r.ptr != t.data() + t.size())
    error(quoted(t, 40), "an integer from -2^63 to 2^63-1");
  at_ += t.size();
  return v;
}

// Whether a number that a double cannot hold is too small rather than too large: then it rounds to zero.
static bool underflows(std::string_view t) {
  const size_t e = t.find_first_of("eE");
  if (e != std::string_view::npos) return t[e + 1] == '-';
  const size_t lead = t.find_first_of("123456789.");
  return lead != std::string_view::npos && t[lead] == '.';
}

double JsonReader::number() {
  bool whole;
  const std::string_view t = number_text(whole);
  double v = 0;
  const auto r = std::from_chars(t.data(), t.data() + t.size(), v);
  if (r.ec == std::errc::result_out_of_range) {
    if (!underflows(t)) error(quoted(t, 40), "a number that a double can hold");
    v = t[0] == '-' ? -0.0 : 0.0;
  }
  at_ += t.size();
  return v;
}

void JsonReader::literal(std::string_view word) {
  if (text_.substr(at_, word.size()) != word) error("an unknown word", "true, false or null");
  at_ += word.size();
}

bool JsonReader::boolean() {
  expect_kind(JsonKind::boolean, "true or false");
  const bool v = text_[at_] == 't';
  literal(v ? "true" : "false");
  return v;
}

void JsonReader::null() {
  expect_kind(JsonKind::null, "null");
  literal("null");
}

void JsonReader::skip() {
  // Iterative: the depth is bounded, but one level at a time costs no stack.
  JsonString key;
  const int outer = depth_;
  std::array<bool, depth_limit> in_object{};
  do {
    if (depth_ > outer) {
      const bool object = in_object[size_t(depth_ - 1)];
      if (!(object ? next_member(key) : next_element())) continue;
    }
    switch (peek()) {
      case JsonKind::object:
        begin_object();
        in_object[size_t(depth_ - 1)] = true;
        break;
      case JsonKind::array:
        begin_array();
        in_object[size_t(depth_ - 1)] = false;
        break;
      case JsonKind::string: string(); break;
      case JsonKind::number: number(); break;
      case JsonKind::boolean: boolean(); break;
      case JsonKind::null: null(); break;
    }
  } while (depth_ > outer);
}

void JsonReader::finish() {
  if (next_token() != 0 || at_ < text_.size()) error(describe(), "nothing more");
}

}  // namespace phlox
