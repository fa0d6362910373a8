#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "base/text.hpp"

namespace espalier {

TEST_CASE("the nearest name helps with a slip and is silent otherwise", "[text]") {
  const std::vector<std::string> names{"learning_rate", "weight_decay", "warmup_steps"};
  CHECK(nearest_name("learning_rat", names) == "learning_rate");
  CHECK(nearest_name("wieght_decay", names) == "weight_decay");
  CHECK(nearest_name("banana", names).empty());
  CHECK(nearest_name("x", {}).empty());
}

TEST_CASE("numbers for people", "[text]") {
  CHECK(human_bytes(512) == "512 B");
  CHECK(human_bytes(1.5 * 1024 * 1024 * 1024) == "1.50 GiB");
  CHECK(human_count(999) == "999");
  CHECK(human_count(42.0e6) == "42.0M");
  CHECK(human_count(8.19e9) == "8.19B");
  CHECK(human_duration(45) == "45 s");
  CHECK(human_duration(3720) == "1 h 02 min");
  CHECK(human_duration(2 * 86400 + 3600) == "2 d 01 h");
  CHECK(with_commas(0) == "0");
  CHECK(with_commas(999) == "999");
  CHECK(with_commas(1000) == "1,000");
  CHECK(with_commas(1234567) == "1,234,567");
  CHECK(with_commas(-123456) == "-123,456");
}

TEST_CASE("hashes are those of XXH3", "[text]") {
  CHECK(hash_text("") == 0x2D06800538D394C2u);
  CHECK(hash_text("a") != hash_text("b"));
  CHECK(hash_bytes({}, 1) != hash_bytes({}, 0));
}

}  // namespace espalier
