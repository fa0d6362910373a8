#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <system_error>
#include <unordered_map>

#include "base/error.hpp"
#include "base/text.hpp"
#include "io/checkpoint.hpp"
#include "io/checkpoint_files.hpp"
#include "io/checkpoint_format.hpp"
#include "io/checkpoint_outline.hpp"
#include "io/checkpoint_shared.hpp"

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
  Implementation(fs::path of_checkpoint, Verify how)
      : folder(std::move(of_checkpoint)), verify(how) {}

  const fs::path folder;
  const Verify verify;
  CheckpointInfo info;
  std::vector<TensorShape> tensors;
  std::unordered_map<std::string, std::size_t> tensor_of_name;
  std::map<int, std::vector<IndexEntry>> entries_of_rank;  ///< of the files that are known
  std::vector<std::vector<const IndexEntry*>> entries_of_tensor;
  std::vector<std::int64_t> first_entries;  ///< per rank: number of its first entry in the index
  std::unordered_map<int, std::uint64_t> file_bytes;  ///< of the ranks' files to look at
  std::unordered_map<int, RankFileContents> contents_of_rank;
  std::unordered_map<int, FileDescriptor> open_files;
  std::vector<float> scratch;

  void require_complete() const;
  fs::path index_file() const;
  fs::path file_of(int rank) const {
    return folder / (info.is_shared ? std::string(kSharedName) : rank_file_name(rank));
  }
  void read_master();
  void set_tensors(std::vector<TensorShape> of_checkpoint);
  std::vector<RankEntries> entries_of(int first, int end) const;
  std::string problem_of_file(int rank) const;
  void require_files(const Company& company) const;
  void be_told(std::span<const Wanted> wanted, const Company& company);
  const RankFileContents& contents(int rank);
  const FileDescriptor& file(int rank);
  void read_overlap(const IndexEntry& entry, const parallel::Rectangle& rectangle,
                    const parallel::Rectangle& overlap, std::size_t field, float* out);
};

CheckpointReader::CheckpointReader(const fs::path& folder, Verify verify)
    : implementation_(std::make_unique<Implementation>(folder, verify)) {
  Implementation& self = *implementation_;
  self.read_master();
  for (int rank = 0; rank < self.info.num_ranks; ++rank)
    if (const std::string problem = self.problem_of_file(rank); !problem.empty())
      throw Error(ExitStatus::bad_data, problem);
}

CheckpointReader::CheckpointReader(const fs::path& folder, Verify verify,
                                   std::span<const Wanted> wanted, const Company& company)
    : implementation_(std::make_unique<Implementation>(folder, verify)) {
  implementation_->be_told(wanted, company);
  implementation_->require_files(company);
}

CheckpointReader::~CheckpointReader() = default;

const CheckpointInfo& CheckpointReader::info() const {
  return implementation_->info;
}

const std::vector<CheckpointReader::TensorShape>& CheckpointReader::tensors() const {
  return implementation_->tensors;
}

std::vector<CheckpointReader::PlacedRectangle> CheckpointReader::rectangles() const {
  std::vector<PlacedRectangle> placed;
  for (const auto& [rank, entries] : implementation_->entries_of_rank)
    for (const IndexEntry& entry : entries) placed.push_back({entry.tensor, rank, entry.rectangle});
  return placed;
}

