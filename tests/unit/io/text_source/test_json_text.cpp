#include <catch2/catch.hpp>
#include <optional>

#include "io/json_text.hpp"

using namespace espalier::io;
using Catch::Matchers::Contains;
using Texts = std::vector<std::string>;

namespace {

/// What a reader makes of a line: its text, or the kind and reason of its refusal.
struct Answer {
  std::optional<BadLine> refusal;
  std::string text;
  bool operator==(const Answer&) const = default;
};

template <class Read>
Answer answer(Read&& read) {
  try {
    return {std::nullopt, read()};
  } catch (const BadLineError& error) {
    return {error.kind(), error.what()};
  }
}

Answer fast(const std::string& line, JsonKeys keys = {}) {
  return answer([&] {
    std::string text, source;
    JsonLineReader(std::move(keys)).read(line, text, source);
    return text;
  });
}

std::string source_of(const std::string& line, const std::string& key) {
  std::string text, source = "before";
  JsonLineReader({.source = key}).read(line, text, source);
  return source;
}

}  // namespace

TEST_CASE("Both parsers of JSON lines take the same lines and give the same texts", "[json]") {
  const auto in_object = [](const std::string& value) {
    return "{\"text\": \"good\", \"other\": " + value + "}";
  };
  Texts lines;
  for (const char* value : {"1",
                            "-0",
                            "1e5",
                            "1e400",
                            "123456789012345678901234567890",
                            "01",
                            "1.",
                            ".5",
                            "+1",
                            "NaN",
                            "-Infinity",
                            "nul",
                            "true",
                            "\"\\ud83d\\ude00\"",
                            "\"\\ud800\"",
                            "\"\\ude00\"",
                            "\"\\ud800\\ud800\"",
                            "\"\\ud800x\"",
                            "\"\\\\ud800\"",
                            "\"\\u00zz\"",
                            "\"\\x\"",
                            "\"tab\there\"",
                            "\"\xC3\xA9\"",
                            "\"\xC3\"",
                            "\"\xED\xA0\x80\"",
                            "[1, 2,]",
                            "[1 2]",
                            "{}",
                            "{\"a\" 1}",
                            "{\"text\": \"inner\"}",
                            "\"\\u0000\"",
                            "[[[[]]]]"}) {
    lines.push_back(in_object(value));
    lines.push_back("{\"text\": " + std::string(value) + "}");
  }
  lines.insert(lines.end(), {"",
                             "{",
                             "{}",
                             "[]",
                             "\"text\"",
                             "5",
                             "null",
                             "{\"text\": \"a\"} x",
                             "{\"text\": \"a\"}{}",
                             "{\"text\": \"first\", \"text\": \"last\"}",
                             "{\"text\": \"first\", \"text\": 1}",
                             "{\"text\": 1, \"text\": \"last\"}",
                             "{\"te\\u0078t\": \"escaped key\"}",
                             "{\"text\\ud800\": 1, \"text\": \"a\"}",
                             "\xEF\xBB\xBF{\"text\": \"mark\"}",
                             "  {\"text\": \"blanks\"} \r",
                             "{'text': 'a'}",
                             std::string("{\"text\": \"a\"}\0x", 15),
                             "{\"text\": \"a\", }",
                             "{\"a\": " + std::string(3000, '[') + std::string(3000, ']') +
                                 ", \"text\": \"deep\"}"});
  for (const std::string& line : lines) {
    INFO(line);
    const Answer found = fast(line);
    const Answer expected = answer([&] { return json_text(line, {"text"}); });
    CHECK(found.refusal == expected.refusal);
    CHECK(found.text == expected.text);
  }
  CHECK(fast("{\"text\": \"first\", \"text\": \"last\"}").text == "last");
  CHECK(fast(in_object("1e400")).refusal == BadLine::not_json);
}

TEST_CASE("Keys may be paths, and several texts are joined by a newline", "[json]") {
  const std::string line =
      R"({"a": {"b": {"c": "inner"}, "d": "beside"}, "a.d": "by its own name", "title": "T"})";
  CHECK(fast(line, {.text = {"a.b.c"}}).text == "inner");
  CHECK(fast(line, {.text = {"a.d"}}).text == "by its own name");
  CHECK(fast(line, {.text = {"title", "a.b.c"}}).text == "T\ninner");
  CHECK(json_text(line, {"title", "a.b.c"}) == "T\ninner");
  CHECK(fast(line, {.text = {"a.b"}}).refusal == BadLine::not_a_string);
  CHECK(fast(line, {.text = {"a.x"}}).refusal == BadLine::no_such_key);
  CHECK(fast(line, {.text = {"title", "body"}}).refusal == BadLine::no_such_key);
  CHECK(fast(line, {.text = {"title.a"}}).refusal == BadLine::no_such_key);
  CHECK(fast(R"({"a": {"x": 1}, "a": {"b": "last"}})", {.text = {"a.b"}}).text == "last");
}

TEST_CASE("The source of a line is a string, or none", "[json]") {
  CHECK(source_of(R"({"text": "t", "meta": {"set": "C4"}})", "meta.set") == "C4");
  CHECK(source_of(R"({"text": "t", "meta": {"set": 4}})", "meta.set").empty());
  CHECK(source_of(R"({"text": "t"})", "meta.set").empty());
  CHECK(source_of(R"({"text": "t", "meta": {"set": "C4"}})", "").empty());
}
