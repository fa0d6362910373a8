#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <catch2/catch.hpp>

#include <fstream>

#include "base/error.hpp"
#include "io/run_lock.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier;
using namespace espalier::io;
using Catch::Matchers::Contains;
using espalier::testing::read_file;
using espalier::testing::ScratchFolder;
using espalier::testing::write_file;
namespace fs = std::filesystem;

namespace {

/// Time that only passes when a test is waited for; `meanwhile` is what others do in it.
LockPatience patience(
    std::function<void(double)> meanwhile = [](double) {}, bool without_locks = false) {
  return {.seconds = 10.0,
          .lease = {.beat = 0.0, .settle = 6.0, .silence = 30.0},
          .pause = std::move(meanwhile),
          .without_locks = without_locks};
}

LockPatience without_locks(std::function<void(double)> meanwhile = [](double) {}) {
  return patience(std::move(meanwhile), true);
}

std::string refusal(const fs::path& directory, LockPatience with) {
  try {
    const RunLock lock(directory, std::move(with));
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::io_error);
    return error.what();
  }
  FAIL("the lock was taken");
  return {};
}

/// A process that ends at once: its id is nobody's.
pid_t ended_process() {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(0);
  ::waitpid(pid, nullptr, 0);
  return pid;
}

LockHolder on_another_host() {
  LockHolder holder = LockHolder::this_process();
  holder.host = "node9";
  holder.machine = "another boot";
  holder.job = "Slurm job 4711";
  return holder;
}

}  // namespace

TEST_CASE("a second job is refused and told who holds the run directory, and how to end it") {
  const ScratchFolder scratch;
  const RunLock first(scratch.path());
  double waited = 0.0;
  const std::string message =
      refusal(scratch.path(), patience([&](double seconds) { waited += seconds; }));
  CHECK_THAT(message,
             Contains(scratch.path().string()) && Contains("another job") && Contains("host ") &&
                 Contains("since ") && Contains(fmt::format("process {}", ::getpid())) &&
                 Contains(fmt::format("kill {}", ::getpid())) && Contains("output.directory"));
  CHECK(waited >= 9.9);
}

TEST_CASE("a job of Slurm is named by its number") {
  const ScratchFolder scratch;
  ::setenv("SLURM_JOB_ID", "4711", 1);
  const RunLock first(scratch.path());
  ::unsetenv("SLURM_JOB_ID");
  CHECK_THAT(refusal(scratch.path(), patience()),
             Contains("Slurm job 4711") && Contains("scancel 4711"));
}

TEST_CASE("a job that ends while another waits gives it the run directory") {
  const ScratchFolder scratch;
  auto first = std::make_unique<RunLock>(scratch.path());
  const RunLock second(scratch.path(), patience([&](double) { first.reset(); }));
  second.require_held();
}

TEST_CASE("the lock of a killed job stops nobody, whatever its record says") {
  const ScratchFolder scratch;
  const pid_t child = ::fork();
  if (child == 0) {
    const RunLock held(scratch.path());
    ::_exit(0);  // no destructor runs, as after SIGKILL
  }
  int status = 1;
  ::waitpid(child, &status, 0);
  REQUIRE(status == 0);
  CHECK_THAT(read_file(scratch / ".lock"), Contains(fmt::format("process {}", child)));
  const RunLock next(scratch.path(), patience([](double) { FAIL("waited"); }));
}

TEST_CASE("one run directory under two names has one lock") {
  const ScratchFolder scratch;
  const RunLock first(scratch.path() / "run");
  fs::create_directory_symlink("run", scratch.path() / "link");
  CHECK_THAT(refusal(scratch.path() / "link", patience()), Contains("another job"));
  CHECK_THAT(refusal(scratch.path() / "run/../run/", patience()), Contains("another job"));
}

TEST_CASE("a run directory that was made for the lock alone goes with it, others stay") {
  const ScratchFolder scratch;
  { const RunLock lock(scratch.path() / "new"); }
  CHECK_FALSE(fs::exists(scratch.path() / "new"));
  {
    const RunLock lock(scratch.path() / "used");
    write_file(scratch.path() / "used/file", "x");
  }
  CHECK(fs::exists(scratch.path() / "used/file"));
  fs::create_directory(scratch.path() / "empty");
  { const RunLock lock(scratch.path() / "empty"); }
  CHECK(fs::exists(scratch.path() / "empty"));
}

