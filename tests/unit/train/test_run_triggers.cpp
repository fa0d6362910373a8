#include <catch2/catch.hpp>
#include <chrono>
#include <fstream>

#include "support/scratch_folder.hpp"
#include "train/run_triggers.hpp"

using namespace espalier;
using namespace espalier::train;
namespace fs = std::filesystem;

namespace {

void touch(const fs::path& path) {
  std::ofstream(path).put('\n');
}

}  // namespace

TEST_CASE("files of a run directory are seen once a second, and go when they were honoured") {
  const testing::ScratchFolder folder;
  RunTriggers triggers(folder.path());
  RunTriggers::Clock::time_point now;
  touch(folder / "history.csv");
  touch(folder / "stop");
  triggers.look(now);
  CHECK(triggers.is_asked(Trigger::stop));
  CHECK(!triggers.is_asked(Trigger::save));
  touch(folder / "save");
  triggers.look(now + std::chrono::milliseconds(900));
  CHECK(!triggers.is_asked(Trigger::save));
  triggers.look(now + std::chrono::milliseconds(1000));
  CHECK(triggers.is_asked(Trigger::save));
  // Until it is honoured the request stands, also when somebody takes the file away.
  fs::remove(folder / "stop");
  triggers.look(now + std::chrono::seconds(3));
  CHECK(triggers.is_asked(Trigger::stop));
  triggers.honoured(Trigger::stop);
  CHECK(!triggers.is_asked(Trigger::stop));
  triggers.honoured(Trigger::save);
  CHECK(!fs::exists(folder / "save"));
  CHECK(fs::exists(folder / "history.csv"));
  triggers.look(now + std::chrono::seconds(5));
  CHECK(!triggers.is_asked(Trigger::save));
}

TEST_CASE("what was not asked for is not removed") {
  const testing::ScratchFolder folder;
  RunTriggers triggers(folder.path());
  triggers.look();
  touch(folder / "save");
  triggers.honoured(Trigger::save);
  CHECK(fs::exists(folder / "save"));
}

TEST_CASE("a file that cannot be removed is heard once, until it has gone") {
  const testing::ScratchFolder folder;
  fs::create_directories(folder / "save" / "full");
  RunTriggers triggers(folder.path());
  RunTriggers::Clock::time_point now;
  triggers.look(now);
  CHECK(triggers.is_asked(Trigger::save));
  triggers.honoured(Trigger::save);
  triggers.look(now + std::chrono::seconds(2));
  CHECK(!triggers.is_asked(Trigger::save));
  fs::remove_all(folder / "save");
  triggers.look(now + std::chrono::seconds(4));
  touch(folder / "save");
  triggers.look(now + std::chrono::seconds(6));
  CHECK(triggers.is_asked(Trigger::save));
}

TEST_CASE("a directory that cannot be read asks for nothing") {
  RunTriggers triggers("/no/such/directory");
  triggers.look();
  for (const Trigger trigger : kTriggers) CHECK(!triggers.is_asked(trigger));
}
