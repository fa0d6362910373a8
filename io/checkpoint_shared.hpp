#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/checkpoint_format.hpp"

// A checkpoint with checkpoint.layout = "shared" has one file in place of master.h5 and the ranks'
// files:
//
// tensors.h5     what master.h5 says (layout = "shared"), with every tensor as a contiguous dataset
//                of its global shape, f32; /checksums (rectangles, fields) u64: XXH3 of each
//                rectangle's fields, in the order of the index, its rows one after another.
//
// HDF5 makes the structure in memory (Hdf5Image), on rank 0; each rank writes its rectangles at
// their offsets, from its background thread. Collective parallel HDF5 would need MPI in that
// thread, or stop the training for the whole save. The tensors come first in the file, so that
// their offsets follow from names and shapes alone and are told once a run.

namespace espalier::io {

/// Where everything lies in the shared file of a grid.
struct SharedLayout {
  ShardOffsets tensors;                     ///< of each tensor of the index, (tensors, fields)
  std::uint64_t checksums = 0;              ///< offset of /checksums
  std::vector<std::int64_t> first_entries;  ///< per rank: its first row of /checksums
  bool operator==(const SharedLayout&) const = default;
};

/// Where a rank writes.
struct SharedPlace {
  ShardOffsets shards;          ///< of the first element of each shard, (shards, fields)
  std::uint64_t checksums = 0;  ///< of the first shard's
};

/// Makes the structure of the file in `image`; the values of tensors and checksums are not part of
/// it. `info` is null when only the layout is asked for. Throws Error (io_error).
SharedLayout write_shared_structure(Hdf5Image& image, const std::filesystem::path& path,
                                    const CheckpointInfo* info, const CheckpointIndex& index);
/// Brings the structure to the disk beside what ranks have written or will write: no byte of a
/// tensor or checksum is touched. The file gets its size. Throws Error (io_error).
void save_structure(FileDescriptor& out, const Hdf5Image& image, const SharedLayout& layout,
                    const CheckpointIndex& index, int num_fields);

/// For every rank, as bytes that rank 0 tells it.
std::string encode_shared_layout(const SharedLayout& layout, const CheckpointIndex& index);
SharedPlace decode_shared_place(std::string_view bytes, int rank,
                                std::span<const CheckpointShard> shards);

/// What reading the rectangles of one rank needs. `entries`: all of that rank; `first_entry`:
/// number of the first in the index. Throws Error (bad_data).
RankFileContents read_shared_file(const std::filesystem::path& path,
                                  std::span<const CheckpointReader::TensorShape> tensors,
                                  std::span<const IndexEntry> entries, std::int64_t first_entry,
                                  const CheckpointInfo& info);

}  // namespace espalier::io