TEST_CASE("whoever waited for a lock whose file was removed takes the new file's") {
  const ScratchFolder scratch;
  auto first = std::make_unique<RunLock>(scratch.path() / "run");
  const RunLock second(scratch.path() / "run", patience([&](double) { first.reset(); }));
  CHECK_THAT(refusal(scratch.path() / "run", patience()), Contains("another job"));
}

TEST_CASE("a lock that cannot be made is an error that names the file") {
  const ScratchFolder scratch;
  write_file(scratch / "file", "x");
  CHECK_THAT(refusal(scratch / "file", patience()), Contains((scratch / "file").string()));
  fs::create_directories(scratch / "run/.lock");
  CHECK_THAT(refusal(scratch / "run", patience()), Contains(".lock"));
}

TEST_CASE("without locks, a process of this machine that lives keeps others out") {
  const ScratchFolder scratch;
  const RunLock first(scratch.path(), without_locks());
  first.require_held();
  CHECK_THAT(refusal(scratch.path(), without_locks()),
             Contains("another job") && Contains(fmt::format("process {}", ::getpid())));
  first.require_held();
}

TEST_CASE("without locks, the record of a dead process of this machine stops nobody") {
  const ScratchFolder scratch;
  LockHolder dead = LockHolder::this_process();
  dead.pid = ended_process();
  write_file(scratch / ".lock", dead.text());
  double waited = 0.0;
  const RunLock lock(scratch.path(), without_locks([&](double seconds) { waited += seconds; }));
  CHECK(waited == 6.0);  // to see that nobody else takes it

  // Nor does a process that was given the same number later.
  const ScratchFolder again;
  LockHolder earlier = LockHolder::this_process();
  --earlier.start;
  write_file(again / ".lock", earlier.text());
  const RunLock other(again.path(), without_locks());
}

TEST_CASE("without locks, a job on another host keeps others out as long as it counts") {
  const ScratchFolder scratch;
  const std::string record = on_another_host().text();
  write_file(scratch / ".lock", record + "count 1\n");
  int count = 1;
  const auto counting = [&](double) {
    write_file(scratch / ".lock", record + fmt::format("count {}\n", ++count));
  };
  CHECK_THAT(refusal(scratch.path(), without_locks(counting)),
             Contains("node9") && Contains("Slurm job 4711"));
  // It was killed.
  double waited = 0.0;
  const RunLock lock(scratch.path(), without_locks([&](double seconds) { waited += seconds; }));
  CHECK(waited >= 36.0);
  CHECK_THAT(read_file(scratch / ".lock"), Contains(fmt::format("process {}", ::getpid())));
}

TEST_CASE("without locks, of two that find it free at once the one whose record stands has it") {
  const ScratchFolder scratch;
  const std::string rival = on_another_host().text();
  int count = 0;
  const auto beside = [&](double) {
    write_file(scratch / ".lock", rival + fmt::format("count {}\n", ++count));
  };
  CHECK_THAT(refusal(scratch.path(), without_locks(beside)), Contains("node9"));
}

TEST_CASE("without locks, a job whose record was replaced writes no more") {
  const ScratchFolder scratch;
  LockPatience with = without_locks();
  with.lease.settle = 0.0;  // so that every question is answered by the file
  const RunLock lock(scratch.path(), with);
  lock.require_held();
  write_file(scratch / ".lock", on_another_host().text());
  CHECK_THROWS_WITH(lock.require_held(), Contains("node9") && Contains("another job"));
}

TEST_CASE("without locks, the holder counts, and what it leaves is free") {
  const ScratchFolder scratch;
  LockPatience with = without_locks();
  with.lease.beat = 0.001;
  {
    const RunLock lock(scratch.path(), with);
    const std::string before = read_file(scratch / ".lock");
    while (read_file(scratch / ".lock") == before) ::usleep(100);
    lock.require_held();
  }
  CHECK(read_file(scratch / ".lock").empty());
  const RunLock next(scratch.path(), without_locks());
}
