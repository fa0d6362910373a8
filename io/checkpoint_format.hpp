#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "io/checkpoint.hpp"
#include "io/checkpoint_image.hpp"

// What is inside the HDF5 files of a checkpoint. Every function here takes hdf5_lock() itself.
// What is written is made in an Hdf5Image; `path` names the file it will be, for messages.
//
// rank-00007.h5  /master/<name>, /exp_avg/<name>, /exp_avg_sq/<name>: the rank's rectangle of the
//                tensor, f32, contiguous; /checksums (shards, 3) u64: XXH3 of each shard's fields
//                in the order of /master's creation, which is the order of the index.
// A checkpoint of weights alone has /master only, (shards, 1) checksums, and says weights_only = 1
// in both kinds of files.
// master.h5      the same three groups with global shapes (virtual datasets);
//                /index/tensors (n) names, /index/shapes (n, 3) i64 [rows, cols, is_vector],
//                /index/rectangles (m, 6) i64 [tensor, rank, row_begin, row_end, col_begin,
//                col_end], /index/rank_file_bytes (ranks) u64.

namespace espalier::io {

/// A whole tensor without memory, for those who ask where it lies in a file: a parallel::TensorSpec
/// or a CheckpointReader::TensorShape.
template <class Tensor>
CheckpointShard place_of_whole(const Tensor& tensor) {
  return {.name = tensor.name,
          .global_rows = tensor.rows,
          .global_cols = tensor.cols,
          .is_vector = tensor.is_vector,
          .rectangle = {0, tensor.rows, 0, tensor.cols},
          .master = nullptr,
          .exp_avg = nullptr,
          .exp_avg_sq = nullptr,
          .state_index = 0};
}

/// A tensor and a rectangle of it on a rank: one row of the index.
struct IndexEntry {
  std::int64_t tensor;  ///< index into CheckpointIndex::tensors
  int rank;
  std::int64_t ordinal;  ///< number of the shard within its rank's file
  parallel::Rectangle rectangle;
};

/// Who holds what: all that is needed to place every byte of a checkpoint.
struct CheckpointIndex {
  std::vector<CheckpointReader::TensorShape> tensors;
  std::vector<IndexEntry> entries;             ///< by rank, then ordinal
  std::vector<std::uint64_t> rank_file_bytes;  ///< per rank

  /// From CheckpointWriter::encode_index of every rank. Throws Error (internal) when the shards do
  /// not cover every tensor exactly.
  static CheckpointIndex decode(std::span<const std::string> indices);
};

/// Where the fields of a rank's shards lie in its file: byte offsets, (shards, 3).
using ShardOffsets = std::vector<std::array<std::uint64_t, kNumFields>>;
using ShardChecksums = std::vector<std::array<std::uint64_t, kNumFields>>;

struct RankFileLayout {
  ShardOffsets fields;
  std::uint64_t checksums = 0;  ///< offset of /checksums; meaningless without shards
};

/// Creates a rank's file with all its datasets and no data: they are written at the offsets
/// afterwards, without HDF5 and without its lock. Throws Error (io_error).
RankFileLayout create_rank_file(Hdf5Image& image, const std::filesystem::path& path,
                                const CheckpointInfo& info, int rank,
                                std::span<const CheckpointShard> shards);

/// Attributes and the group index: what master.h5 and tensors.h5 have in common. Needs hdf5_lock().
void write_contents(hid_t file, const std::filesystem::path& path, const CheckpointInfo& info,
                    const CheckpointIndex& index);

/// master.h5 but for the sizes of the rank files. Takes a second or so for hundreds of ranks, so it
/// is done in the background. Throws Error (io_error).
void write_master_file(Hdf5Image& image, const std::filesystem::path& path,
                       const CheckpointInfo& info, const CheckpointIndex& index);
/// Adds the sizes. Throws Error (io_error).
void finish_master_file(Hdf5Image& image, const std::filesystem::path& path,
                        std::span<const std::uint64_t> rank_file_bytes);
/// Of master.h5 or tensors.h5. Throws Error (bad_data): damaged, of another format or version.
void read_master_file(const std::filesystem::path& path, CheckpointInfo& info,
                      CheckpointIndex& index);

/// A shard that a rank's file must hold.
struct ExpectedShard {
  std::string name;
  std::int64_t elements;
};
/// What reading a rank's file by offset needs, per shard.
struct RankFileContents {
  ShardOffsets offsets;
  ShardChecksums checksums;
};
/// Throws Error (bad_data): damaged, of another save, or without the expected shards.
RankFileContents read_rank_file(const std::filesystem::path& path, int rank,
                                const CheckpointInfo& info, std::span<const ExpectedShard> shards);

}  // namespace espalier::io
