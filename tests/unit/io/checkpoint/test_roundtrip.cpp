#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "unit/io/checkpoint/simulated_run.hpp"

using namespace espalier;
using namespace espalier::io;
using namespace espalier::io::testing;
using Catch::Matchers::Contains;

namespace {

struct Shape {
  int tensor, data;
};
// tensor 4 replicates the 2 kv heads; data 7 divides no tensor and leaves ranks without rows.
constexpr Shape kGrids[] = {{1, 1}, {2, 1}, {1, 3}, {2, 2}, {4, 2}, {2, 7}};

}  // namespace

TEST_CASE("a checkpoint of any grid is read on any grid, bit for bit") {
  for (const Shape& from : kGrids) {
    const ScratchFolder scratch;
    SimulatedRun run(scratch.path(), from.tensor, from.data);
    const auto folder = run.save(7);
    CHECK(folder == scratch.path() / "step-00000007");
    for (const auto verify :
         {CheckpointReader::Verify::everything, CheckpointReader::Verify::whole_shards}) {
      CheckpointReader reader(folder, verify);
      for (const Shape& to : kGrids) {
        CAPTURE(from.tensor, from.data, to.tensor, to.data);
        CHECK(compare_on_grid(reader, to.tensor, to.data, 7) == "");
      }
    }
  }
}

TEST_CASE("a checkpoint carries everything beside tensors") {
  const ScratchFolder scratch;
  SimulatedRun run(scratch.path() / "a" / "b", 2, 2);
  auto wanted = run.info(12);
  CheckpointReader reader(run.save(12));
  const CheckpointInfo& info = reader.info();
  CHECK(info.step == 12);
  CHECK(info.samples_consumed == wanted.samples_consumed);
  CHECK(info.tokens_consumed == wanted.tokens_consumed);
  CHECK(info.adam_step == wanted.adam_step);
  CHECK(info.resolved_input == wanted.resolved_input);
  CHECK(info.tokenizer_identity == wanted.tokenizer_identity);
  CHECK(info.build == wanted.build);
  CHECK(info.grid == wanted.grid);
  CHECK(info.num_ranks == 4);

  const auto specs = small_model();
  REQUIRE(reader.tensors().size() == specs.size());
  for (std::size_t i = 0; i < specs.size(); ++i) {
    CHECK(reader.tensors()[i].name == specs[i].name);
    CHECK(reader.tensors()[i].rows == specs[i].rows);
    CHECK(reader.tensors()[i].cols == specs[i].cols);
    CHECK(reader.tensors()[i].is_vector == specs[i].is_vector);
  }
}

TEST_CASE("a bias of experts survives in every bit, small or large") {
  const ScratchFolder scratch;
  SimulatedRun run(scratch.path(), 1, 1);
  for (const std::size_t blocks : {std::size_t{1}, std::size_t{100}}) {
    auto info = run.info(3);
    info.num_experts = 512;
    for (std::size_t i = 0; i < blocks * 512; ++i)
      info.expert_bias.push_back(0.001F * static_cast<float>(i % 77) - 0.03F);
    const std::string index = CheckpointWriter::encode_index(run.ranks[0].shards());
    run.writers[0]->begin(info, run.ranks[0].shards());
    run.writers[0]->wait();
    run.writers[0]->commit(info, std::span(&index, 1), {.newest = 1});
    const CheckpointReader reader(*newest_checkpoint(scratch.path()));
    CHECK(reader.info().expert_bias == info.expert_bias);
    CHECK(reader.info().num_experts == 512);
  }
}

TEST_CASE("a long resolved input and an empty one both survive") {
  const ScratchFolder scratch;
  SimulatedRun run(scratch.path(), 1, 1);
  for (const std::size_t length : {std::size_t{0}, std::size_t{300'000}}) {
    auto info = run.info(3);
    info.resolved_input.assign(length, 'x');
    const std::string index = CheckpointWriter::encode_index(run.ranks[0].shards());
    run.writers[0]->begin(info, run.ranks[0].shards());
    run.writers[0]->wait();
    run.writers[0]->commit(info, std::span(&index, 1), {.newest = 1});
    CHECK(CheckpointReader(*newest_checkpoint(scratch.path())).info().resolved_input ==
          info.resolved_input);
  }
}

TEST_CASE("reading what is not there says what differs") {
  const ScratchFolder scratch;
  SimulatedRun run(scratch.path(), 2, 1);
  CheckpointReader reader(run.save(1));
  std::vector<float> out(101 * 24);
  const auto field = CheckpointReader::Field::master;
  CHECK_THROWS_WITH(reader.read("model.norm.weigth", 24, 1, {0, 24, 0, 1}, field, out.data()),
                    Contains("no tensor model.norm.weigth") && Contains("model.norm.weight)"));
  CHECK_THROWS_WITH(
      reader.read("model.embed_tokens.weight", 102, 24, {0, 101, 0, 24}, field, out.data()),
      Contains("101 x 24 in the checkpoint and 102 x 24"));
  CHECK_THROWS_WITH(
      reader.read("model.embed_tokens.weight", 101, 24, {0, 102, 0, 24}, field, out.data()),
      Contains("not all there"));
}

TEST_CASE("shards that do not cover a tensor are a fault of the program") {
  const ScratchFolder scratch;
  SimulatedRun run(scratch.path(), 1, 2);
  run.begin(1);
  run.wait();
  std::vector<std::string> indices = {CheckpointWriter::encode_index(run.ranks[0].shards()),
                                      CheckpointWriter::encode_index(run.ranks[0].shards())};
  indices[1] = "";
  CHECK_THROWS_WITH(run.writers[0]->commit(run.info(1), indices, {.newest = 1}),
                    Contains("the ranks write"));
  run.commit(1);
  CHECK(newest_checkpoint(scratch.path()));
}
