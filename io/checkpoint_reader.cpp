#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <system_error>
#include <unordered_map>

#include "base/error.hpp"
#include "base/text.hpp"
#include "io/checkpoint.hpp"
#include "io/checkpoint_files.hpp"
#include "io/checkpoint_format.hpp"

namespace espalier::io {

namespace fs = std::filesystem;

namespace {

/// More rank files than this are not held open at once: the limit of open files may be 1024.
constexpr std::size_t kMaxOpenFiles = 128;

/// Copies the part that two rectangles share between their row-major images.
void copy_overlap(const float* from, const parallel::Rectangle& from_rectangle, float* to,
                  const parallel::Rectangle& to_rectangle, const parallel::Rectangle& overlap) {
  for (std::int64_t row = overlap.row_begin; row < overlap.row_end; ++row) {
    std::memcpy(to + (row - to_rectangle.row_begin) * to_rectangle.cols() +
                    (overlap.col_begin - to_rectangle.col_begin),
                from + (row - from_rectangle.row_begin) * from_rectangle.cols() +
                    (overlap.col_begin - from_rectangle.col_begin),
                static_cast<std::size_t>(overlap.cols()) * sizeof(float));
  }
}

}  // namespace

struct CheckpointReader::Implementation {
  fs::path folder;
  Verify verify = Verify::everything;
  CheckpointInfo info;
  CheckpointIndex index;
  std::unordered_map<std::string, std::size_t> tensor_of_name;
  std::vector<std::vector<const IndexEntry*>> entries_of_tensor;
  std::vector<std::vector<const IndexEntry*>> entries_of_rank;
  std::vector<std::optional<RankFileContents>> contents_of_rank;
  std::unordered_map<int, FileDescriptor> open_files;
  std::vector<float> scratch;

