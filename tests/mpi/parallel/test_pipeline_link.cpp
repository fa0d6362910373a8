#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/activity.hpp"
#include "parallel/comm/mpi_pipeline_link.hpp"
#include "played_program.hpp"

using namespace espalier;
using namespace espalier::testing;
using device::view_of;
using parallel::GridShape;
using parallel::ProcessGrid;

namespace {

/// Grids of all ranks with a pipeline, others beside it too.
std::vector<GridShape> pipeline_grids(int n) {
  std::vector<GridShape> grids{{.pipeline = n}};
  if (n == 4) grids.push_back({.tensor = 1, .data = 2, .pipeline = 2});
  if (n == 4) grids.push_back({.tensor = 2, .data = 1, .pipeline = 2});
  return grids;
}

void play_all(device::Context& context, std::int64_t floats, std::vector<int> micro_batches) {
  parallel::MpiSession session(nullptr, nullptr);
  for (const GridShape& shape : pipeline_grids(session.size())) {
    const ProcessGrid grid(shape, session.rank());
    const int place = grid.rank() % shape.stage_size();
    for (const int m : micro_batches)
      for (const pipeline::Schedule& schedule : schedules_of(shape.pipeline, m)) {
        CAPTURE(pipeline::name_of(schedule.kind), schedule.placement.chunks, m, grid.describe());
        const pipeline::Program program = pipeline::lower(schedule);
        parallel::CountingLink link(
            parallel::make_pipeline_link(session, grid, schedule.placement, context));
        PlayedProgram played(context, link, program, grid.pipeline_rank(), place, floats);
        for (int step = 0; step < 2; ++step) played.play();
        REQUIRE(played.num_checked() == 2 * played.num_expected());
        REQUIRE(link.is_idle());
        const auto& mine = program.ranks[static_cast<std::size_t>(grid.pipeline_rank())];
        REQUIRE(link.bytes_sent() == 2 * mine.num_messages * floats * 4);
        std::int64_t counted = 0;
        for (const auto& [key, cost] : link.sent()) counted += cost.bytes;
        REQUIRE(counted == link.bytes_sent());
      }
  }
}

/// A link along all ranks whose messages are cut into parts of `part_bytes`.
std::unique_ptr<parallel::MpiPipelineLink> link_with_parts(int ranks, std::int64_t part_bytes) {
  MPI_Comm duplicate = MPI_COMM_NULL;
  parallel::check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &duplicate), "MPI_Comm_dup");
  return std::make_unique<parallel::MpiPipelineLink>(duplicate, pipeline::Placement{.ranks = ranks},
                                                     nullptr, nullptr, part_bytes);
}

pipeline::Action residual(int stage, int micro_batch) {
  return {pipeline::ActionKind::forward, stage, micro_batch};
}

}  // namespace

TEST_CASE("every schedule's messages arrive where and when they are taken in", "[link]") {
  device::Context host;
  play_all(host, 64, {1, 3, 4, 8});
}

TEST_CASE("so do messages that MPI does not send ahead", "[link]") {
  device::Context host;
  play_all(host, 100000, {8});
}

TEST_CASE("messages of GPU memory pass through the host", "[link]") {
  device::Context context(device::Gpu::open(device::Backend::emulated, 0));
  play_all(context, 3001, {2, 8});
}

TEST_CASE("a message longer than MPI counts goes in parts", "[link]") {
  parallel::MpiSession session(nullptr, nullptr);
  const int n = session.size(), rank = session.rank();
  const auto link = link_with_parts(n, 100);
  for (const std::int64_t count : {0, 1, 25, 26, 1000}) {
    std::vector<float> out = data_of<float>(rank, count), in(out.size());
    if (rank > 0) link->post_receive(residual(rank, 0), rank - 1, view_of(in.data(), 1, count));
    if (rank + 1 < n)
      link->post_send(residual(rank + 1, 0), rank + 1, view_of(out.data(), 1, count));
    if (rank > 0) link->wait_receive(residual(rank, 0));
    if (rank + 1 < n) link->wait_send(residual(rank + 1, 0));
    if (rank > 0) REQUIRE(same_bits(in, data_of<float>(rank - 1, count)));
  }
}

