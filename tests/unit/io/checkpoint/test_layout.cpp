#include <bit>
#include <catch2/catch.hpp>

#include "io/checkpoint_hdf5.hpp"
#include "unit/io/checkpoint/simulated_run.hpp"

using namespace espalier;
using namespace espalier::io;
using namespace espalier::io::testing;
namespace fs = std::filesystem;

namespace {

/// Every tensor of master.h5 through plain HDF5 calls equals what was saved.
void check_plain_reading(const fs::path& path, std::int64_t step) {
  const auto lock = hdf5_lock();
  const Hdf5File file = open_checkpoint_file(path);
  const auto specs = small_model();
  const char* groups[] = {"master", "exp_avg", "exp_avg_sq"};
  for (int field = 0; field < 3; ++field) {
    for (std::size_t i = 0; i < specs.size(); ++i) {
      const std::string name = std::string(groups[field]) + "/" + specs[i].name;
      std::vector<hsize_t> shape = {static_cast<hsize_t>(specs[i].rows)};
      if (!specs[i].is_vector) shape.push_back(static_cast<hsize_t>(specs[i].cols));
      std::vector<float> data(static_cast<std::size_t>(specs[i].num_elements()), -1.0f);
      read_dataset(file.get(), path, name.c_str(), H5T_NATIVE_FLOAT, shape, data.data());
      for (std::size_t k = 0; k < data.size(); ++k) {
        const float wanted = expected_value(i, field, static_cast<std::int64_t>(k), step);
        REQUIRE(std::bit_cast<std::uint32_t>(data[k]) == std::bit_cast<std::uint32_t>(wanted));
      }
    }
  }
}

}  // namespace

TEST_CASE("master.h5 holds every tensor as a plain global dataset, wherever the folder is moved") {
  const ScratchFolder scratch;
  const auto [tensor, data] = GENERATE(std::pair(1, 1), std::pair(4, 1), std::pair(2, 7));
  SimulatedRun run(scratch.path() / "checkpoints", tensor, data);
  const fs::path folder = run.save(5);
  check_plain_reading(folder / "master.h5", 5);
  const fs::path moved = scratch.path() / "elsewhere";
  fs::rename(folder, moved);
  check_plain_reading(moved / "master.h5", 5);
  CheckpointReader reader(moved);
  CHECK(compare_on_grid(reader, 1, 1, 5) == "");
}

TEST_CASE("a rank's file holds its shards as they lie in memory") {
  const ScratchFolder scratch;
  SimulatedRun run(scratch.path(), 2, 3);
  const fs::path folder = run.save(5);
  CheckpointReader reader(folder);
  std::vector<std::int64_t> shards(6, 0);
  for (const auto& placed : reader.rectangles()) ++shards[static_cast<std::size_t>(placed.rank)];
  for (int rank = 0; rank < 6; ++rank) {
    const fs::path path = folder / ("rank-0000" + std::to_string(rank) + ".h5");
    std::int64_t wanted = 0;
    const auto lock = hdf5_lock();
    const Hdf5File file = open_checkpoint_file(path);
    for (const CheckpointShard& shard : run.ranks[static_cast<std::size_t>(rank)].shards()) {
      if (shard.rectangle.empty()) continue;
      ++wanted;
      std::vector<hsize_t> shape = {static_cast<hsize_t>(shard.rectangle.rows())};
      if (!shard.is_vector) shape.push_back(static_cast<hsize_t>(shard.rectangle.cols()));
      std::vector<float> data(static_cast<std::size_t>(shard.rectangle.size()));
      read_dataset(file.get(), path, ("exp_avg/" + shard.name).c_str(), H5T_NATIVE_FLOAT, shape,
                   data.data());
      CHECK(std::equal(data.begin(), data.end(), shard.exp_avg, [](float a, float b) {
        return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
      }));
    }
    CHECK(shards[static_cast<std::size_t>(rank)] == wanted);
  }
}
