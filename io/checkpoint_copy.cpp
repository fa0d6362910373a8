#include "io/checkpoint_copy.hpp"

#include <fcntl.h>

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "base/error.hpp"
#include "base/text.hpp"
#include "base/whole_file.hpp"
#include "io/checkpoint_files.hpp"
#include "io/checkpoint_shared.hpp"

namespace espalier::io {

namespace fs = std::filesystem;

namespace {

std::vector<CheckpointShard> whole_shards(std::span<const CheckpointReader::TensorShape> tensors) {
  std::vector<CheckpointShard> shards;
  for (const auto& tensor : tensors) shards.push_back(place_of_whole(tensor));
  return shards;
}

}  // namespace

struct OneFileWriter::Implementation {
  fs::path folder, path;
  CheckpointInfo info;
  CheckpointIndex index;
  Hdf5Image image;
  SharedLayout layout;
  std::vector<std::size_t> places;   ///< in the index, of each tensor of the caller
  std::vector<std::size_t> entries;  ///< row of /checksums
  FileDescriptor file;

  const CheckpointReader::TensorShape& tensor(std::size_t i) const {
    return index.tensors[places[i]];
  }
  FileDescriptor& open() {
    if (file.get() < 0) file = FileDescriptor(path, O_RDWR);
    return file;
  }
};

OneFileWriter::OneFileWriter(fs::path folder, const CheckpointInfo& info,
                             std::span<const CheckpointReader::TensorShape> tensors)
    : implementation_(std::make_unique<Implementation>()) {
  ESPALIER_ASSERT(info.is_shared && info.num_ranks == 1, "{} ranks", info.num_ranks);
  Implementation& self = *implementation_;
  self.path = folder / kSharedName;
  self.folder = std::move(folder);
  self.info = info;
  const std::string indices[] = {CheckpointWriter::encode_index(whole_shards(tensors))};
  self.index = CheckpointIndex::decode(indices);
  self.layout = write_shared_structure(self.image, self.path, &info, self.index);
  std::unordered_map<std::string, std::size_t> by_name;
  for (std::size_t i = 0; i < self.index.tensors.size(); ++i)
    by_name[self.index.tensors[i].name] = i;
  std::vector<std::size_t> entry_of(self.index.tensors.size());
  for (std::size_t i = 0; i < self.index.entries.size(); ++i)
    entry_of[static_cast<std::size_t>(self.index.entries[i].tensor)] = i;
  for (const auto& tensor : tensors) {
    self.places.push_back(by_name.at(tensor.name));
    self.entries.push_back(entry_of[self.places.back()]);
  }
}

OneFileWriter::~OneFileWriter() = default;

void OneFileWriter::create() {
  Implementation& self = *implementation_;
  require_file_size(self.image.size(), self.path);
  self.file = FileDescriptor(self.path, O_RDWR | O_CREAT | O_TRUNC);
  save_structure(self.file, self.image, self.layout, self.index, num_fields(self.info));
}

void OneFileWriter::write(std::size_t tensor, Field field, const parallel::Rectangle& rectangle,
                          const float* values) {
  Implementation& self = *implementation_;
  const auto& shape = self.tensor(tensor);
  const std::uint64_t begin =
      self.layout.tensors[self.places[tensor]][static_cast<std::size_t>(field)];
  const auto write_rows = [&](std::int64_t row, std::int64_t elements, const float* from) {
    const std::int64_t at = row * shape.cols + rectangle.col_begin;
    self.open().write_at(from, static_cast<std::uint64_t>(elements) * sizeof(float),
                         begin + static_cast<std::uint64_t>(at) * sizeof(float));
  };
  if (rectangle.cols() == shape.cols) {
    write_rows(rectangle.row_begin, rectangle.size(), values);
    return;
  }
  for (std::int64_t row = 0; row < rectangle.rows(); ++row)
    write_rows(rectangle.row_begin + row, rectangle.cols(), values + row * rectangle.cols());
}

void OneFileWriter::finish_tensor(std::size_t tensor) {
  Implementation& self = *implementation_;
  const auto& shape = self.tensor(tensor);
  const auto bytes = static_cast<std::uint64_t>(shape.rows * shape.cols) * sizeof(float);
  constexpr std::uint64_t kChunkBytes = std::uint64_t{8} << 20;
  std::vector<std::byte> chunk(std::min(bytes, kChunkBytes));
  std::vector<std::uint64_t> checksums;
  for (int field = 0; field < num_fields(self.info); ++field) {
    const std::uint64_t begin =
        self.layout.tensors[self.places[tensor]][static_cast<std::size_t>(field)];
    BytesHash hash;
    for (std::uint64_t at = 0; at < bytes; at += kChunkBytes) {
      const auto part = std::span(chunk).first(std::min(kChunkBytes, bytes - at));
      self.open().read_at(part.data(), part.size(), begin + at);
      hash.add(part);
    }
    checksums.push_back(hash.value());
  }
  const std::uint64_t row = checksums.size() * sizeof(std::uint64_t);
  self.open().write_at(checksums.data(), row, self.layout.checksums + self.entries[tensor] * row);
}

void OneFileWriter::flush() {
  if (implementation_->file.get() >= 0) implementation_->file.flush();
}

void OneFileWriter::complete(std::span<const KeptFile> kept) {
  Implementation& self = *implementation_;
  write_kept_files(self.folder, kept);
  FileDescriptor marker(self.folder / kMarkerName, O_WRONLY | O_CREAT | O_TRUNC);
  const std::string text = marker_text(self.info);
  marker.write_at(text.data(), text.size(), 0);
  marker.flush();
  flush_folder(self.folder);
}

std::vector<KeptFile> kept_files(const fs::path& folder) {
  std::vector<KeptFile> kept;
  std::error_code error;
  fs::recursive_directory_iterator entries(folder, error);
  for (; !error && entries != fs::recursive_directory_iterator(); entries.increment(error)) {
    const fs::directory_entry& entry = *entries;
    std::error_code ignored;
    if (!entry.is_regular_file(ignored)) continue;
    const std::string name = entry.path().lexically_relative(folder).generic_string();
    const bool is_of_tensors = name.starts_with("rank-") && name.ends_with(".h5");
    if (is_of_tensors || name == kMasterName || name == kSharedName ||
        name.starts_with(kMarkerName))
      continue;
    auto bytes = read_whole_file(entry.path().string());
    if (!bytes) fail_io("read", entry.path(), errno);
    kept.push_back({name, std::move(*bytes)});
  }
  if (error) fail_io("list", folder, error.value());
  std::sort(kept.begin(), kept.end(),
            [](const KeptFile& a, const KeptFile& b) { return a.name < b.name; });
  return kept;
}

}  // namespace espalier::io
