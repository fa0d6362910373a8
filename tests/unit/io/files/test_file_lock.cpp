#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <fstream>
#include <memory>

#include "base/error.hpp"
#include "flock.hpp"
#include "io/file_lock.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier;
using Catch::Matchers::Contains;
using espalier::io::FileLock;
using espalier::testing::ScratchFolder;
using espalier::testing::write_file;

namespace {

const io::LockPurpose kPurpose{.busy = "data/shards is being written by another job",
                               .remedy = "choose another tokenize.output"};

std::string refusal(const std::filesystem::path& path) {
  try {
    const FileLock lock(path, kPurpose, {.seconds = 0.0});
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::io_error);
    return error.what();
  }
  return "";
}

/// Adds one to the number in a file, as only one process at a time may.
void count(const std::filesystem::path& path) {
  int number = 0;
  std::ifstream(path) >> number;
  std::ofstream(path) << number + 1;
}

}  // namespace

TEST_CASE("A lock is held by one, named to the other, and gone afterwards", "[file_lock]") {
  const ScratchFolder folder;
  const auto path = folder / "x.lock";
  {
    const FileLock lock(path, kPurpose);
    CHECK_THAT(refusal(path), Contains("data/shards is being written by another job") &&
                                  Contains("process " + std::to_string(::getpid())) &&
                                  Contains("choose another tokenize.output"));
  }
  CHECK_FALSE(std::filesystem::exists(path));
  CHECK(refusal(path) == "");
}

TEST_CASE("What a killed process left is no lock", "[file_lock]") {
  const ScratchFolder folder;
  write_file(folder / "x.lock", "process 1 on elsewhere\n");
  CHECK(refusal(folder / "x.lock") == "");
}

TEST_CASE("Without locks a lease keeps others out", "[file_lock]") {
  for (const int error : {ENOLCK, ENOSYS, EOPNOTSUPP}) {
    const ScratchFolder folder;
    const auto path = folder / "x.lock";
    const testing::NoLocks none(error);
    const io::LockPatience patience{.lease = {.beat = 0.0}, .pause = [](double) {}};
    const FileLock lock(path, kPurpose, patience);
    CHECK_THROWS_WITH(FileLock(path, kPurpose, patience),
                      Contains("data/shards is being written by another job") &&
                          Contains("process " + std::to_string(::getpid())));
    lock.require_held();
  }
}

TEST_CASE("The folder of a lock is made, and a lock that cannot be made is named", "[file_lock]") {
  const ScratchFolder folder;
  CHECK(refusal(folder / "new/x.lock") == "");
  write_file(folder / "file", "x");
  CHECK_THAT(refusal(folder / "file/x.lock"), Contains((folder / "file").string()));
}

TEST_CASE("Processes that want the same lock are never inside together", "[file_lock]") {
  constexpr int kProcesses = 4, kRounds = 40;
  const ScratchFolder folder;
  for (int child = 0; child < kProcesses; ++child) {
    if (::fork() != 0) continue;
    for (int done = 0; done < kRounds;) {
      try {
        const FileLock lock(folder / "x.lock", kPurpose, {.seconds = 1.0});
        count(folder / "number");
        ++done;
      } catch (const Error&) {
        // The others were faster for a while.
      }
    }
    ::_exit(0);
  }
  for (int child = 0; child < kProcesses; ++child) ::wait(nullptr);
  int number = 0;
  std::ifstream(folder / "number") >> number;
  CHECK(number == kProcesses * kRounds);
}
