#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>

#include "base/error.hpp"
#include "io/hdf5.hpp"
#include "unit/io/checkpoint/simulated_run.hpp"

using namespace espalier;
using namespace espalier::io;
using namespace espalier::io::testing;

TEST_CASE("what is saved is the state at begin, whatever the update does meanwhile") {
  const auto staging = GENERATE(CheckpointWriter::Staging::copy, CheckpointWriter::Staging::wait);
  const ScratchFolder scratch;
  SimulatedRun run(scratch.path(), 2, 2, staging);
  for (std::int64_t step = 1; step <= 30; ++step) {
    for (auto& rank : run.ranks) rank.set_step(step);
    run.begin(step);
    for (std::size_t r = 0; r < run.ranks.size(); ++r) {
      // Some rounds begin at the last shard, so that the update overtakes the writer.
      for (std::int64_t i = 0; i < run.ranks[r].num_states(); ++i) {
        const std::int64_t state = step % 2 == 0 ? i : run.ranks[r].num_states() - 1 - i;
        run.writers[r]->before_overwrite(state);
        run.ranks[r].overwrite(state, step + 1000);
      }
    }
    run.wait();
    run.commit(step);
    CheckpointReader reader(*newest_checkpoint(scratch.path()));
    REQUIRE(reader.info().step == step);
    REQUIRE(compare_on_grid(reader, 1, 1, step) == "");
  }
}

TEST_CASE("with copies, an update does not wait for a writer that cannot go on") {
  const ScratchFolder scratch;
  SimulatedRun run(scratch.path(), 1, 1, CheckpointWriter::Staging::copy);
  auto& rank = run.ranks[0];
  rank.set_step(5);
  {
    // The thread stands before its first HDF5 call for as long as we hold the lock.
    const auto lock = hdf5_lock();
    run.begin(5);
    for (std::int64_t i = 0; i < rank.num_states(); ++i) {
      run.writers[0]->before_overwrite(i);
      rank.overwrite(i, 6);
      run.writers[0]->before_overwrite(i);  // a second update of the same state
      rank.overwrite(i, 7);
    }
    CHECK_FALSE(run.writers[0]->is_written());
    CHECK(run.writers[0]->is_saving());
  }
  run.wait();
  CHECK(run.writers[0]->is_written());
  run.commit(5);
  CHECK_FALSE(run.writers[0]->is_saving());
  CHECK_FALSE(run.writers[0]->is_written());
  CheckpointReader reader(*newest_checkpoint(scratch.path()));
  CHECK(compare_on_grid(reader, 1, 1, 5) == "");
}

TEST_CASE("what the next update would meet unwritten is copied before it comes") {
  const ScratchFolder scratch;
  const parallel::ProcessGrid grid = grid_of(1, 1, 0);
  SimulatedRank rank(grid);
  rank.set_step(5);
  std::mutex mutex;
  std::condition_variable fetched;
  std::int64_t num_fetched = 0;
  CheckpointWriter writer(scratch.path(), 0, 1, CheckpointWriter::Staging::copy,
                          [&](float* to, const float* from, std::int64_t count) {
                            std::copy_n(from, count, to);
                            const std::lock_guard lock(mutex);
                            ++num_fetched;
                            fetched.notify_all();
                          });
  const std::vector<CheckpointShard> shards = rank.shards();
  const std::string index = CheckpointWriter::encode_index(shards);
  const CheckpointInfo info = SimulatedRun(scratch.path() / "other", 1, 1).info(5);
  {
    const auto lock = hdf5_lock();  // the writer's thread cannot go on
    writer.begin(info, shards);
    std::unique_lock counting(mutex);
    const auto all = static_cast<std::int64_t>(shards.size()) * 3;
    REQUIRE(
        fetched.wait_for(counting, std::chrono::minutes(10), [&] { return num_fetched == all; }));
    counting.unlock();
    for (std::int64_t i = 0; i < rank.num_states(); ++i) {
      writer.before_overwrite(i);
      rank.overwrite(i, 6);
    }
    CHECK(num_fetched == all);
  }
  writer.wait();
  writer.commit(info, std::span(&index, 1), {});
  CheckpointReader reader(*newest_checkpoint(scratch.path()));
  CHECK(compare_on_grid(reader, 1, 1, 5) == "");
}

TEST_CASE("a save that no update follows copies nothing") {
  const ScratchFolder scratch;
  SimulatedRank rank(grid_of(1, 1, 0));
  rank.set_step(5);
  std::mutex mutex;
  std::set<std::thread::id> threads;
  CheckpointWriter writer(scratch.path(), 0, 1, CheckpointWriter::Staging::copy,
                          [&](float* to, const float* from, std::int64_t count) {
                            std::copy_n(from, count, to);
                            const std::lock_guard lock(mutex);
                            threads.insert(std::this_thread::get_id());
                          });
  const CheckpointInfo info = SimulatedRun(scratch.path() / "other", 1, 1).info(5);
  writer.expect_no_update();
  {
    const auto lock = hdf5_lock();  // a copier would have time to begin
    writer.begin(info, rank.shards());
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const std::lock_guard counting(mutex);
    CHECK(threads.empty());
  }
  writer.wait();
  CHECK(threads.size() == 1);
}

TEST_CASE("outside a save an update may change everything") {
  const ScratchFolder scratch;
  SimulatedRun run(scratch.path(), 1, 1);
  run.writers[0]->before_overwrite(0);
  run.writers[0]->wait();
  run.save(1);
  run.writers[0]->before_overwrite(0);
  run.writers[0]->before_overwrite(12345);
  run.writers[0]->release();
  CHECK_FALSE(run.writers[0]->is_saving());
}

TEST_CASE("a save given up leaves nothing, at whatever moment") {
  const ScratchFolder scratch;
  for (std::int64_t step = 1; step <= 10; ++step) {
    SimulatedRun run(scratch.path(), 2, 1);
    run.begin(step);
    if (step % 2 == 0) run.wait();
    for (auto& writer : run.writers) {
      if (step % 3 == 0) writer->discard();  // otherwise the destructor does
    }
  }
  CHECK(std::filesystem::is_empty(scratch.path()));
}
