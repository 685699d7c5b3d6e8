#include "base/json.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace phlox {

static JsonReader reader(std::string_view text) { return JsonReader(text, {"test", "the text", "fix it"}); }

static std::string error_of(std::string_view text) {
  try {
    JsonReader r = reader(text);
    r.skip();
    r.finish();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::bad_file);
    return e.what();
  }
  return "";
}

TEST(JsonWriter, commas_escapes_and_numbers) {
  std::string s;
  JsonWriter w(s);
  w.begin_object()
      .member("a\"\\\n\x01/", 1)
      .key("b")
      .begin_array()
      .value(0.5)
      .value(true)
      .value("x")
      .null()
      .end_array();
  w.member("c", uint64_t(18446744073709551615u))
      .member("d", 1.0 / 0.0)
      .key("e")
      .begin_object()
      .end_object()
      .end_object();
  EXPECT_EQ(s,
            "{\"a\\\"\\\\\\n\\u0001/"
            "\":1,\"b\":[0.5,true,\"x\",null],\"c\":18446744073709551615,\"d\":null,\"e\":{}}");
}

TEST(JsonWriter, indents) {
  std::string s;
  JsonWriter w(s, 2);
  w.begin_object()
      .member("a", 1)
      .key("b")
      .begin_array()
      .value(2)
      .end_array()
      .key("c")
      .begin_array()
      .end_array()
      .end_object();
  EXPECT_EQ(s, "{\n  \"a\": 1,\n  \"b\": [\n    2\n  ],\n  \"c\": []\n}");
}

TEST(JsonWriter, repairs_text_that_is_not_utf8) {
  std::string s;
  append_json_string(s, "ok\xFFé\xC3");
  EXPECT_EQ(s, "\"ok\xEF\xBF\xBDé\xEF\xBF\xBD\"");
}

TEST(Json, quoted_cuts_between_characters) {
  EXPECT_EQ(quoted("abcdef", 3), "\"abc\"...");
  EXPECT_EQ(quoted("aéb", 2), "\"a\"...");
}

TEST(Json, utf8_bounds) {
  for (const char* good : {"", "a", "\x7F", "\xC2\x80", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
                           "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"})
    EXPECT_EQ(find_invalid_utf8(good), std::string_view::npos) << good;
  for (const char* bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
                          "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xC2", "\xE1\x80", "\xF1\x80\x80"})
    EXPECT_EQ(find_invalid_utf8(bad), 0u);
}

TEST(JsonReader, reads_what_it_is_asked_for) {
  JsonReader r = reader(
      " {\"n\":-5,\"u\":18446744073709551615,\"x\":[1.5e3,true,null,\"\\u00e9\\ud83d\\ude00\\n\"],\"e\":{}} "
      "\n");
  JsonString key;
  r.begin_object();
  ASSERT_TRUE(r.next_member(key));
  EXPECT_TRUE(key.equals("n"));
  EXPECT_EQ(r.integer(), -5);
  ASSERT_TRUE(r.next_member(key));
  EXPECT_EQ(r.unsigned_integer(), UINT64_MAX);
  ASSERT_TRUE(r.next_member(key));
  r.begin_array();
  ASSERT_TRUE(r.next_element());
  EXPECT_EQ(r.number(), 1500);
  ASSERT_TRUE(r.next_element());
  EXPECT_TRUE(r.boolean());
  ASSERT_TRUE(r.next_element());
  r.null();
  ASSERT_TRUE(r.next_element());
  EXPECT_EQ(r.string().str(), "\xC3\xA9\xF0\x9F\x98\x80\n");
  ASSERT_FALSE(r.next_element());
  ASSERT_TRUE(r.next_member(key));
  r.skip();
  ASSERT_FALSE(r.next_member(key));
  r.finish();
}

TEST(JsonReader, accepts_the_grammar) {
  for (const char* text : {"0", "-0", "1e5", "1E+05", "0.1e-999", "[]", "{}", "[[],{}]", "\"\\/\"",
                           " [ 1 , 2 ] ", "{\"a\":1,\"a\":2}", "\"\x7F\""})
    EXPECT_EQ(error_of(text), "") << text;
}

TEST(JsonReader, refuses_everything_else) {
  for (const char* text : {"",
                           " ",
                           "{",
                           "[",
                           "]",
                           "}",
                           "[1",
                           "[1,",
                           "[1,]",
                           "[,1]",
                           "[1 2]",
                           "{\"a\"}",
                           "{\"a\":}",
                           "{\"a\":1,}",
                           "{a:1}",
                           "{1:1}",
                           "{\"a\" 1}",
                           "{\"a\":1 \"b\":2}",
                           "[1}",
                           "{\"a\":1]",
                           "01",
                           "-",
                           "+1",
                           "1.",
                           ".5",
                           "1e",
                           "1e+",
                           "0x1",
                           "NaN",
                           "Infinity",
                           "-Infinity",
                           "tru",
                           "nul",
                           "falsey",
                           "True",
                           "'a'",
                           "\"",
                           "\"\\",
                           "\"\\x\"",
                           "\"\\u12\"",
                           "\"\\u12g4\"",
                           "\"\\ud800\"",
                           "\"\\udc00\"",
                           "\"\\ud800\\u0041\"",
                           "\"\n\"",
                           "\"\x01\"",
                           "1 2",
                           "[] []",
                           "1e999",
                           "-1e999",
                           "//x\n1",
                           "/**/1",
                           "\xEF\xBB\xBF"
                           "1",
                           "\"\xFF\"",
                           "[1,,2]",
                           "{,}",
                           "\"a\" :"})
    EXPECT_NE(error_of(text), "") << text;
}

TEST(JsonReader, depth_is_bounded) {
  EXPECT_EQ(error_of(std::string(64, '[') + std::string(64, ']')), "");
  EXPECT_NE(error_of(std::string(65, '[') + std::string(65, ']')).find("nesting deeper than 64"),
            std::string::npos);
  EXPECT_NE(error_of(std::string(1 << 20, '[')), "");
}

TEST(JsonReader, errors_name_the_byte_and_the_remedy) {
  EXPECT_EQ(error_of("[1,}"), "test: the text is malformed; got \"}\" at byte 3; expected a value; fix it");
  JsonReader r = reader("[true]");
  r.begin_array();
  r.next_element();
  r.set_subject("wq");
  try {
    r.string();
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(),
                 "test: the text is malformed at \"wq\"; got a boolean at byte 1; expected a string; fix it");
  }
}

TEST(JsonReader, integers_do_not_pass_through_doubles) {
  for (const char* text : {"1.0", "1e0", "-1", "-0", "18446744073709551616"})
    EXPECT_THROW(reader(text).unsigned_integer(), Error) << text;
  EXPECT_EQ(reader("9007199254740993").unsigned_integer(), 9007199254740993u);
  EXPECT_THROW(reader("9223372036854775808").integer(), Error);
  EXPECT_EQ(reader("-9223372036854775808").integer(), INT64_MIN);
  EXPECT_TRUE(std::signbit(reader("-1e-999").number()));
}

TEST(JsonString, unescapes_in_place) {
  std::string text = "\"a\\u0041\\\\b\"";
  JsonReader r = reader(text);
  const JsonString s = r.string();
  const size_t n = s.unescape(text.data() + 1);
  EXPECT_EQ(text.substr(1, n), "aA\\b");
}

TEST(Json, writer_and_reader_round_trip) {
  std::string all;
  for (int c = 0; c < 128; ++c) all += char(c);
  all += "é€😀";
  std::string s;
  append_json_string(s, all);
  EXPECT_EQ(reader(s).string().str(), all);
}

}  // namespace phlox
