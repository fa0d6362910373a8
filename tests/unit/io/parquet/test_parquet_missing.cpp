#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "io/parquet_source.hpp"

using namespace espalier;
using namespace espalier::io;
using Catch::Matchers::Contains;

TEST_CASE("a program without Arrow says how to read Parquet", "[parquet]") {
  CHECK_FALSE(ParquetSource::is_available());
  const auto check = [](auto&& action) {
    try {
      action();
    } catch (const Error& error) {
      CHECK(error.status() == ExitStatus::bad_data);
      CHECK_THAT(error.what(), Contains("a.parquet") && Contains("jobscripts/fetch-arrow.sh") &&
                                   Contains("JSON lines"));
      return;
    }
    FAIL("no error");
  };
  check([] { ParquetSource("a.parquet", {}); });
  check([] { ParquetSource::row_groups("a.parquet", {}); });
}
