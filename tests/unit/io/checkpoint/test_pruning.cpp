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
  for (std::int64_t step = 1; step <= 13; ++step) run.save(step, {.newest = 2, .every = 5});
  CHECK(steps_in(scratch.path()) == std::vector<std::int64_t>{5, 10, 12, 13});
  run.save(14, {.newest = 1});
  CHECK(steps_in(scratch.path()) == std::vector<std::int64_t>{14});
  run.save(15, {.newest = 0});  // the one just written stays whatever is asked
  CHECK(steps_in(scratch.path()) == std::vector<std::int64_t>{15});
}

TEST_CASE("after a restart from an older step the later ones are not touched") {
  const ScratchFolder scratch;
  SimulatedRun run(scratch.path(), 1, 1);
  for (const std::int64_t step : {10, 20, 30}) run.save(step, {.newest = 9});
  run.save(15, {.newest = 1});
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

namespace {

/// A complete checkpoint as far as pruning looks; saved_at 0: its marker does not say when.
void add_checkpoint(const fs::path& directory, std::int64_t step, std::int64_t saved_at) {
  const fs::path folder = directory / step_folder_name(step);
  fs::create_directories(folder);
  CheckpointInfo info;
  info.step = step;
  info.saved_at = saved_at;
  std::ofstream(folder / "COMPLETE") << marker_text(info);
}

}  // namespace

TEST_CASE("of every so many hours the first checkpoint is kept for good") {
  const ScratchFolder scratch;
  constexpr std::int64_t kHour = 3600;
  const auto prune_all = [&](std::int64_t step) {
    return prune(scratch.path(), step, {.newest = 1, .hours = 2.0});
  };
  // A save every 40 minutes from 0:40 on, in spans of two hours.
  for (std::int64_t i = 1; i <= 12; ++i) {
    add_checkpoint(scratch.path(), i, 100 * kHour + i * 40 * 60);
    prune_all(i);
  }
  CHECK(steps_in(scratch.path()) == std::vector<std::int64_t>{1, 3, 6, 9, 12});
  // The clock is set back by seven hours: what was kept stays, and a new span begins.
  for (std::int64_t i = 13; i <= 18; ++i) {
    add_checkpoint(scratch.path(), i, 93 * kHour + i * 40 * 60);
    prune_all(i);
  }
  CHECK(steps_in(scratch.path()) == std::vector<std::int64_t>{1, 3, 6, 9, 12, 13, 14, 17, 18});
  // A clock that jumps years ahead, and one that the marker does not tell.
  add_checkpoint(scratch.path(), 19, 1'000'000 * kHour);
  add_checkpoint(scratch.path(), 20, 0);
  add_checkpoint(scratch.path(), 21, 1'000'000 * kHour + 1);
  CHECK(prune_all(21).empty());
  CHECK(steps_in(scratch.path()) == std::vector<std::int64_t>{1, 3, 6, 9, 12, 13, 14, 17, 19, 21});
}

TEST_CASE("the rules of keeping add up") {
  const ScratchFolder scratch;
  for (std::int64_t i = 1; i <= 9; ++i) add_checkpoint(scratch.path(), i, 3600 * 10 + i * 900);
  prune(scratch.path(), 9, {.newest = 2, .every = 5, .hours = 1.0});
  CHECK(steps_in(scratch.path()) == std::vector<std::int64_t>{1, 4, 5, 8, 9});
}

TEST_CASE("a save says when it was begun, in the checkpoint and in its marker") {
  const ScratchFolder scratch;
  SimulatedRun run(scratch.path(), 1, 1);
  run.ranks[0].set_step(3);
  CheckpointInfo info = run.info(3);
  info.saved_at = 1'790'000'000;
  info.job = "job 2, Slurm 4711 on node012";
  const auto indices = run.indices();
  run.writers[0]->begin(info, run.ranks[0].shards());
  run.writers[0]->wait();
  run.writers[0]->commit(info, indices, {});
  const fs::path folder = *newest_checkpoint(scratch.path());
  CHECK(saved_at(folder) == 1'790'000'000);
  const CheckpointReader reader(folder);
  CHECK(reader.info().saved_at == 1'790'000'000);
  CHECK(reader.info().job == info.job);
  std::ofstream(folder / "COMPLETE") << "step 3\nsaved_at 17900000000000000000000\n";
  CHECK(saved_at(folder) == 0);
}
