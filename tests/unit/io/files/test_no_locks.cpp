#include <array>
#include <catch2/catch.hpp>
#include <cerrno>
#include <vector>

#include "flock.hpp"
#include "io/hdf5.hpp"
#include "io/sequence_file.hpp"
#include "io/tensor_file.hpp"
#include "io/token_shard.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier;
using espalier::testing::ScratchFolder;

namespace {

/// A file of `tokens`, as another program writes it.
void write_tokens(const std::filesystem::path& path) {
  const auto lock = io::hdf5_lock();
  io::Hdf5Output file(path);
  const std::array<hsize_t, 2> dims{1, 3};
  const std::array<std::uint32_t, 3> tokens{1, 2, 3};
  {
    const io::Hdf5Space space(H5Screate_simple(2, dims.data(), nullptr));
    const io::Hdf5Dataset dataset(H5Dcreate2(file.get(), "tokens", H5T_STD_U32LE, space.get(),
                                             H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Dwrite(dataset.get(), H5T_NATIVE_UINT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, tokens.data());
  }
  file.close();
}

}  // namespace

TEST_CASE("Every HDF5 file is written and read on a file system without locks", "[no_locks]") {
  const int asked_before = testing::num_refused_locks();
  for (const int error : {ENOLCK, ENOSYS}) {
    const ScratchFolder folder;
    const testing::NoLocks none(error);

    io::ShardInfo info;
    info.vocabulary = 10;
    info.end_of_text = 9;
    info.split = "train";
    io::TokenShardWriter writer(folder / "train-00000.h5", info);
    const std::vector<std::uint32_t> tokens{1, 2, 9};
    writer.append(tokens, 5);
    writer.finish();
    CHECK(io::TokenShard::open(folder / "train-00000.h5", true).tokens().size() == 3);

    write_tokens(folder / "in.h5");
    const io::SequenceFile sequences = io::read_sequences(folder / "in.h5", 10);
    CHECK(sequences.tokens == std::vector<std::uint32_t>{1, 2, 3});
    io::LogitsFile logits(folder / "out.h5", 1, 2, 2);
    const std::array<float, 4> values{1, 2, 3, 4};
    logits.write(0, {0, 2}, {0, 2}, values.data(), 2);
    logits.finish();
    CHECK(std::filesystem::exists(folder / "out.h5"));

    const std::vector<parallel::TensorSpec> table{
        {.name = "a", .rows = 2, .cols = 2, .is_vector = false}};
    io::create_tensor_file(folder / "gradients.h5", table);
    const std::vector<io::TensorPart> parts{{&table[0], {0, 2, 0, 2}, values.data(), 2}};
    io::write_tensor_parts(folder / "gradients.h5", parts);
  }
  CHECK(testing::num_refused_locks() == asked_before);  // HDF5 has not asked
}