void CheckpointReader::read(const std::string& name, std::int64_t global_rows,
                            std::int64_t global_cols, const parallel::Rectangle& rectangle,
                            Field field, float* out) {
  Implementation& self = *implementation_;
  if (rectangle.empty()) return;
  require(static_cast<int>(field) < num_fields(self.info), ExitStatus::bad_data,
          "{} holds weights without the optimizer's moments: it cannot be continued; name it in "
          "model.initial_weights of a new run",
          self.folder.string());
  const auto found = self.tensor_of_name.find(name);
  if (found == self.tensor_of_name.end()) {
    std::vector<std::string> names;
    for (const TensorShape& tensor : self.tensors) names.push_back(tensor.name);
    const std::string nearest = nearest_name(name, names);
    fail(ExitStatus::bad_data, "{} holds no tensor {}{}: it is of another architecture",
         self.folder.string(), name, nearest.empty() ? "" : " (the nearest is " + nearest + ")");
  }
  const TensorShape& tensor = self.tensors[found->second];
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

fs::path CheckpointReader::Implementation::index_file() const {
  std::error_code ignored;
  const fs::path shared = folder / kSharedName;
  return fs::exists(shared, ignored) ? shared : folder / kMasterName;
}

void CheckpointReader::Implementation::require_complete() const {
  std::error_code ignored;
  require(fs::is_directory(folder, ignored), ExitStatus::bad_data,
          "{} is not a checkpoint: no such folder", folder.string());
  require(fs::exists(folder / kMarkerName, ignored), ExitStatus::bad_data,
          "{} is not a complete checkpoint: it has no {} marker, so its save was cut off. Take "
          "another step.",
          folder.string(), kMarkerName);
  require(fs::exists(index_file(), ignored), ExitStatus::bad_data,
          "{}: {} is missing; remove or rename this checkpoint: the same command goes on from the "
          "one before",
          folder.string(), kMasterName);
}

void CheckpointReader::Implementation::read_master() {
  require_complete();
  CheckpointIndex index;
  read_master_file(index_file(), info, index);
  set_tensors(std::move(index.tensors));
  for (const IndexEntry& entry : index.entries) entries_of_rank[entry.rank].push_back(entry);
  std::int64_t first = 0;
  for (int rank = 0; rank < info.num_ranks; ++rank) {
    first_entries.push_back(first);
    if (const auto own = entries_of_rank.find(rank); own != entries_of_rank.end())
      first += std::ssize(own->second);
  }
  for (int rank = 0; rank < info.num_ranks && !info.is_shared; ++rank)
    file_bytes[rank] = index.rank_file_bytes[static_cast<std::size_t>(rank)];
  for (const auto& [rank, entries] : entries_of_rank)
    for (const IndexEntry& entry : entries)
      entries_of_tensor[static_cast<std::size_t>(entry.tensor)].push_back(&entry);
}

void CheckpointReader::Implementation::set_tensors(std::vector<TensorShape> of_checkpoint) {
  tensors = std::move(of_checkpoint);
  entries_of_tensor.resize(tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) tensor_of_name.emplace(tensors[i].name, i);
}

/// What the files of ranks [first, end) hold, as rank 0 knows it.
std::vector<RankEntries> CheckpointReader::Implementation::entries_of(int first, int end) const {
  std::vector<RankEntries> ranks;
  for (int rank = first; rank < end; ++rank) {
    const auto found = entries_of_rank.find(rank);
    ranks.push_back(
        {.rank = rank,
         .file_bytes = info.is_shared ? 0 : file_bytes.at(rank),
         .entries = found == entries_of_rank.end() ? std::vector<IndexEntry>() : found->second});
  }
  return ranks;
}

void CheckpointReader::Implementation::be_told(std::span<const Wanted> wanted,
                                               const Company& company) {
  const bool tells = company.rank == 0;
  std::vector<int> part_begins{0};
  const CheckpointOutline outline = decode_outline(company.on_rank_0([&] {
    read_master();
    std::int64_t entries = 0;
    for (int rank = 0; rank < info.num_ranks; ++rank) {
      if (entries >= kEntriesOfPart) part_begins.push_back(rank), entries = 0;
      const auto found = entries_of_rank.find(rank);
      entries += 1 + (found == entries_of_rank.end() ? 0 : std::ssize(found->second));
    }
    part_begins.push_back(info.num_ranks);
    return encode_outline({info, tensors, static_cast<int>(part_begins.size()) - 1});
  }));
  if (!tells) {
    info = outline.info;
    set_tensors(outline.tensors);
  }
  std::vector<std::vector<parallel::Rectangle>> wanted_of_tensor(tensors.size());
  for (const Wanted& one : wanted)
    if (const auto found = tensor_of_name.find(one.tensor); found != tensor_of_name.end())
      wanted_of_tensor[found->second].push_back(one.rectangle);
  const auto is_wanted = [&](const IndexEntry& entry) {
    const auto& rectangles = wanted_of_tensor[static_cast<std::size_t>(entry.tensor)];
    return std::any_of(rectangles.begin(), rectangles.end(), [&](const parallel::Rectangle& one) {
      return !parallel::intersect(entry.rectangle, one).empty();
    });
  };
  std::int64_t next_entry = 0;
  for (int i = 0; i < outline.num_parts; ++i) {
    const std::string part = company.on_rank_0([&] {
      const auto at = static_cast<std::size_t>(i);
      return encode_part(entries_of(part_begins[at], part_begins[at + 1]));
    });
    if (tells) continue;
    for (RankEntries& of_rank : decode_part(part)) {
      first_entries.push_back(next_entry);
      next_entry += std::ssize(of_rank.entries);
      if (of_rank.rank % company.num_ranks == company.rank)
        file_bytes[of_rank.rank] = of_rank.file_bytes;
      if (std::any_of(of_rank.entries.begin(), of_rank.entries.end(), is_wanted))
        entries_of_rank[of_rank.rank] = std::move(of_rank.entries);
    }
  }
  if (tells) return;
  for (const auto& [rank, entries] : entries_of_rank)
    for (const IndexEntry& entry : entries)
      entries_of_tensor[static_cast<std::size_t>(entry.tensor)].push_back(&entry);
}

/// What is wrong with a file whose size is known here; empty: nothing.
std::string CheckpointReader::Implementation::problem_of_file(int rank) const {
  if (info.is_shared) return {};  // HDF5 looks at the size of what it opens
  const fs::path path = folder / rank_file_name(rank);
  std::error_code error;
  const std::uint64_t bytes = fs::file_size(path, error);
  if (error)
    return fmt::format(
        "{} cannot be looked at ({}): the checkpoint is of {} ranks and needs the files of all "
        "of them. Remove or rename this checkpoint: the same command goes on from the one before.",
        path.string(), error.message(), info.num_ranks);
  const std::uint64_t expected = file_bytes.at(rank);
  if (bytes == expected) return {};
  return fmt::format(
      "{} has {} bytes, but {} were written: it was {}. Remove or rename this checkpoint: "
      "the same command goes on from the one before.",
      path.string(), bytes, expected, bytes < expected ? "truncated" : "changed");
}

/// Every rank looks at the files of its share; rank 0 says what is wrong with the first bad one.
void CheckpointReader::Implementation::require_files(const Company& company) const {
  const double none = info.num_ranks;
  double first = none;
  for (int rank = company.rank; rank < info.num_ranks && first == none; rank += company.num_ranks)
    if (!problem_of_file(rank).empty()) first = rank;
  first = company.least(first);
  if (first == none) return;
  const int bad = static_cast<int>(first);
  company.on_rank_0([&]() -> std::string {
    const std::string problem = problem_of_file(bad);
    throw Error(
        ExitStatus::bad_data,
        !problem.empty()
            ? problem
            : fmt::format("{} is not the same for rank {} as for rank 0: their nodes do "
                          "not see one file system, or it is late; start again",
                          (folder / rank_file_name(bad)).string(), bad % company.num_ranks));
  });
}

const RankFileContents& CheckpointReader::Implementation::contents(int rank) {
  const auto known = contents_of_rank.find(rank);
  if (known != contents_of_rank.end()) return known->second;
  if (info.is_shared)
    return contents_of_rank
        .emplace(rank, read_shared_file(file_of(rank), tensors, entries_of_rank.at(rank),
                                        first_entries[static_cast<std::size_t>(rank)], info))
        .first->second;
  std::vector<ExpectedShard> shards;
  for (const IndexEntry& entry : entries_of_rank.at(rank))
    shards.push_back(
        {tensors[static_cast<std::size_t>(entry.tensor)].name, entry.rectangle.size()});
  return contents_of_rank
      .emplace(rank, read_rank_file(folder / rank_file_name(rank), rank, info, shards))
      .first->second;
}

const FileDescriptor& CheckpointReader::Implementation::file(int rank) {
  if (info.is_shared) rank = 0;  // one file
  const auto found = open_files.find(rank);
  if (found != open_files.end()) return found->second;
  if (open_files.size() >= kMaxOpenFiles) open_files.clear();
  return open_files.emplace(rank, FileDescriptor(file_of(rank), O_RDONLY)).first->second;
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
  const std::int64_t stride =
      info.is_shared ? tensors[static_cast<std::size_t>(entry.tensor)].cols : image.cols();
  const std::uint64_t offset =
      of_rank.offsets[ordinal][field] +
      static_cast<std::uint64_t>((image.row_begin - entry.rectangle.row_begin) * stride) *
          sizeof(float);
  const bool direct = overlap == image && image.cols() == rectangle.cols();
  float* to = out + (overlap.row_begin - rectangle.row_begin) * rectangle.cols();
  if (!direct) {
    scratch.resize(static_cast<std::size_t>(image.size()));
    to = scratch.data();
  }
  const FileDescriptor& from = file(entry.rank);
  if (stride == image.cols())
    from.read_at(to, static_cast<std::uint64_t>(image.size()) * sizeof(float), offset);
  else
    for (std::int64_t row = 0; row < image.rows(); ++row)
      from.read_at(to + row * image.cols(),
                   static_cast<std::uint64_t>(image.cols()) * sizeof(float),
                   offset + static_cast<std::uint64_t>(row * stride) * sizeof(float));
  if (check) {
    const auto bytes = std::as_bytes(std::span(to, static_cast<std::size_t>(image.size())));
    require(hash_bytes(bytes) == of_rank.checksums[ordinal][field], ExitStatus::bad_data,
            "{}: {} of {} does not fit its checksum: the file was damaged after it was written. "
            "Remove or rename this checkpoint: the same command goes on from the one before.",
            file_of(entry.rank).string(), kFieldNames[field],
            tensors[static_cast<std::size_t>(entry.tensor)].name);
  }
  if (!direct) copy_overlap(to, image, out, rectangle, overlap);
}

}  // namespace espalier::io