TEST_CASE("who waits says for what, and from whom", "[link]") {
  parallel::MpiSession session(nullptr, nullptr);
  const int n = session.size(), rank = session.rank();
  const auto link = link_with_parts(n, 1 << 20);
  if (n == 1) return;
  // A watching thread may not call MPI: it tells the sender by a file.
  std::string template_path = "/tmp/espalier_link_XXXXXX";
  if (rank == 0) REQUIRE(mkdtemp(template_path.data()) != nullptr);
  const std::filesystem::path folder = session.world().broadcast(template_path, 0);
  const auto seen = folder / "seen";
  std::vector<float> data(100, 1.0F);
  if (rank == 0) {
    while (!std::filesystem::exists(seen)) std::this_thread::yield();
    link->post_send(residual(1, 3), 1, view_of(data.data(), 1, 100));
    link->wait_send(residual(1, 3));
  } else if (rank == 1) {
    const std::string expected =
        "waiting for the residual stream of micro-batch 3 from pipeline rank 0";
    link->post_receive(residual(1, 3), 0, view_of(data.data(), 1, 100));
    std::thread watch([&] {
      while (activity::now().name != expected) std::this_thread::yield();
      std::ofstream(seen) << "yes";
    });
    link->wait_receive(residual(1, 3));
    watch.join();
    CHECK(activity::now().name != expected);
  }
  session.world().barrier();
  if (rank == 0) std::filesystem::remove_all(folder);
}

TEST_CASE("a long message leaves while its sender computes, which looks after it now and then") {
  parallel::MpiSession session(nullptr, nullptr);
  const int n = session.size(), rank = session.rank();
  const auto link = link_with_parts(n, 1 << 30);
  if (n == 1) return;
  std::string template_path = "/tmp/espalier_link_XXXXXX";
  if (rank == 0) REQUIRE(mkdtemp(template_path.data()) != nullptr);
  const std::filesystem::path folder = session.world().broadcast(template_path, 0);
  constexpr std::int64_t kFloats = 1 << 20;
  const std::vector<float> out = data_of<float>(0, kFloats);
  if (rank == 0) {
    link->post_send(residual(1, 0), 1, view_of(out.data(), 1, kFloats));
    while (!std::filesystem::exists(folder / "seen")) link->progress();
    link->wait_send(residual(1, 0));
  } else if (rank == 1) {
    std::vector<float> in(out.size());
    link->post_receive(residual(1, 0), 0, view_of(in.data(), 1, kFloats));
    link->wait_receive(residual(1, 0));
    CHECK(same_bits(in, out));
    std::ofstream(folder / "seen") << "yes";
  }
  session.world().barrier();
  if (rank == 0) std::filesystem::remove_all(folder);
}

TEST_CASE("a message has a name that people can read") {
  const pipeline::Placement one{.ranks = 2}, two{.ranks = 2, .chunks = 2};
  CHECK(parallel::describe_message(residual(1, 3), one) == "the residual stream of micro-batch 3");
  CHECK(parallel::describe_message({pipeline::ActionKind::backward_inputs, 2, 0}, two) ==
        "the gradient of micro-batch 0 for stage 2");
}

TEST_CASE("a message that is not posted, or twice, is a programmer's error") {
  parallel::CountingLink link;
  const device::View planned{nullptr, DType::bf16, 4, 8, 8};
  link.post_receive(residual(1, 0), 0, planned);
  REQUIRE_THROWS_AS(link.post_receive(residual(1, 0), 0, planned), Error);
  REQUIRE_THROWS_AS(link.wait_receive(residual(1, 1)), Error);
  link.wait_receive(residual(1, 0));
  REQUIRE_THROWS_AS(link.wait_receive(residual(1, 0)), Error);
  REQUIRE_THROWS_AS(link.wait_send(residual(1, 0)), Error);
  link.post_send(residual(1, 0), 2, planned);
  CHECK(link.sent().at({true, 2}) == parallel::LinkCost{1, 64});
  CHECK(link.received().at({true, 0}) == parallel::LinkCost{1, 64});
  CHECK(link.bytes_sent() == 64);

  parallel::MpiSession session(nullptr, nullptr);
  const auto mpi = link_with_parts(session.size(), 100);
  REQUIRE_THROWS_AS(mpi->wait_send(residual(1, 0)), Error);
  std::vector<float> data(4);
  REQUIRE_THROWS_AS(mpi->post_send(residual(1, 0), session.size(), view_of(data.data(), 1, 4)),
                    Error);
}
