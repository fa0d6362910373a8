#include <fcntl.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "io/checkpoint.hpp"
#include "io/checkpoint_files.hpp"
#include "io/checkpoint_format.hpp"

namespace espalier::io {

namespace fs = std::filesystem;

namespace {

std::vector<CheckpointShard> shards_of(std::span<const parallel::TensorSpec* const> tensors) {
  std::vector<CheckpointShard> shards;
  for (const parallel::TensorSpec* spec : tensors) shards.push_back(place_of_whole(*spec));
  return shards;
}

}  // namespace

struct WeightsCheckpointWriter::Implementation {
  std::vector<CheckpointShard> shards;
  FileDescriptor file;
  RankFileLayout layout;
  std::vector<std::uint64_t> checksums;
};

WeightsCheckpointWriter::WeightsCheckpointWriter(
    fs::path folder, const CheckpointInfo& info, int rank,
    std::span<const parallel::TensorSpec* const> tensors)
    : implementation_(std::make_unique<Implementation>()) {
  Implementation& self = *implementation_;
  ESPALIER_ASSERT(info.weights_only && info.step == 0, "step {}", info.step);
  self.shards = shards_of(tensors);
  self.checksums.resize(self.shards.size());
  std::uint64_t bytes = 0;
  for (const CheckpointShard& shard : self.shards)
    bytes += static_cast<std::uint64_t>(shard.rectangle.size()) * sizeof(float);
  const fs::path path = folder / rank_file_name(rank);
  require_file_size(bytes, path);
  Hdf5Image structure;
  self.layout = create_rank_file(structure, path, info, rank, self.shards);
  self.file = structure.save_as(path);
}

WeightsCheckpointWriter::~WeightsCheckpointWriter() = default;

void WeightsCheckpointWriter::write(std::size_t i, const float* values) {
  Implementation& self = *implementation_;
  const auto elements = static_cast<std::size_t>(self.shards[i].rectangle.size());
  const auto bytes = std::as_bytes(std::span(values, elements));
  self.checksums[i] = hash_bytes(bytes);
  self.file.write_at(bytes.data(), bytes.size(), self.layout.fields[i][0]);
}

std::string WeightsCheckpointWriter::finish() {
  Implementation& self = *implementation_;
  if (!self.checksums.empty())
    self.file.write_at(self.checksums.data(), self.checksums.size() * sizeof(std::uint64_t),
                       self.layout.checksums);
  self.file.flush();
  return CheckpointWriter::encode_index(self.shards);
}

void WeightsCheckpointWriter::complete(const fs::path& folder, const CheckpointInfo& info,
                                       std::span<const std::string> indices,
                                       std::span<const KeptFile> kept) {
  ESPALIER_ASSERT(std::ssize(indices) == info.num_ranks, "{} indices", indices.size());
  std::vector<std::uint64_t> rank_file_bytes;
  for (int rank = 0; rank < info.num_ranks; ++rank)
    rank_file_bytes.push_back(FileDescriptor(folder / rank_file_name(rank), O_RDONLY).size());
  Hdf5Image image;
  const fs::path path = folder / kMasterName;
  write_master_file(image, path, info, CheckpointIndex::decode(indices));
  finish_master_file(image, path, rank_file_bytes);
  image.save_as(path).flush();
  write_kept_files(folder, kept);
  FileDescriptor marker(folder / kMarkerName, O_WRONLY | O_CREAT | O_TRUNC);
  const std::string text = marker_text(info);
  marker.write_at(text.data(), text.size(), 0);
  marker.flush();
  flush_folder(folder);
}

}  // namespace espalier::io
