#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "base/error.hpp"
#include "io/checkpoint_files.hpp"
#include "unit/io/checkpoint/simulated_run.hpp"

using namespace espalier;
using namespace espalier::io;
using namespace espalier::io::testing;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

/// Starts the victim, which is killed at its `change`-th change of files under the directory (see
/// tests/support/killed_at_change.cpp); its exit status when it ended by itself before, -1 when it
/// was killed.
int run_and_kill(const char* mode, const fs::path& directory, int change) {
  const std::string under = fs::canonical(directory).string();
  const std::string at = std::to_string(change);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::setenv("ESPALIER_KILL_UNDER", under.c_str(), 1);
    ::setenv("ESPALIER_KILL_AT", at.c_str(), 1);
    ::setenv("LD_PRELOAD", ESPALIER_KILLED_AT_CHANGE, 1);
    // The sanitizers' library may be loaded after it.
    ::setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 1);
    ::execl(ESPALIER_VICTIM, ESPALIER_VICTIM, mode, under.c_str(), nullptr);
    ::_exit(127);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  REQUIRE(WTERMSIG(status) == SIGKILL);
  return -1;
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
  // The first checkpoints are made in peace: there is nothing to fall back on before them.
  std::int64_t last_step = 0;
  for (SimulatedRun run(scratch.path(), 2, 2); last_step < 3;) run.save(++last_step);
  int change = 0;
  for (int status = -1; status == -1;) {
    CAPTURE(mode, ++change);
    status = run_and_kill(mode, scratch.path(), change);
    REQUIRE((status == -1 || status == 0));
    // All that count are whole, also one that was about to be removed.
    const auto complete = list_complete(scratch.path());
    REQUIRE(!complete.empty());
    for (const CheckpointFolder& folder : complete) {
      CheckpointReader reader(folder.path);
      REQUIRE(reader.info().step == folder.step);
      REQUIRE(compare_on_grid(reader, 1, 1, folder.step) == "");
    }
    REQUIRE(newest_checkpoint(scratch.path()) == complete.back().path);
    REQUIRE(complete.back().step >= last_step);
    last_step = complete.back().step;
  }
  CAPTURE(mode, change, last_step);
  // Not in vain: two saves change at least so much, and the later kills came after the first.
  CHECK(change > 40);
  CHECK((last_step > 13) == (std::string(mode) == "save"));
  // A restart cleans up: at most the two newest and the multiples of ten are left.
  SimulatedRun run(scratch.path(), 2, 2);
  run.save(last_step + 1, {.newest = 2, .every = 10});
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
