// What is wrong with the folder of a run. Whole runs: tests/program/plan/test_fit.py.
#include <catch2/catch.hpp>
#include <filesystem>

#include "base/error.hpp"
#include "plan/scaling/fit_points.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier;
using Catch::Contains;

namespace {

constexpr const char* kHeader = "step,tokens,loss,grad_norm,learning_rate,tokens_per_second\n";

/// Of a folder with this history.
std::string refusal(const std::string& history) {
  const testing::ScratchFolder folder;
  testing::write_file(folder / "history.csv", history);
  try {
    plan::point_of_run(folder.path().string(), {});
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::bad_data);
    return error.what();
  }
  return "taken";
}

}  // namespace

TEST_CASE("a history that is empty, cut off or no history is refused with its line") {
  const std::string header = kHeader;
  CHECK_THAT(refusal(""), Contains("history.csv") && Contains("empty"));
  CHECK_THAT(refusal(header), Contains("no step"));
  CHECK_THAT(refusal(header + "1,256,9.0,1,1,1\n2,512,8."),
             Contains("history.csv:3") && Contains("cut off") && Contains("Continue"));
  CHECK_THAT(refusal(header + "1,256,9.0,1,1,1\n2,512\n"), Contains("history.csv:3"));
  CHECK_THAT(refusal(header + "1,256,9.0,1,1,1\n3,768,8.0,1,1,1\n"),
             Contains("step 3 where step 2 is expected"));
  CHECK_THAT(refusal(header + "100,256,9.0,1,1,1\n"), Contains("step 1 is expected"));
  CHECK_THAT(refusal(header + "1,256,high,1,1,1\n"), Contains("loss is \"high\""));
  CHECK_THAT(refusal("step,loss\n1,9\n"), Contains("no column tokens"));
}

TEST_CASE("a run without a checkpoint is refused: nothing else says how many parameters it has") {
  CHECK_THAT(refusal(std::string(kHeader) + "1,256,9.0,1,1,1\n"),
             Contains("no complete checkpoint") && Contains("CSV"));
}

TEST_CASE("a folder of runs is no run, and the message says how to name them") {
  const testing::ScratchFolder folder;
  std::filesystem::create_directory(folder / "run-1");
  testing::write_file(folder / "run-1/history.csv", kHeader);
  try {
    plan::point_of_run(folder.path().string(), {});
    FAIL("taken");
  } catch (const Error& error) {
    CHECK_THAT(error.what(), Contains("There are runs in it") && Contains("/*"));
  }
}
