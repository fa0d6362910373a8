#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "parallel/comm/session.hpp"
#include "unit/io/checkpoint/simulated_run.hpp"

using namespace espalier;
using namespace espalier::io;
using namespace espalier::io::testing;
namespace fs = std::filesystem;

namespace {

/// The calls of the trainer: one writer per process, agreement by collectives.
void save(parallel::Communicator& world, CheckpointWriter& writer, SimulatedRank& state,
          const std::vector<std::string>& indices, std::int64_t step, int num_tensor) {
  CheckpointInfo info;
  info.step = step;
  info.num_ranks = world.size();
  info.grid = fmt::format("tensor {} x data {}", num_tensor, world.size() / num_tensor);
  state.set_step(step);
  writer.begin(info, state.shards(), indices);
  // The update begins while the writers are at work.
  for (std::int64_t i = 0; i < state.num_states(); ++i) {
    writer.before_overwrite(i);
    state.overwrite(i, step + 1);
  }
  double written = 0.0;
  while (written == 0.0) {
    written = writer.is_written() ? 1.0 : 0.0;
    world.all_reduce_min(std::span(&written, 1));
  }
  if (world.rank() == 0) {
    writer.commit(info, indices, 2, 0);
  } else {
    writer.release();
  }
  world.barrier();
}

}  // namespace

TEST_CASE("every process writes its file, and a checkpoint of any of the grids is read by all") {
  parallel::MpiSession session(nullptr, nullptr);
  parallel::Communicator& world = session.world();
  std::optional<ScratchFolder> scratch;
  if (world.rank() == 0) scratch.emplace();
  const fs::path directory = world.broadcast(scratch ? scratch->path().string() : "", 0);

  std::int64_t step = 0;
  for (int num_tensor = 1; num_tensor <= world.size(); num_tensor *= 2) {
    const int num_data = world.size() / num_tensor;
    SimulatedRank state(grid_of(num_tensor, num_data, world.rank()));
    CheckpointWriter writer(directory, world.rank(), world.size(), CheckpointWriter::Staging::copy);
    const auto indices = world.all_gather(CheckpointWriter::encode_index(state.shards()));
    for (int round = 0; round < 3; ++round) {
      save(world, writer, state, indices, ++step, num_tensor);
      const auto newest = newest_checkpoint(directory);
      REQUIRE(newest);
      CheckpointReader reader(*newest);
      CHECK(reader.info().step == step);
      CHECK(reader.info().num_ranks == world.size());
      CHECK(compare_on_grid(reader, 1, world.size(), step) == "");
      world.barrier();  // nobody prunes what another still reads
    }
  }
  world.barrier();
}
