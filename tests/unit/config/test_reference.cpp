#include <catch2/catch.hpp>
#include <set>
#include <sstream>

#include "config/parameters.hpp"
#include "config/reference.hpp"
#include "support/expect_error.hpp"

using namespace espalier;
using namespace espalier::config;

TEST_CASE("every key has a name of its own, a meaning, and a default that is allowed") {
  const Parameters defaults;
  std::set<std::string> names;
  Parameters::tables(defaults, [&](std::string_view table, std::string_view purpose,
                                   const auto& values) {
    CHECK_FALSE(purpose.empty());
    std::decay_t<decltype(values)>::describe(values, [&](const Field& field, const auto& value) {
      const std::string name = std::string(table) + "." + std::string(field.name);
      INFO(name);
      CHECK(names.insert(name).second);
      CHECK_FALSE(field.meaning.empty());
      // 0 stands for "not set" in the sizes of a model, which no file may say.
      if (table != "model") CHECK(violation(field, value).empty());
    });
  });
  CHECK(names.size() == key_names().size());
}

TEST_CASE("the reference page has every key, in at most 100 columns") {
  const std::string page = reference_page();
  for (const std::string& table : table_names()) {
    INFO(table);
    CHECK(page.find("[" + table + "]") != std::string::npos);
  }
  for (const std::string& key : key_names()) {
    INFO(key);
    CHECK(page.find("  " + key.substr(key.find('.') + 1) + " ") != std::string::npos);
  }
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    INFO(line);
    CHECK(line.size() <= 100);
    CHECK((line.empty() || line.back() != ' '));
  }
}

TEST_CASE("the page of one table has type, default, unit, range and meaning") {
  const std::string page = reference_page("training");
  testing::expect_words(page, {"[training]", "sequence_length", "integer", "2048", "tokens",
                               "1 to 16777216", "\"bfloat16\"", "bfloat16 or float32"});
  CHECK(page.find("[model]") == std::string::npos);
}

TEST_CASE("the keys of a list's entries stand behind it") {
  const std::string page = reference_page("data");
  const std::size_t list = page.find("  sources  ");
  REQUIRE(list != std::string::npos);
  for (const char* key : {"sources.train", "sources.weight", "sources.name"})
    CHECK(page.find(std::string("  ") + key + "  ", list) != std::string::npos);
}

TEST_CASE("an unknown table names the nearest") {
  const std::string message =
      testing::message_of([] { reference_page("trainin"); }, ExitStatus::usage);
  testing::expect_words(message, {"[trainin]", "did you mean [training]?"});
  testing::expect_words(testing::message_of([] { reference_page("zzz"); }, ExitStatus::usage),
                        {"[zzz]", "help parameters"});
}
