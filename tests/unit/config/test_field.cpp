#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "config/field.hpp"

using namespace espalier::config;

TEST_CASE("values are written as TOML reads them") {
  CHECK(toml_value(true) == "true");
  CHECK(toml_value(std::int64_t{-3}) == "-3");
  CHECK(toml_value(1.0) == "1.0");
  CHECK(toml_value(0.1) == "0.1");
  CHECK(toml_value(1.0e-8) == "1e-08");
  CHECK(toml_value(std::string("a\"b\\c\nd")) == R"("a\"b\\c\nd")");
  CHECK(toml_value(std::vector<std::string>{}) == "[]");
  CHECK(toml_value(std::vector<std::string>{"a", "b"}) == R"(["a", "b"])");
  CHECK(toml_value(std::vector<std::int64_t>{}) == "[]");
  CHECK(toml_value(std::vector<std::int64_t>{3, -1}) == "[3, -1]");
}

TEST_CASE("an interval allows its ends and nothing beyond") {
  const Field field{.name = "x", .min = 1, .max = 8};
  CHECK(violation(field, std::int64_t{1}).empty());
  CHECK(violation(field, std::int64_t{8}).empty());
  CHECK(violation(field, std::int64_t{0}) == "must be in the range 1 to 8");
  CHECK_FALSE(violation(field, 8.5).empty());
  CHECK(violation(Field{.name = "x", .min = 0}, -1.0) == "must be at least 0");
  CHECK(allowed_values(Field{.name = "x", .min = 1, .max = 1}) == "1");
}

TEST_CASE("numbers must be finite") {
  const Field any{.name = "x"};
  CHECK(violation(any, 1.0e300).empty());
  CHECK(violation(any, std::numeric_limits<double>::infinity()) == "must be finite");
  CHECK_FALSE(violation(any, std::nan("")).empty());
  CHECK_FALSE(violation(Field{.name = "x", .min = 0}, HUGE_VAL).empty());
}

TEST_CASE("a choice that is nearly right is offered") {
  const Field field{.name = "dtype", .choices = {"bfloat16", "float32"}};
  CHECK(violation(field, std::string("float32")).empty());
  CHECK(violation(field, std::string("float31")) ==
        "must be bfloat16 or float32; did you mean \"float32\"?");
  CHECK(violation(field, std::string("int")) == "must be bfloat16 or float32");
}
