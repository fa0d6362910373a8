#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>

#include "io/checkpoint_files.hpp"
#include "unit/io/checkpoint/simulated_run.hpp"

using namespace espalier::io;
using namespace espalier::io::testing;
namespace fs = std::filesystem;

namespace {

std::vector<std::int64_t> steps_in(const fs::path& directory) {
  std::vector<std::int64_t> steps;
  for (const CheckpointFolder& folder : list_complete(directory)) steps.push_back(folder.step);
  return steps;
}

}  // namespace

TEST_CASE("the newest are kept, and every n-th for good") {
  const ScratchFolder scratch;
  SimulatedRun run(scratch.path(), 1, 1);
  for (std::int64_t step = 1; step <= 13; ++step) run.save(step, 2, 5);
  CHECK(steps_in(scratch.path()) == std::vector<std::int64_t>{5, 10, 12, 13});
  run.save(14, 1, 0);
  CHECK(steps_in(scratch.path()) == std::vector<std::int64_t>{14});
  run.save(15, 0, 0);  // the one just written stays whatever is asked
  CHECK(steps_in(scratch.path()) == std::vector<std::int64_t>{15});
}

TEST_CASE("after a restart from an older step the later ones are not touched") {
  const ScratchFolder scratch;
  SimulatedRun run(scratch.path(), 1, 1);
  for (const std::int64_t step : {10, 20, 30}) run.save(step, 9);
  run.save(15, 1);
  CHECK(steps_in(scratch.path()) == std::vector<std::int64_t>{15, 20, 30});
}

TEST_CASE("a checkpoint of the same step is replaced") {
  const ScratchFolder scratch;
  SimulatedRun(scratch.path(), 2, 2).save(10);
  CHECK(fs::exists(scratch.path() / "step-00000010" / "rank-00003.h5"));
  SimulatedRun run(scratch.path(), 1, 2);
  const fs::path folder = run.save(10);
  CHECK_FALSE(fs::exists(folder / "rank-00003.h5"));
  CheckpointReader reader(folder);
  CHECK(reader.info().num_ranks == 2);
  CHECK(compare_on_grid(reader, 1, 1, 10) == "");
  CHECK(list_folders(scratch.path()).size() == 1);
}

TEST_CASE("a new run removes what crashed saves left, and nothing else") {
  const ScratchFolder scratch;
  SimulatedRun(scratch.path(), 1, 1).save(10);
  for (const char* name :
       {"step-00000011.partial", "step-00000009", "step-00000008.replaced",
        "step-00000010.replaced", "step-7", "best-so-far", "step-00000012.bak"}) {
    fs::create_directories(scratch.path() / name);
    std::ofstream(scratch.path() / name / "rank-00000.h5") << "x";
  }
  std::ofstream(scratch.path() / "step-00000010.replaced" / "COMPLETE") << "step 10\n";
  std::ofstream(scratch.path() / "step-00000013") << "a file\n";
  SimulatedRun run(scratch.path(), 1, 1);
  std::vector<std::string> left;
  for (const auto& entry : fs::directory_iterator(scratch.path())) {
    left.push_back(entry.path().filename().string());
  }
  std::sort(left.begin(), left.end());
  CHECK(left == std::vector<std::string>{"best-so-far", "step-00000010", "step-00000012.bak",
                                         "step-00000013", "step-7"});
}

TEST_CASE("only folders with a marker count, and steps are compared as numbers") {
  const ScratchFolder scratch;
  CHECK_FALSE(newest_checkpoint(scratch.path() / "absent"));
  CHECK_FALSE(newest_checkpoint(scratch.path()));
  for (const char* name : {"step-00000009", "step-00000100", "step-123456789", "step-99999999"}) {
    fs::create_directories(scratch.path() / name);
    std::ofstream(scratch.path() / name / "COMPLETE") << "x";
  }
  fs::create_directories(scratch.path() / "step-00000010");
  CHECK(newest_checkpoint(scratch.path())->filename() == "step-123456789");
  CHECK(steps_in(scratch.path()) == std::vector<std::int64_t>{9, 100, 99999999, 123456789});
}
