#include <catch2/catch.hpp>
#include <fstream>
#include <random>

#include "base/error.hpp"
#include "io/checkpoint_files.hpp"
#include "io/checkpoint_hdf5.hpp"
#include "unit/io/checkpoint/simulated_run.hpp"

using namespace espalier;
using namespace espalier::io;
using namespace espalier::io::testing;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

void flip_bit(const fs::path& path, std::uint64_t byte, int bit) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(byte));
  const int value = file.get();
  file.seekp(static_cast<std::streamoff>(byte));
  file.put(static_cast<char>(value ^ (1 << bit)));
}

/// "" when all of the checkpoint reads as it was saved, the message when it is refused, and
/// "WRONG" when it reads as something else.
std::string read_all(const fs::path& folder, const CheckpointInfo& wanted) {
  try {
    CheckpointReader reader(folder);
    const CheckpointInfo& info = reader.info();
    const bool same =
        info.step == wanted.step && info.samples_consumed == wanted.samples_consumed &&
        info.tokens_consumed == wanted.tokens_consumed && info.adam_step == wanted.adam_step &&
        info.resolved_input == wanted.resolved_input && info.grid == wanted.grid &&
        info.tokenizer_identity == wanted.tokenizer_identity && info.build == wanted.build &&
        compare_on_grid(reader, 1, 2, wanted.step).empty();
    return same ? "" : "WRONG";
  } catch (const Error& error) {
    // Another version is no damage: a run must not pass over such a checkpoint.
    const bool is_version = std::string(error.what()).find("format version") != std::string::npos;
    CHECK(error.status() == (is_version ? ExitStatus::bad_configuration : ExitStatus::bad_data));
    return error.what();
  }
}

}  // namespace

TEST_CASE("what is missing from a checkpoint is named") {
  const ScratchFolder scratch;
  SimulatedRun run(scratch.path(), 2, 2);
  const auto info = run.info(3);
  const fs::path folder = run.save(3);
  REQUIRE(read_all(folder, info) == "");

  SECTION("a rank's file") {
    fs::remove(folder / "rank-00002.h5");
    CHECK_THAT(read_all(folder, info), Contains("rank-00002.h5") && Contains("4 ranks"));
  }
  SECTION("the end of a rank's file") {
    fs::resize_file(folder / "rank-00001.h5", fs::file_size(folder / "rank-00001.h5") - 1);
    CHECK_THAT(read_all(folder, info), Contains("rank-00001.h5") && Contains("truncated"));
  }
  SECTION("the master file") {
    fs::remove(folder / "master.h5");
    CHECK_THAT(read_all(folder, info), Contains("master.h5 is missing"));
  }
  SECTION("the end of the master file") {
    fs::resize_file(folder / "master.h5", 700);
    CHECK_THAT(read_all(folder, info), Contains("master.h5"));
  }
  SECTION("the marker") {
    fs::remove(folder / "COMPLETE");
    CHECK_THAT(read_all(folder, info), Contains("not a complete checkpoint"));
    CHECK_FALSE(newest_checkpoint(scratch.path()));
  }
  SECTION("everything") {
    CHECK_THAT(read_all(scratch.path() / "step-00000099", info), Contains("no such folder"));
  }
}

TEST_CASE("files that do not belong in a checkpoint are refused") {
  const ScratchFolder scratch;
  SimulatedRun run(scratch.path(), 1, 2);
  const auto info = run.info(3);
  const fs::path earlier = run.save(2);
  const fs::path folder = run.save(3);

  SECTION("a rank's file of another step") {
    fs::copy_file(earlier / "rank-00001.h5", folder / "rank-00001.h5",
                  fs::copy_options::overwrite_existing);
    CHECK_THAT(read_all(folder, info), Contains("rank 1 at step 2, not of rank 1 at step 3"));
  }
  SECTION("another format") {
    const auto lock = hdf5_lock();
    const fs::path path = folder / "master.h5";
    Hdf5Image image;
    Hdf5File file = create_checkpoint_file(image, path);
    write_attribute(file.get(), path, "format", "espalier token shard");
    hdf5_close(std::move(file), path);
    image.save_as(path);
  }
  SECTION("another version") {
    const auto lock = hdf5_lock();
    const fs::path path = folder / "master.h5";
    Hdf5Image image;
    Hdf5File file = create_checkpoint_file(image, path);
    write_attribute(file.get(), path, "format", "espalier checkpoint");
    write_attribute(file.get(), path, "format_version", std::uint64_t{99});
    hdf5_close(std::move(file), path);
    image.save_as(path);
  }
  SECTION("no HDF5 at all") {
    std::ofstream(folder / "master.h5") << "hello\n";
  }
  CHECK_THAT(read_all(folder, info), Contains("h5") && !Contains("WRONG"));
}

TEST_CASE("a flipped bit in the data is noticed, and where") {
  const ScratchFolder scratch;
  SimulatedRun run(scratch.path(), 1, 2);
  const fs::path folder = run.save(3);
  // The last quarter of a rank's file is tensor data.
  flip_bit(folder / "rank-00001.h5", fs::file_size(folder / "rank-00001.h5") * 7 / 8, 6);
  CHECK_THAT(read_all(folder, run.info(3)),
             Contains("rank-00001.h5") && Contains("does not fit its checksum"));
}

TEST_CASE("a flipped bit in a long attribute is noticed") {
  for (const bool in_bias : {true, false}) {
    const ScratchFolder scratch;
    SimulatedRun run(scratch.path(), 1, 1);
    auto info = run.info(3);
    info.resolved_input = std::string(100'000, 'x') + "a mark" + std::string(100'000, 'y');
    info.num_experts = 128;
    for (int i = 0; i < 48 * 128; ++i) info.expert_bias.push_back(1.0F / static_cast<float>(i + 3));
    const std::string index = CheckpointWriter::encode_index(run.ranks[0].shards());
    run.writers[0]->begin(info, run.ranks[0].shards());
    run.writers[0]->wait();
    run.writers[0]->commit(info, std::span(&index, 1), {.newest = 1});
    const fs::path master = *newest_checkpoint(scratch.path()) / "master.h5";
    const auto* middle = reinterpret_cast<const char*>(info.expert_bias.data() + 3000);
    const std::string mark = in_bias ? std::string(middle, 16) : "a mark";
    std::ifstream file(master, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    const auto found = bytes.find(mark);
    REQUIRE(found != std::string::npos);
    flip_bit(master, found, 0);
    CAPTURE(in_bias);
    CHECK_THROWS_AS(CheckpointReader(master.parent_path()), Error);
  }
}

TEST_CASE("no flipped bit anywhere makes a checkpoint read as something else") {
  const ScratchFolder scratch;
  SimulatedRun run(scratch.path(), 2, 1);
  const auto info = run.info(4);
  const fs::path folder = run.save(4);
  std::mt19937 random(7);
  int refused = 0;
  constexpr int kFlips = 400;
  for (int i = 0; i < kFlips; ++i) {
    const char* names[] = {"rank-00000.h5", "rank-00001.h5", "master.h5"};
    const fs::path path = folder / names[i % 3];
    const std::uint64_t byte = random() % fs::file_size(path);
    const int bit = static_cast<int>(random() % 8);
    flip_bit(path, byte, bit);
    const std::string message = read_all(folder, info);
    CAPTURE(path.string(), byte, bit);
    CHECK(message != "WRONG");
    refused += message.empty() ? 0 : 1;
    flip_bit(path, byte, bit);
  }
  CHECK(refused > kFlips / 4);  // the rest fell on padding, or on what only other programs read
  CHECK(read_all(folder, info) == "");
}
