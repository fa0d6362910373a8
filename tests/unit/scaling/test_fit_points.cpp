#include "plan/scaling/fit_points.hpp"

#include <catch2/catch.hpp>
#include <functional>

#include "base/error.hpp"
#include "plan/scaling/csv.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier;
using Catch::Contains;
using plan::FitPoint;

namespace {

std::vector<FitPoint> read(std::string_view text, const std::vector<std::string>& columns = {}) {
  return plan::points_of_csv(text, "there/points.csv", columns);
}

std::string refusal(const std::function<void()>& action, ExitStatus status = ExitStatus::bad_data) {
  try {
    action();
  } catch (const Error& error) {
    CHECK(error.status() == status);
    return error.what();
  }
  return "taken";
}
std::string refusal(std::string_view text) {
  return refusal([&] { read(text); });
}

}  // namespace

TEST_CASE("fields of a CSV may be quoted, spaced and end as on Windows") {
  const auto rows = plan::csv_rows("\xEF\xBB\xBF a ,\"b, c\",\" d\"\"e \"\r\n\r\n# no row\n1,,2");
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].fields == std::vector<std::string>{"a", "b, c", " d\"e "});
  CHECK(rows[1].fields == std::vector<std::string>{"1", "", "2"});
  CHECK(rows[1].line == 4);
  CHECK_FALSE(rows[0].is_cut);
  CHECK(rows[1].is_cut);
  CHECK(plan::csv_number("1.5e9") == 1.5e9);
  CHECK(plan::csv_number("+2") == 2.0);
  for (const char* text : {"", "1,5", "1 000", "12x", "x", "--1"})
    CHECK_FALSE(plan::csv_number(text).has_value());
}

TEST_CASE("FLOPs stand in place of parameters or tokens, columns in any order") {
  const auto by_tokens = read("tokens,Loss,parameters\n2e9,3.5,1e8\n");
  REQUIRE(by_tokens.size() == 1);
  CHECK(by_tokens[0].parameters == 1e8);
  CHECK(by_tokens[0].tokens == 2e9);
  CHECK(by_tokens[0].loss == 3.5);
  CHECK(by_tokens[0].name == "points.csv:2");
  CHECK(read("parameters,flops,loss\n1e8,1.2e18,3.5\n")[0].tokens == Approx(2e9));
  CHECK(read("flops,tokens,loss\n1.2e18,2e9,3.5\n")[0].parameters == Approx(1e8));
}

TEST_CASE("names come from a column, other columns are passed over or told by fit.columns") {
  const auto points =
      read("color,Model Size,Training FLOP,loss,name\n#fa,1e8,1.2e18,3.5,small\nred,1e9,6e18,3,\n",
           {"parameters=Model Size", "flops=training flop"});
  REQUIRE(points.size() == 2);  // "#fa" is no comment, "# " is
  CHECK(points[0].name == "small");
  CHECK(points[1].name == "points.csv:3");
  CHECK(points[1].tokens == Approx(1e9));
  CHECK(read("name,parameters,tokens,loss\nsmall,1,2,3\n")[0].name == "small");
}

TEST_CASE("a CSV that gives no points is refused with line, column and remedy") {
  CHECK_THAT(refusal(""), Contains("points.csv") && Contains("empty"));
  CHECK_THAT(refusal("parameters,tokens,loss\n"), Contains("no row"));
  CHECK_THAT(refusal("a,b\n1,2\n"),
             Contains("points.csv:1") && Contains("a, b") && Contains("fit.columns"));
  CHECK_THAT(refusal("parameters;tokens;loss\n1;2;3\n"), Contains("commas"));
  CHECK_THAT(refusal("parameters,loss\n1,2\n"), Contains("two of parameters, tokens and flops"));
  CHECK_THAT(refusal("loss,loss,tokens,parameters\n1,2,3,4\n"), Contains("two columns"));
  const std::string header = "parameters,tokens,loss\n1e8,1e9,3\n";
  for (const char* bad : {"nan", "inf", "0", "-1", "three", "", "1 2"})
    CHECK_THAT(refusal(header + "1e8,1e9," + bad + "\n"),
               Contains("points.csv:3") && Contains("loss is \"" + std::string(bad) + "\""));
  CHECK_THAT(refusal(header + "1e8,x,3\n"), Contains(":3: tokens is \"x\""));
  CHECK_THAT(refusal(header + "1e8,3\n"), Contains(":3") && Contains("2 values"));
}

TEST_CASE("fit.columns that fit nothing are refused") {
  const auto refused = [](const std::string& entry) {
    return refusal([&] { read("parameters,tokens,loss\n1,2,3\n", {entry}); },
                   ExitStatus::bad_configuration);
  };
  CHECK_THAT(refused("size=N"), Contains("size=N") && Contains("parameters, tokens"));
  CHECK_THAT(refused("parameters"), Contains("parameters=Model Size"));
  CHECK_THAT(refused("parameters=N"), Contains("\"N\"") && Contains("parameters, tokens, loss"));
}

TEST_CASE("points are held back by name, and a name that fits none is told with the nearest") {
  const std::vector<FitPoint> points = {{"small", 1, 1, 1}, {"large", 2, 2, 2}, {"small", 3, 3, 3}};
  const std::vector<std::string> held = {"small"};
  const plan::DividedPoints divided = plan::divide_points(points, held);
  REQUIRE(divided.fitted.size() == 1);
  CHECK(divided.fitted[0].name == "large");
  CHECK(divided.held_back.size() == 2);
  const auto refused = [&](const std::string& name) {
    return refusal([&] { plan::divide_points(points, std::vector{name}); },
                   ExitStatus::bad_configuration);
  };
  CHECK_THAT(refused("lagre"), Contains("did you mean large?"));
  CHECK_THAT(refused("0123456789"), Contains("they are called small, large"));
}

TEST_CASE("files that are not there, and the same twice, are refused") {
  const testing::ScratchFolder folder;
  const auto read_all = [](const std::vector<std::string>& paths) {
    return plan::read_points(paths, {});
  };
  const std::string missing = (folder / "none.csv").string(), there = (folder / "a.csv").string();
  CHECK_THAT(refusal([&] { read_all({missing}); }), Contains("none.csv") && Contains("not there"));
  testing::write_file(there, "parameters,tokens,loss\n1,2,3\n");
  CHECK(read_all({there}).size() == 1);
  CHECK_THAT(refusal(
                 [&] {
                   read_all({there, folder.path() / "." / "a.csv"});
                 },
                 ExitStatus::usage),
             Contains("twice"));
  CHECK_THAT(refusal([&] { read_all({folder.path().string()}); }),
             Contains("no history.csv") && Contains("not the folder of a run"));
}
