#include <unordered_set>

#include "base/error.hpp"
#include "io/checkpoint_format.hpp"
#include "io/checkpoint_hdf5.hpp"

namespace espalier::io {

namespace {

constexpr std::string_view kRankFormat = "espalier checkpoint rank file";

}  // namespace

RankFileLayout create_rank_file(Hdf5Image& image, const std::filesystem::path& path,
                                const CheckpointInfo& info, int rank,
                                std::span<const CheckpointShard> shards) {
  const auto lock = hdf5_lock();
  Hdf5File file = create_checkpoint_file(image, path);
  write_attribute(file.get(), path, "format", std::string(kRankFormat));
  write_attribute(file.get(), path, "format_version", kCheckpointVersion);
  write_attribute(file.get(), path, "rank", static_cast<std::uint64_t>(rank));
  write_attribute(file.get(), path, "num_ranks", static_cast<std::uint64_t>(info.num_ranks));
  write_attribute(file.get(), path, "step", static_cast<std::uint64_t>(info.step));
  if (info.weights_only) write_attribute(file.get(), path, "weights_only", std::uint64_t{1});

  const auto fields = static_cast<std::size_t>(num_fields(info));
  RankFileLayout layout;
  layout.fields.resize(shards.size());
  for (std::size_t field = 0; field < fields; ++field) {
    Hdf5Group group = create_group(file.get(), path, kFieldNames[field]);
    for (std::size_t i = 0; i < shards.size(); ++i) {
      const CheckpointShard& shard = shards[i];
      const hsize_t shape[] = {static_cast<hsize_t>(shard.rectangle.rows()),
                               static_cast<hsize_t>(shard.rectangle.cols())};
      layout.fields[i][field] =
          reserve_dataset(group.get(), path, shard.name.c_str(), H5T_IEEE_F32LE,
                          std::span(shape).first(shard.is_vector ? 1 : 2));
    }
  }
  if (!shards.empty()) {
    const hsize_t shape[] = {shards.size(), fields};
    layout.checksums = reserve_dataset(file.get(), path, "checksums", H5T_STD_U64LE, shape);
  }
  hdf5_close(std::move(file), path);
  return layout;
}

RankFileContents read_rank_file(const std::filesystem::path& path, int rank,
                                const CheckpointInfo& info, std::span<const ExpectedShard> shards) {
  const std::int64_t step = info.step;
  const auto fields = static_cast<std::size_t>(num_fields(info));
  const auto lock = hdf5_lock();
  const Hdf5File file = open_checkpoint_file(path);
  require_format(file.get(), path, kRankFormat);
  const std::uint64_t of_rank = read_u64_attribute(file.get(), path, "rank");
  const std::uint64_t of_step = read_u64_attribute(file.get(), path, "step");
  require(
      of_rank == static_cast<std::uint64_t>(rank) && of_step == static_cast<std::uint64_t>(step),
      ExitStatus::bad_data,
      "{} is of rank {} at step {}, not of rank {} at step {}: files of two checkpoints are "
      "mixed; remove or rename this checkpoint: the same command goes on from the one before",
      path.string(), of_rank, of_step, rank, step);

  RankFileContents contents;
  contents.offsets.resize(shards.size());
  contents.checksums.resize(shards.size());
  if (shards.empty()) return contents;
  const hsize_t shape[] = {shards.size(), fields};
  std::vector<std::uint64_t> checksums(shards.size() * fields);
  read_dataset(file.get(), path, "checksums", H5T_NATIVE_UINT64, shape, checksums.data());
  for (std::size_t field = 0; field < fields; ++field) {
    for (std::size_t i = 0; i < shards.size(); ++i) {
      const std::string where = std::string(kFieldNames[field]) + "/" + shards[i].name;
      const Hdf5Dataset dataset(
          ESPALIER_HDF5(bad_data, path, H5Dopen2(file.get(), where.c_str(), H5P_DEFAULT)));
      const haddr_t offset = H5Dget_offset(dataset.get());
      const auto bytes = static_cast<hsize_t>(shards[i].elements) * sizeof(float);
      require(offset != HADDR_UNDEF && H5Dget_storage_size(dataset.get()) == bytes,
              ExitStatus::bad_data,
              "{}: {} has not the {} elements that the index of the checkpoint gives it",
              path.string(), where, shards[i].elements);
      contents.offsets[i][field] = offset;
      contents.checksums[i][field] = checksums[i * fields + field];
    }
  }
  return contents;
}

}  // namespace espalier::io
