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

std::string refusal(const std::filesystem::path& path) {
  try {
    const FileLock lock(path, "data/shards is being written");
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
    const FileLock lock(path, "x");
    CHECK_THAT(refusal(path), Contains("data/shards is being written by another job") &&
                                  Contains("process " + std::to_string(::getpid())) &&
                                  Contains("x.lock"));
  }
  CHECK_FALSE(std::filesystem::exists(path));
  CHECK(refusal(path) == "");
}

TEST_CASE("What a killed process left is no lock", "[file_lock]") {
  const ScratchFolder folder;
  write_file(folder / "x.lock", "process 1 on elsewhere\n");
  CHECK(refusal(folder / "x.lock") == "");
}

TEST_CASE("Without locks the file is the lock, and the message says what to do", "[file_lock]") {
  for (const int error : {ENOLCK, ENOSYS, EOPNOTSUPP}) {
    const ScratchFolder folder;
    const auto path = folder / "x.lock";
    const testing::NoLocks none(error);
    {
      const FileLock lock(path, "x");
      CHECK_THAT(refusal(path), Contains("no locks") && Contains("x.lock") &&
                                    Contains("process " + std::to_string(::getpid())));
    }
    CHECK(refusal(path) == "");
    write_file(path, "process 1 on elsewhere\n");
    CHECK_THAT(refusal(path), Contains("process 1 on elsewhere") && Contains("remove the file"));
  }
}

TEST_CASE("A lock whose folder is not there is an error", "[file_lock]") {
  const ScratchFolder folder;
  CHECK_THAT(refusal(folder / "none/x.lock"), Contains("x.lock") && Contains("No such file"));
}

TEST_CASE("Processes that want the same lock are never inside together", "[file_lock]") {
  constexpr int kProcesses = 4, kRounds = 40;
  const ScratchFolder folder;
  for (int child = 0; child < kProcesses; ++child) {
    if (::fork() != 0) continue;
    for (int done = 0; done < kRounds;) {
      try {
        const FileLock lock(folder / "x.lock", "x");
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
