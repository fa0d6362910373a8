#include "io/checkpoint_shared.hpp"

#include <fcntl.h>

#include <algorithm>
#include <unordered_map>

#include "base/error.hpp"
#include "io/checkpoint_hdf5.hpp"
#include "io/told_bytes.hpp"

namespace espalier::io {

namespace {

constexpr std::string_view kChecksums = "checksums";

/// Ranks that write neighbouring tensors, and file systems that lock ranges of a file, are kept
/// apart; smaller tensors would leave more holes than data.
constexpr hsize_t kAlignment = hsize_t{1} << 20;

std::uint64_t row_bytes(std::int64_t elements) {
  return static_cast<std::uint64_t>(elements) * sizeof(float);
}

/// From the beginning of a tensor to the first element of a rectangle.
std::uint64_t begin_of(const parallel::Rectangle& r, std::int64_t cols) {
  return row_bytes(r.row_begin * cols + r.col_begin);
}

}  // namespace

SharedLayout write_shared_structure(Hdf5Image& image, const std::filesystem::path& path,
                                    const CheckpointInfo* info, const CheckpointIndex& index) {
  const auto lock = hdf5_lock();
  Hdf5File file = create_checkpoint_file(image, path, kAlignment, kAlignment);
  const auto fields = static_cast<std::size_t>(info != nullptr ? num_fields(*info) : kNumFields);
  SharedLayout layout;
  layout.tensors.resize(index.tensors.size());
  for (std::size_t field = 0; field < fields; ++field) {
    const Hdf5Group group = create_group(file.get(), path, kFieldNames[field]);
    for (std::size_t i = 0; i < index.tensors.size(); ++i) {
      const auto& tensor = index.tensors[i];
      const hsize_t shape[] = {static_cast<hsize_t>(tensor.rows),
                               static_cast<hsize_t>(tensor.cols)};
      layout.tensors[i][field] =
          reserve_dataset(group.get(), path, tensor.name.c_str(), H5T_IEEE_F32LE,
                          std::span(shape).first(tensor.is_vector ? 1 : 2));
    }
  }
  const hsize_t shape[] = {index.entries.size(), fields};
  layout.checksums = reserve_dataset(file.get(), path, kChecksums.data(), H5T_STD_U64LE, shape);
  if (info != nullptr) write_contents(file.get(), path, *info, index);
  hdf5_close(std::move(file), path);
  const int num_ranks = index.entries.empty() ? 0 : index.entries.back().rank + 1;
  layout.first_entries.assign(static_cast<std::size_t>(num_ranks), 0);
  for (std::int64_t i = std::ssize(index.entries) - 1; i >= 0; --i)
    layout
        .first_entries[static_cast<std::size_t>(index.entries[static_cast<std::size_t>(i)].rank)] =
        i;
  return layout;
}

void save_structure(FileDescriptor& out, const Hdf5Image& image, const SharedLayout& layout,
                    const CheckpointIndex& index, int num_fields) {
  struct Extent {
    std::uint64_t begin, end;
  };
  std::vector<Extent> taken{
      {layout.checksums, layout.checksums + index.entries.size() * sizeof(std::uint64_t) *
                                                static_cast<std::size_t>(num_fields)}};
  for (std::size_t i = 0; i < index.tensors.size(); ++i)
    for (int field = 0; field < num_fields; ++field) {
      const std::uint64_t begin = layout.tensors[i][static_cast<std::size_t>(field)];
      taken.push_back({begin, begin + row_bytes(index.tensors[i].rows * index.tensors[i].cols)});
    }
  std::sort(taken.begin(), taken.end(),
            [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
  out.resize(image.size());
  image.for_each_block([&](std::uint64_t offset, std::span<const std::byte> block) {
    const std::uint64_t block_end = std::min(offset + block.size(), image.size());
    std::uint64_t at = offset;
    auto next = std::lower_bound(taken.begin(), taken.end(), offset,
                                 [](const Extent& e, std::uint64_t b) { return e.end <= b; });
    while (at < block_end) {
      const std::uint64_t stop =
          next == taken.end() ? block_end : std::min(block_end, std::max(at, next->begin));
      if (stop > at) out.write_at(block.data() + (at - offset), stop - at, at);
      if (next == taken.end()) break;
      at = std::max(stop, next->end);
      ++next;
    }
  });
}

std::string encode_shared_layout(const SharedLayout& layout, const CheckpointIndex& index) {
  ToldBytesWriter out;
  out.put(layout.checksums);
  out.put(std::uint64_t{layout.first_entries.size()});
  for (const std::int64_t first : layout.first_entries) out.put(first);
  for (std::size_t i = 0; i < index.tensors.size(); ++i) {
    out.put(index.tensors[i].name);
    for (const std::uint64_t offset : layout.tensors[i]) out.put(offset);
  }
  return out.take();
}

SharedPlace decode_shared_place(std::string_view bytes, int rank,
                                std::span<const CheckpointShard> shards) {
  ToldBytesReader in(bytes);
  SharedPlace place;
  in.get(place.checksums);
  const auto num_ranks = in.get<std::uint64_t>();
  for (std::uint64_t i = 0; i < num_ranks; ++i) {
    const auto first = in.get<std::int64_t>();
    if (i == static_cast<std::uint64_t>(rank))
      place.checksums += static_cast<std::uint64_t>(first) * kNumFields * sizeof(std::uint64_t);
  }
  std::unordered_map<std::string, std::array<std::uint64_t, kNumFields>> offsets;
  while (!in.at_end()) {
    const auto name = in.get<std::string>();
    for (std::uint64_t& offset : offsets[name]) in.get(offset);
  }
  for (const CheckpointShard& shard : shards) {
    if (shard.rectangle.empty()) continue;
    const auto found = offsets.find(shard.name);
    ESPALIER_ASSERT(found != offsets.end(), "{} is not in the shared file", shard.name);
    auto& own = place.shards.emplace_back(found->second);
    for (std::uint64_t& offset : own) offset += begin_of(shard.rectangle, shard.global_cols);
  }
  return place;
}

RankFileContents read_shared_file(const std::filesystem::path& path,
                                  std::span<const CheckpointReader::TensorShape> tensors,
                                  std::span<const IndexEntry> entries, std::int64_t first_entry,
                                  const CheckpointInfo& info) {
  const auto fields = static_cast<std::size_t>(num_fields(info));
  const auto lock = hdf5_lock();
  const Hdf5File file = open_checkpoint_file(path);
  RankFileContents contents;
  contents.offsets.resize(entries.size());
  contents.checksums.resize(entries.size());
  const auto offset_of = [&](const std::string& where, std::uint64_t bytes) {
    const Hdf5Dataset dataset(
        ESPALIER_HDF5(bad_data, path, H5Dopen2(file.get(), where.c_str(), H5P_DEFAULT)));
    const haddr_t offset = H5Dget_offset(dataset.get());
    require(offset != HADDR_UNDEF && H5Dget_storage_size(dataset.get()) >= bytes,
            ExitStatus::bad_data,
            "{}: {} has not the {} bytes that the index of the checkpoint gives it", path.string(),
            where, bytes);
    return offset;
  };
  const std::uint64_t row = fields * sizeof(std::uint64_t);
  const auto first = static_cast<std::uint64_t>(first_entry);
  std::vector<std::uint64_t> checksums(entries.size() * fields);
  FileDescriptor(path, O_RDONLY)
      .read_at(checksums.data(), checksums.size() * sizeof(std::uint64_t),
               offset_of(std::string(kChecksums), (first + entries.size()) * row) + first * row);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const auto& tensor = tensors[static_cast<std::size_t>(entries[i].tensor)];
    for (std::size_t field = 0; field < fields; ++field) {
      contents.offsets[i][field] = offset_of(std::string(kFieldNames[field]) + "/" + tensor.name,
                                             row_bytes(tensor.rows * tensor.cols)) +
                                   begin_of(entries[i].rectangle, tensor.cols);
      contents.checksums[i][field] = checksums[i * fields + field];
    }
  }
  return contents;
}

}  // namespace espalier::io