  void check_rank_files() const;
  const RankFileContents& contents(int rank);
  const FileDescriptor& file(int rank);
  void read_overlap(const IndexEntry& entry, const parallel::Rectangle& rectangle,
                    const parallel::Rectangle& overlap, std::size_t field, float* out);
};

CheckpointReader::CheckpointReader(const fs::path& folder, Verify verify)
    : implementation_(std::make_unique<Implementation>()) {
  Implementation& self = *implementation_;
  self.folder = folder;
  self.verify = verify;
  std::error_code ignored;
  require(fs::is_directory(folder, ignored), ExitStatus::bad_data,
          "{} is not a checkpoint: no such folder", folder.string());
  require(fs::exists(folder / kMarkerName, ignored), ExitStatus::bad_data,
          "{} is not a complete checkpoint: it has no {} marker, so its save was cut off. Take "
          "another step.",
          folder.string(), kMarkerName);
  require(fs::exists(folder / kMasterName, ignored), ExitStatus::bad_data,
          "{}: {} is missing; remove or rename this checkpoint: the same command goes on from the "
          "one before",
          folder.string(), kMasterName);
  read_master_file(folder / kMasterName, self.info, self.index);
  self.check_rank_files();

  self.entries_of_tensor.resize(self.index.tensors.size());
  self.entries_of_rank.resize(static_cast<std::size_t>(self.info.num_ranks));
  self.contents_of_rank.resize(self.entries_of_rank.size());
  for (std::size_t i = 0; i < self.index.tensors.size(); ++i) {
    self.tensor_of_name.emplace(self.index.tensors[i].name, i);
  }
  for (const IndexEntry& entry : self.index.entries) {
    self.entries_of_tensor[static_cast<std::size_t>(entry.tensor)].push_back(&entry);
    self.entries_of_rank[static_cast<std::size_t>(entry.rank)].push_back(&entry);
  }
}

CheckpointReader::~CheckpointReader() = default;

const CheckpointInfo& CheckpointReader::info() const {
  return implementation_->info;
}

const std::vector<CheckpointReader::TensorShape>& CheckpointReader::tensors() const {
  return implementation_->index.tensors;
}

std::vector<CheckpointReader::PlacedRectangle> CheckpointReader::rectangles() const {
  std::vector<PlacedRectangle> placed;
  placed.reserve(implementation_->index.entries.size());
  for (const IndexEntry& entry : implementation_->index.entries) {
    placed.push_back({entry.tensor, entry.rank, entry.rectangle});
  }
  return placed;
}

void CheckpointReader::read(const std::string& name, std::int64_t global_rows,
                            std::int64_t global_cols, const parallel::Rectangle& rectangle,
                            Field field, float* out) {
  Implementation& self = *implementation_;
  if (rectangle.empty()) return;
  require(static_cast<int>(field) < num_fields(self.info), ExitStatus::bad_data,
          "{} holds weights without the optimiser's moments: it cannot be continued; name it in "
          "model.initial_weights of a new run",
          self.folder.string());
  const auto found = self.tensor_of_name.find(name);
  if (found == self.tensor_of_name.end()) {
    std::vector<std::string> names;
    for (const TensorShape& tensor : self.index.tensors) names.push_back(tensor.name);
    const std::string nearest = nearest_name(name, names);
    fail(ExitStatus::bad_data, "{} holds no tensor {}{}: it is of another architecture",
         self.folder.string(), name, nearest.empty() ? "" : " (the nearest is " + nearest + ")");
  }
  const TensorShape& tensor = self.index.tensors[found->second];
  require(tensor.rows == global_rows && tensor.cols == global_cols, ExitStatus::bad_data,
          "{}: {} is {} x {} in the checkpoint and {} x {} in this run: the model parameters "
          "differ",
          self.folder.string(), name, tensor.rows, tensor.cols, global_rows, global_cols);

  std::int64_t covered = 0;
  for (const IndexEntry* entry : self.entries_of_tensor[found->second]) {
    const parallel::Rectangle overlap = parallel::intersect(entry->rectangle, rectangle);
    if (overlap.empty()) continue;
    self.read_overlap(*entry, rectangle, overlap, static_cast<std::size_t>(field), out);
    covered += overlap.size();
  }
  require(covered == rectangle.size(), ExitStatus::bad_data,
          "{}: rows {}..{}, columns {}..{} of {} are not all there", self.folder.string(),
          rectangle.row_begin, rectangle.row_end, rectangle.col_begin, rectangle.col_end, name);
}

void CheckpointReader::Implementation::check_rank_files() const {
  for (int rank = 0; rank < info.num_ranks; ++rank) {
    const fs::path path = folder / rank_file_name(rank);
    std::error_code error;
    const std::uint64_t bytes = fs::file_size(path, error);
    require(
        !error, ExitStatus::bad_data,
        "{} cannot be looked at ({}): the checkpoint is of {} ranks and needs the files of all "
        "of them. Remove or rename this checkpoint: the same command goes on from the one before.",
        path.string(), error.message(), info.num_ranks);
    const std::uint64_t expected = index.rank_file_bytes[static_cast<std::size_t>(rank)];
    require(bytes == expected, ExitStatus::bad_data,
            "{} has {} bytes, but {} were written: it was {}. Remove or rename this checkpoint: "
            "the same command goes on from the one before.",
            path.string(), bytes, expected, bytes < expected ? "truncated" : "changed");
  }
}

const RankFileContents& CheckpointReader::Implementation::contents(int rank) {
  auto& contents = contents_of_rank[static_cast<std::size_t>(rank)];
  if (!contents) {
    std::vector<ExpectedShard> shards;
    for (const IndexEntry* entry : entries_of_rank[static_cast<std::size_t>(rank)]) {
      shards.push_back(
          {index.tensors[static_cast<std::size_t>(entry->tensor)].name, entry->rectangle.size()});
    }
    contents = read_rank_file(folder / rank_file_name(rank), rank, info, shards);
  }
  return *contents;
}

const FileDescriptor& CheckpointReader::Implementation::file(int rank) {
  const auto found = open_files.find(rank);
  if (found != open_files.end()) return found->second;
  if (open_files.size() >= kMaxOpenFiles) open_files.clear();
  return open_files.emplace(rank, FileDescriptor(folder / rank_file_name(rank), O_RDONLY))
      .first->second;
}

void CheckpointReader::Implementation::read_overlap(const IndexEntry& entry,
                                                    const parallel::Rectangle& rectangle,
                                                    const parallel::Rectangle& overlap,
                                                    std::size_t field, float* out) {
  const RankFileContents& of_rank = contents(entry.rank);
  const auto ordinal = static_cast<std::size_t>(entry.ordinal);
  const bool whole = overlap == entry.rectangle;
  const bool check = whole || verify == Verify::everything;

  // Whole rows of the shard: they are contiguous in the file.
  parallel::Rectangle image = entry.rectangle;
  if (!check) {
    image.row_begin = overlap.row_begin;
    image.row_end = overlap.row_end;
  }
  const std::uint64_t offset =
      of_rank.offsets[ordinal][field] +
      static_cast<std::uint64_t>((image.row_begin - entry.rectangle.row_begin) * image.cols()) *
          sizeof(float);
  const bool direct = overlap == image && image.cols() == rectangle.cols();
  float* to = out + (overlap.row_begin - rectangle.row_begin) * rectangle.cols();
  if (!direct) {
    scratch.resize(static_cast<std::size_t>(image.size()));
    to = scratch.data();
  }
  file(entry.rank).read_at(to, static_cast<std::uint64_t>(image.size()) * sizeof(float), offset);
  if (check) {
    const auto bytes = std::as_bytes(std::span(to, static_cast<std::size_t>(image.size())));
    require(hash_bytes(bytes) == of_rank.checksums[ordinal][field], ExitStatus::bad_data,
            "{}: {} of {} does not fit its checksum: the file was damaged after it was written. "
            "Remove or rename this checkpoint: the same command goes on from the one before.",
            (folder / rank_file_name(entry.rank)).string(), kFieldNames[field],
            index.tensors[static_cast<std::size_t>(entry.tensor)].name);
  }
  if (!direct) copy_overlap(to, image, out, rectangle, overlap);
}

}  // namespace espalier::io
