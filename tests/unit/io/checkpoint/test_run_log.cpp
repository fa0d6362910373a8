#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>

#include "base/error.hpp"
#include "io/run_log.hpp"
#include "unit/io/checkpoint/simulated_run.hpp"

using namespace espalier;
using namespace espalier::io;
using namespace espalier::io::testing;
using Catch::Matchers::Contains;
using Catch::Matchers::EndsWith;
namespace fs = std::filesystem;

namespace {

constexpr const char* kHeader = "step,tokens,loss,grad_norm,learning_rate,tokens_per_second\n";

std::string text_of(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

HistoryRow row(std::int64_t step) {
  return {.step = step,
          .tokens = static_cast<std::uint64_t>(step) * 100,
          .loss = 0.5 * static_cast<double>(step),
          .grad_norm = 1.0,
          .learning_rate = 0.25,
          .tokens_per_second = 1000.0};
}

}  // namespace

TEST_CASE("rows are on the disk when the call returns, and read back exactly") {
  const ScratchFolder scratch;
  const RunLock lock(scratch.path() / "run");
  RunLog log(lock, 0);
  HistoryRow odd = row(1);
  odd.loss = 0.1 + 0.2;
  odd.learning_rate = 3.0000000000000004e-4;
  log.validation(1, 1.0 / 3.0, 0.125);
  log.step(odd);
  log.step(row(2));
  log.line("hello");
  const std::string history = text_of(scratch.path() / "run" / "history.csv");
  CHECK(history == std::string(kHeader) +
                       "1,100,0.30000000000000004,1,0.00030000000000000003,1000\n"
                       "2,200,1,1,0.25,1000\n");
  CHECK(text_of(scratch.path() / "run" / "validation.csv") ==
        "step,loss,bits_per_byte\n1,0.3333333333333333,0.125\n");
  CHECK_THAT(text_of(scratch.path() / "run" / "run.log"), EndsWith(" hello\n"));
}

TEST_CASE("rows of a model with experts have their columns, which are read back") {
  const ScratchFolder scratch;
  const RunLock lock(scratch.path());
  {
    RunLog log(lock, 0, /*has_experts=*/true);
    HistoryRow of_experts = row(1);
    of_experts.experts = {.balance_loss = 0.1 + 0.2,
                          .z_loss = 0.5,
                          .load = 1.5,
                          .not_chosen = 3,
                          .further_rounds = 4};
    log.step(of_experts);
    of_experts.step = 2;
    log.step(of_experts);
  }
  CHECK(text_of(scratch.path() / "history.csv") ==
        "step,tokens,loss,grad_norm,learning_rate,tokens_per_second,balance_loss,z_loss,"
        "expert_load,experts_not_chosen,further_rounds\n"
        "1,100,0.5,1,0.25,1000,0.30000000000000004,0.5,1.5,3,4\n"
        "2,100,0.5,1,0.25,1000,0.30000000000000004,0.5,1.5,3,4\n");
  const RunLog log(lock, 1, /*has_experts=*/true);
  const std::vector<HistoryRow> rows = read_history(scratch.path());
  REQUIRE(rows.size() == 1);
  REQUIRE(rows[0].experts.has_value());
  CHECK(rows[0].experts->balance_loss == 0.1 + 0.2);
  CHECK(rows[0].experts->not_chosen == 3);
  CHECK(rows[0].experts->further_rounds == 4);
  CHECK(read_history_words(scratch.path())[0].tokens_per_second == "1000");
  std::ofstream(scratch.path() / "history.csv", std::ios::app) << "3,100,0.5,1,0.25,1000\n";
  CHECK_THROWS_WITH(read_history(scratch.path()), Contains("history.csv:3"));
}

TEST_CASE("a restart continues the tables as one run") {
  const ScratchFolder scratch;
  const fs::path history = scratch.path() / "history.csv";
  const RunLock lock(scratch.path());
  {
    RunLog log(lock, 0);
    for (std::int64_t step = 1; step <= 9; ++step) log.step(row(step));
    log.validation(4, 1.0, 1.0);
    log.validation(8, 1.0, 1.0);
    log.line("first");
  }
  std::ofstream(history, std::ios::app) << "10,1000,5";                 // torn by a kill
  std::ofstream(scratch.path() / "run.log", std::ios::app) << "2026-";  // as well
  {
    RunLog log(lock, 5);
    log.step(row(6));
    log.line("second");
  }
  std::istringstream lines(text_of(history));
  std::string line;
  std::getline(lines, line);
  CHECK(line + "\n" == kHeader);
  for (int step = 1; step <= 6; ++step) {
    REQUIRE(std::getline(lines, line));
    CHECK(line.starts_with(std::to_string(step) + ","));
  }
  CHECK_FALSE(std::getline(lines, line));
  CHECK(text_of(scratch.path() / "validation.csv") == "step,loss,bits_per_byte\n4,1,1\n");
  CHECK_THAT(text_of(scratch.path() / "run.log"),
             Contains("first\n2026-\n") && EndsWith("second\n"));
  CHECK_FALSE(fs::exists(scratch.path() / "history.csv.tmp"));

  // A new run in the same directory keeps none of the rows.
  const RunLog fresh(lock, 0);
  CHECK(text_of(history) == kHeader);
}

TEST_CASE("a torn header is written anew") {
  const ScratchFolder scratch;
  std::ofstream(scratch.path() / "history.csv") << "step,tok";
  std::ofstream(scratch.path() / "validation.csv") << "";
  const RunLock lock(scratch.path());
  RunLog log(lock, 3);
  log.step(row(4));
  CHECK(text_of(scratch.path() / "history.csv") == std::string(kHeader) + "4,400,2,1,0.25,1000\n");
  CHECK(text_of(scratch.path() / "validation.csv") == "step,loss,bits_per_byte\n");
}

TEST_CASE("a log that cannot be written is an error that names the file") {
  const ScratchFolder scratch;
  std::ofstream(scratch.path() / "file") << "x";
  CHECK_THROWS_WITH(RunLock(scratch.path() / "file"), Contains("file"));
  const RunLock lock(scratch.path());
  fs::create_directory(scratch.path() / "history.csv");
  CHECK_THROWS_WITH(RunLog(lock, 0), Contains("history.csv"));
  fs::remove(scratch.path() / "history.csv");
  if (fs::exists("/dev/full")) {
    // Every write to it fails as on a full disk.
    fs::create_symlink("/dev/full", scratch.path() / "run.log");
    RunLog log(lock, 0);
    CHECK_THROWS_WITH(log.line("x"), Contains("run.log") && Contains("No space left"));
  }
}

TEST_CASE("somebody else's table of the same name is not cut") {
  for (const char* name : {"history.csv", "validation.csv"}) {
    const ScratchFolder scratch;
    const RunLock lock(scratch.path());
    const fs::path path = scratch.path() / name;
    std::ofstream(path) << "year,population\n1900,1650000000\n";
    try {
      const RunLog log(lock, 0);
      FAIL("no error was thrown");
    } catch (const Error& error) {
      CHECK(error.status() == ExitStatus::bad_configuration);
      CHECK_THAT(error.what(), Contains(path.string()) && Contains("output.directory"));
    }
    CHECK(text_of(path) == "year,population\n1900,1650000000\n");
    // What a kill left of a run's own header is no such table.
    std::ofstream(path) << "step,";
    const RunLog log(lock, 0);
  }
}
