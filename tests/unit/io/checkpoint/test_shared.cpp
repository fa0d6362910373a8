#include <hdf5.h>

#include <bit>
#include <catch2/catch.hpp>
#include <fstream>

#include "base/error.hpp"
#include "io/hdf5.hpp"
#include "unit/io/checkpoint/simulated_run.hpp"

using namespace espalier;
using namespace espalier::io;
using namespace espalier::io::testing;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

constexpr auto kCopy = CheckpointWriter::Staging::copy;

struct Shape {
  int tensor, data;
};
// tensor 4 replicates the 2 kv heads; data 7 divides no tensor and leaves ranks without rows.
constexpr Shape kGrids[] = {{1, 1}, {2, 1}, {1, 3}, {2, 2}, {4, 2}, {2, 7}};

}  // namespace

TEST_CASE("a shared file of any grid is read on any grid, bit for bit", "[shared]") {
  for (const Shape& from : kGrids) {
    const ScratchFolder scratch;
    SimulatedRun run(scratch.path(), from.tensor, from.data, kCopy, true);
    run.save(6);
    const fs::path folder = run.save(7);
    CHECK(fs::exists(folder / "tensors.h5"));
    CHECK_FALSE(fs::exists(folder / "master.h5"));
    CHECK_FALSE(fs::exists(folder / "rank-00000.h5"));
    for (const auto verify :
         {CheckpointReader::Verify::everything, CheckpointReader::Verify::whole_shards}) {
      CheckpointReader reader(folder, verify);
      CHECK(reader.info().is_shared);
      CHECK(reader.info().resolved_input == run.info(7).resolved_input);
      for (const Shape& to : kGrids) {
        CAPTURE(from.tensor, from.data, to.tensor, to.data);
        CHECK(compare_on_grid(reader, to.tensor, to.data, 7) == "");
      }
    }
  }
}

TEST_CASE("HDF5 alone reads every tensor of a shared file as a contiguous dataset", "[shared]") {
  const ScratchFolder scratch;
  const fs::path path = SimulatedRun(scratch.path(), 2, 3, kCopy, true).save(4) / "tensors.h5";
  const auto lock = hdf5_lock();
  const Hdf5File file = hdf5_open_to_read(path);
  const auto specs = small_model();
  for (std::size_t i = 0; i < specs.size(); ++i)
    for (int field = 0; field < 3; ++field) {
      constexpr const char* kFields[] = {"master/", "exp_avg/", "exp_avg_sq/"};
      const std::string name = kFields[field] + specs[i].name;
      const Hdf5Dataset dataset(H5Dopen2(file.get(), name.c_str(), H5P_DEFAULT));
      const Hdf5PropertyList creation(H5Dget_create_plist(dataset.get()));
      CHECK(H5Pget_layout(creation.get()) == H5D_CONTIGUOUS);
      std::vector<float> values(static_cast<std::size_t>(specs[i].num_elements()));
      REQUIRE(H5Dread(dataset.get(), H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                      values.data()) >= 0);
      std::int64_t differing = 0;
      for (std::size_t k = 0; k < values.size(); ++k)
        differing +=
            std::bit_cast<std::uint32_t>(values[k]) !=
            std::bit_cast<std::uint32_t>(expected_value(i, field, static_cast<std::int64_t>(k), 4));
      CHECK(differing == 0);
    }
}

TEST_CASE("an update beside the save of a shared file changes nothing in it", "[shared]") {
  const ScratchFolder scratch;
  SimulatedRun run(scratch.path(), 2, 2, kCopy, true);
  for (std::int64_t step = 1; step <= 5; ++step) {
    for (auto& rank : run.ranks) rank.set_step(step);
    run.begin(step);
    for (std::size_t r = 0; r < run.ranks.size(); ++r)
      for (std::int64_t i = run.ranks[r].num_states() - 1; i >= 0; --i) {
        run.writers[r]->before_overwrite(i);
        run.ranks[r].overwrite(i, step + 1000);
      }
    run.wait();
    run.commit(step);
    CheckpointReader reader(*newest_checkpoint(scratch.path()));
    REQUIRE(compare_on_grid(reader, 1, 1, step) == "");
  }
}

TEST_CASE("a run may change the layout, and a replaced checkpoint leaves nothing", "[shared]") {
  const ScratchFolder scratch;
  SimulatedRun(scratch.path(), 2, 2).save(10);
  const fs::path shared = SimulatedRun(scratch.path(), 1, 2, kCopy, true).save(10);
  CHECK_FALSE(fs::exists(shared / "master.h5"));
  const fs::path ranks = SimulatedRun(scratch.path(), 1, 1).save(10);
  CHECK_FALSE(fs::exists(ranks / "tensors.h5"));
  CheckpointReader reader(ranks);
  CHECK(compare_on_grid(reader, 2, 2, 10) == "");
}

TEST_CASE("damage of a shared file is found", "[shared]") {
  const ScratchFolder scratch;
  const fs::path folder = SimulatedRun(scratch.path(), 2, 2, kCopy, true).save(3);
  const fs::path path = folder / "tensors.h5";
  haddr_t offset;
  {
    const auto lock = hdf5_lock();
    const Hdf5File file = hdf5_open_to_read(path);
    const Hdf5Dataset dataset(
        H5Dopen2(file.get(), "exp_avg/model.layers.1.mlp.down_proj.weight", H5P_DEFAULT));
    offset = H5Dget_offset(dataset.get());
  }
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset) + 5);
  const char flipped = static_cast<char>(file.get() ^ 1);
  file.seekp(static_cast<std::streamoff>(offset) + 5);
  file.put(flipped);
  file.close();
  {
    CheckpointReader reader(folder);
    CHECK_THROWS_WITH(compare_on_grid(reader, 1, 1, 3),
                      Contains("tensors.h5") && Contains("exp_avg of") && Contains("checksum") &&
                          Contains("model.layers.1.mlp.down_proj.weight"));
  }
  fs::resize_file(path, fs::file_size(path) - 1);
  CHECK_THROWS_WITH(CheckpointReader(folder), Contains("tensors.h5") && Contains("truncated"));
  fs::remove(path);
  CHECK_THROWS_AS(CheckpointReader(folder), Error);
}

TEST_CASE("a save of a shared file that is given up leaves nothing", "[shared]") {
  const ScratchFolder scratch;
  for (std::int64_t step = 1; step <= 6; ++step) {
    SimulatedRun run(scratch.path(), 2, 1, kCopy, true);
    run.begin(step);
    if (step % 2 == 0) run.wait();
  }
  CHECK(fs::is_empty(scratch.path()));
}
