#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "parallel/comm/on_rank_0.hpp"
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
    writer.commit(info, indices, {});
  } else {
    writer.release();
  }
  world.barrier();
}

CheckpointReader::Company company(parallel::MpiSession& session) {
  return {.rank = session.rank(),
          .num_ranks = session.size(),
          .on_rank_0 =
              [&](const std::function<std::string()>& action) {
                return parallel::on_rank_0(session, action);
              },
          .least =
              [&](double mine) {
                session.world().all_reduce_min(std::span(&mine, 1));
                return mine;
              }};
}

/// A checkpoint of 2 x 3 simulated ranks, made by rank 0 under a folder that lives there.
fs::path simulated_checkpoint(parallel::MpiSession& session, std::optional<ScratchFolder>& scratch,
                              std::int64_t step) {
  return parallel::on_rank_0(session, [&] {
    SimulatedRun run(scratch.emplace().path(), 2, 3);
    return run.save(step).string();
  });
}

}  // namespace

TEST_CASE("ranks that read together get what each wants, from what rank 0 alone has read") {
  parallel::MpiSession session(nullptr, nullptr);
  std::optional<ScratchFolder> scratch;
  const fs::path folder = simulated_checkpoint(session, scratch, 5);
  const int d = session.rank(), num_data = session.size();
  const auto wanted = wanted_of_rank(0, 1, d, num_data);
  const CheckpointReader alone(folder);
  session.world().barrier();
  CheckpointReader reader(folder, CheckpointReader::Verify::everything, wanted, company(session));
  CHECK(reader.info().resolved_input == alone.info().resolved_input);
  CHECK(reader.info().build == alone.info().build);
  CHECK(reader.info().grid == alone.info().grid);
  CHECK(reader.info().step == 5);
  CHECK(reader.info().num_ranks == 6);
  CHECK(reader.tensors().size() == alone.tensors().size());
  CHECK(compare_on_rank(reader, 0, 1, d, num_data, 5) == "");
  // A rank that wants nothing keeps nothing of the index.
  const CheckpointReader idle(folder, CheckpointReader::Verify::everything, {}, company(session));
  CHECK(idle.rectangles().size() == (session.rank() == 0 ? alone.rectangles().size() : 0));
  session.world().barrier();
}

TEST_CASE("what is wrong with a checkpoint is met by every rank that reads it") {
  parallel::MpiSession session(nullptr, nullptr);
  const auto error = [&](const fs::path& folder) -> std::string {
    const auto wanted = wanted_of_rank(0, 1, session.rank(), session.size());
    try {
      CheckpointReader(folder, CheckpointReader::Verify::everything, wanted, company(session));
    } catch (const Error& met) {
      CHECK(met.status() == ExitStatus::bad_data);
      CHECK(met.met() == Met::by_every_rank);
      return met.what();
    }
    return "";
  };
  for (const char* file :
       {"rank-00000.h5", "rank-00003.h5", "rank-00005.h5", "master.h5", "COMPLETE"}) {
    std::optional<ScratchFolder> scratch;
    const fs::path folder = simulated_checkpoint(session, scratch, 1);
    CHECK(error(folder) == "");
    const bool is_rank_file = std::string_view(file).starts_with("rank");
    if (is_rank_file) {
      if (session.rank() == 0) fs::resize_file(folder / file, fs::file_size(folder / file) - 1);
      session.world().barrier();
      CHECK_THAT(error(folder),
                 Catch::Matchers::Contains(file) && Catch::Matchers::Contains("truncated"));
    }
    if (session.rank() == 0) fs::remove(folder / file);
    session.world().barrier();
    CHECK_THAT(error(folder), Catch::Matchers::Contains(file));
    session.world().barrier();
  }
}

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
