#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <random>
#include <thread>

#include "base/error.hpp"
#include "io/checkpoint_files.hpp"
#include "unit/io/checkpoint/simulated_run.hpp"

using namespace espalier;
using namespace espalier::io;
using namespace espalier::io::testing;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

/// Starts the victim and kills it after `delay`; its exit status when it ended by itself, else -1.
int run_and_kill(const char* mode, const fs::path& directory, std::chrono::microseconds delay) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::execl(ESPALIER_VICTIM, ESPALIER_VICTIM, mode, directory.c_str(), nullptr);
    ::_exit(127);
  }
  std::this_thread::sleep_for(delay);
  ::kill(child, SIGKILL);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

struct Output {
  int status;
  std::string text;
};

Output run_victim(const char* mode, const fs::path& directory) {
  const std::string command =
      std::string(ESPALIER_VICTIM) + " " + mode + " '" + directory.string() + "' 2>&1";
  FILE* pipe = ::popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  Output output{0, ""};
  std::array<char, 4096> block;
  while (const std::size_t got = std::fread(block.data(), 1, block.size(), pipe)) {
    output.text.append(block.data(), got);
  }
  const int status = ::pclose(pipe);
  output.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return output;
}

}  // namespace

TEST_CASE("killed at any moment, a run leaves a complete checkpoint and starts again") {
  const char* mode = GENERATE("save", "again");
  const ScratchFolder scratch;
  // The first checkpoint is made in peace: there is nothing to fall back on before it.
  SimulatedRun(scratch.path(), 2, 2).save(1);
  std::mt19937 random(20240701);
  std::uniform_int_distribution<int> delay(1000, 250'000);
  std::int64_t last_step = 1;
  for (int round = 0; round < 30; ++round) {
    CAPTURE(mode, round);
    REQUIRE(run_and_kill(mode, scratch.path(), std::chrono::microseconds(delay(random))) == -1);
    const auto newest = newest_checkpoint(scratch.path());
    REQUIRE(newest);
    CheckpointReader reader(*newest);
    REQUIRE(reader.info().step >= last_step);
    last_step = reader.info().step;
    REQUIRE(compare_on_grid(reader, 1, 1, last_step) == "");
  }
  if (std::string(mode) == "save") CHECK(last_step > 2);
  // A restart cleans up: at most the two newest and the multiples of ten are left.
  SimulatedRun run(scratch.path(), 2, 2);
  run.save(last_step + 1, 2, 10);
  for (const CheckpointFolder& folder : list_folders(scratch.path())) {
    CHECK(folder.kind == CheckpointFolder::Kind::named);
    CHECK(folder.has_marker);
    CHECK((folder.step >= last_step || folder.step % 10 == 0));
  }
}

TEST_CASE("a disk that does not take the checkpoint is an error that says so") {
  const auto [mode, reason] =
      GENERATE(std::pair("limit", "File too large"), std::pair("full", "No space left on device"),
               std::pair("commit", "No space left on device"));
  const ScratchFolder scratch;
  const Output output = run_victim(mode, scratch.path());
  if (output.status == 77) {
    WARN("this machine does not allow to mount a small disk; not tested: " << mode);
    return;
  }
  CAPTURE(mode, output.text);
  CHECK(output.status == 0);
  CHECK_THAT(output.text, Contains("status 74: checkpoint of step 1: ") && Contains(reason));
  CHECK_THAT(output.text, Contains("no complete checkpoint yet") && Contains("submit the same"));
  CHECK_THAT(output.text, Contains("nothing left") && !Contains("forgotten"));
}

TEST_CASE("a folder that cannot be made is an error that names it and the last checkpoint") {
  const ScratchFolder scratch;
  SimulatedRun run(scratch.path(), 1, 1);
  run.save(1);
  std::ofstream(scratch.path() / "step-00000002.partial") << "a file in place of the folder\n";
  run.begin(2);
  CHECK_THROWS_WITH(run.wait(), Contains("step-00000002.partial") &&
                                    Contains("last complete checkpoint is") &&
                                    Contains("step-00000001"));
  CHECK_THROWS_AS(run.writers[0]->is_written(), Error);
  run.writers[0]->discard();
  fs::remove(scratch.path() / "step-00000002.partial");
  run.save(3);
  CHECK(newest_checkpoint(scratch.path())->filename() == "step-00000003");

  std::ofstream(scratch.path() / "file") << "x";
  CHECK_THROWS_WITH(SimulatedRun(scratch.path() / "file" / "sub", 1, 1), Contains("file/sub"));
}

TEST_CASE("a checkpoint being replaced counts until the new one is complete") {
  const ScratchFolder scratch;
  SimulatedRun(scratch.path(), 1, 2).save(4);
  // As a kill between the two renames leaves it.
  fs::rename(scratch.path() / "step-00000004", scratch.path() / "step-00000004.replaced");
  fs::create_directory(scratch.path() / "step-00000004.partial");
  const auto newest = newest_checkpoint(scratch.path());
  REQUIRE(newest);
  CHECK(newest->filename() == "step-00000004.replaced");
  CheckpointReader reader(*newest);
  CHECK(compare_on_grid(reader, 1, 1, 4) == "");

  SimulatedRun run(scratch.path(), 2, 1);
  CHECK(newest_checkpoint(scratch.path()) == newest);
  CHECK(list_folders(scratch.path()).size() == 1);
  run.save(4);
  CHECK(newest_checkpoint(scratch.path())->filename() == "step-00000004");
  CHECK(list_folders(scratch.path()).size() == 1);
}
