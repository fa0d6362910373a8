#include "tokenization/output.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <optional>
#include <set>

#include "base/error.hpp"
#include "base/text.hpp"
#include "base/whole_file.hpp"
#include "io/checkpoint_files.hpp"
#include "train/run_triggers.hpp"

namespace espalier::tokenization {
namespace {

namespace fs = std::filesystem;

constexpr const char* kManifest = "manifest.json";
constexpr const char* kReport = "report.json";
constexpr const char* kUnits = "units";

std::string unit_name(std::size_t unit) {
  return fmt::format("unit-{:05}", unit);
}

/// The number N of "<word>-N..."; nothing: there is none.
std::optional<std::size_t> number_behind(const std::string& name, const std::string& word) {
  if (!name.starts_with(word)) return std::nullopt;
  std::size_t number = 0;
  const auto [rest, error] =
      std::from_chars(name.data() + word.size(), name.data() + name.size(), number);
  return error == std::errc{} ? std::optional(number) : std::nullopt;
}

std::optional<std::size_t> unit_of_shard(const fs::path& path) {
  const std::string name = path.filename().string();
  for (const char* split : io::kSplitNames)
    if (const auto unit = number_behind(name, std::string(split) + "-")) return unit;
  return std::nullopt;
}

/// What people put there to ask the job for something (train::RunTriggers).
bool is_trigger(std::string_view name) {
  return std::any_of(train::kTriggers.begin(), train::kTriggers.end(),
                     [&](train::Trigger trigger) { return name == train::name_of(trigger); });
}

/// Whether a tokenization puts such a thing into its folder, or heeds it there.
bool is_written_by_us(const fs::directory_entry& entry) {
  std::error_code error;
  const std::string name = entry.path().filename().string();
  if (entry.is_regular_file(error))
    return is_shard(entry.path()) || name.starts_with(kManifest) || name.starts_with(kReport) ||
           is_trigger(name);
  if (!entry.is_directory(error)) return false;
  const auto inside = entries_of(entry.path());
  if (name == kUnits)
    return std::all_of(inside.begin(), inside.end(), [](const fs::directory_entry& unit) {
      return unit.path().filename().string().starts_with("unit-");
    });
  return std::all_of(inside.begin(), inside.end(),
                     [](const fs::directory_entry& shard) { return is_shard(shard.path()); });
}

/// All shards in the folder and in those of sources.
std::vector<fs::path> shards_in(const fs::path& folder) {
  std::vector<fs::path> shards;
  std::error_code error;
  for (const auto& entry : entries_of(folder)) {
    if (is_shard(entry.path())) shards.push_back(entry.path());
    if (!entry.is_directory(error) || entry.path().filename() == kUnits) continue;
    for (const auto& inner : entries_of(entry.path()))
      if (is_shard(inner.path())) shards.push_back(inner.path());
  }
  return shards;
}

std::string read_file(const fs::path& path) {
  std::optional<std::string> text = read_whole_file(path);
  require(text.has_value(), ExitStatus::io_error, "{}: cannot be read: {}", path.string(),
          std::strerror(errno));
  return std::move(*text);
}

/// Whole or not at all.
void write_file(const fs::path& path, const std::string& text) {
  const fs::path temporary = path.string() + ".tmp";
  {
    std::ofstream stream(temporary, std::ios::binary | std::ios::trunc);
    stream << text;
    stream.close();
    require(stream.good(), ExitStatus::io_error, "{}: cannot be written; is there room?",
            temporary.string());
  }
  io::FileDescriptor(temporary, O_RDONLY | O_CLOEXEC).flush();
  io::rename_path(temporary, path);
  io::flush_folder(path.parent_path());
}

std::uint64_t num_shards(const io::CorpusCounts& counts) {
  return counts.total().num_shards;
}

}  // namespace

OutputFolder::OutputFolder(const fs::path& output)
    : folder_(output, "tokenize.output", is_written_by_us) {
  io::create_folder(folder_.path() / kUnits);
}

std::vector<bool> OutputFolder::take_up(const io::CorpusManifest& manifest, bool goes_on) {
  keeps_ = goes_on;
  std::vector<bool> done(manifest.units.size(), false);
  std::map<std::size_t, std::uint64_t> wanted;  // shards of units that are done
  for (const auto& entry : entries_of(folder_.path() / kUnits)) {
    const auto unit = number_behind(entry.path().filename().string(), "unit-");
    if (unit && entry.path().extension() == ".done")
      wanted[*unit] =
          num_shards(io::CorpusCounts::parse(read_file(entry.path()), entry.path().string()));
  }
  const fs::path manifest_file = folder_.path() / kManifest;
  std::error_code error;
  if (!wanted.empty()) {
    std::string difference = "an input can be read once only";
    if (goes_on)
      difference = fs::exists(manifest_file, error)
                       ? manifest.difference(io::CorpusManifest::parse(read_file(manifest_file),
                                                                       manifest_file.string()))
                       : "manifest.json is gone";
    require(difference.empty(), ExitStatus::bad_configuration,
            "{}: holds {} finished unit(s) of an earlier job, which cannot be gone on with: {}. "
            "Start it as it was, or remove the folder, or choose another tokenize.output",
            folder_.path().string(), wanted.size(), difference);
  }

  // A unit of which a shard is missing is done anew.
  std::map<std::size_t, std::uint64_t> found;
  for (const fs::path& shard : shards_in(folder_.path()))
    if (const auto unit = unit_of_shard(shard); unit && shard.extension() == ".h5") ++found[*unit];
  for (const auto& [unit, count] : wanted)
    if (unit < done.size() && found[unit] == count) done[unit] = true;
  for (const fs::path& shard : shards_in(folder_.path())) {
    const auto unit = unit_of_shard(shard);
    if (!unit || *unit >= done.size() || !done[*unit] || shard.extension() != ".h5")
      fs::remove(shard, error);
  }
  for (const auto& entry : entries_of(folder_.path() / kUnits)) {
    const auto unit = number_behind(entry.path().filename().string(), "unit-");
    const bool is_mark =
        unit && *unit < done.size() && done[*unit] && entry.path().extension() == ".done";
    if (!is_mark) fs::remove_all(entry.path(), error);
  }
  if (wanted.empty()) write_file(manifest_file, manifest.text());
  return done;
}

OutputFolder::~OutputFolder() {
  const auto units = entries_of(folder_.path() / kUnits);
  const bool has_done = std::any_of(units.begin(), units.end(), [](const auto& entry) {
    return entry.path().extension() == ".done";
  });
  if (!is_published_) folder_.set_kept(keeps_ && has_done);
}

io::CorpusCounts OutputFolder::counts() const {
  io::CorpusCounts sum;
  for (const auto& entry : entries_of(folder_.path() / kUnits))
    if (entry.path().extension() == ".done")
      sum.add(io::CorpusCounts::parse(read_file(entry.path()), entry.path().string()));
  return sum;
}

void OutputFolder::publish(const std::string& report) {
  folder_.require_held();
  write_file(folder_.path() / kReport, report);
  const fs::path place = folder_.publish();
  is_published_ = true;
  // Behind the rename: killed in between, a job leaves marks that mislead nobody.
  std::error_code ignored;
  fs::remove_all(place / kUnits, ignored);
}

UnitWriter::UnitWriter(const fs::path& output, std::size_t unit, io::ShardInfo info,
                       std::uint64_t shard_tokens)
    : folder_(unfinished_folder(output)),
      parts_(folder_ / kUnits / (unit_name(unit) + ".part")),
      unit_(unit),
      info_(std::move(info)),
      shard_tokens_(shard_tokens) {
  io::create_folder(parts_);
}

UnitWriter::~UnitWriter() {
  shards_.clear();
  std::error_code ignored;
  fs::remove_all(parts_, ignored);
}

fs::path UnitWriter::part_of(const Key& key, std::size_t file) const {
  return parts_ / key.first /
         fmt::format("{}-{:05}-{:04}.h5", io::kSplitNames[static_cast<std::size_t>(key.second)],
                     unit_, file);
}

void UnitWriter::append(const DocumentBatch& batch) {
  for (std::size_t d = 0; d < batch.documents.size(); ++d) {
    const DocumentBatch::Document& document = batch.documents[d];
    append({batch.sources[document.source], document.split}, batch.ids_of(d),
           batch.text_of(d).size());
  }
}

void UnitWriter::append(const Key& key, std::span<const std::uint32_t> ids,
                        std::uint64_t num_bytes) {
  Shards& shards = shards_[key];
  if (shards.writer != nullptr && shards.writer->num_tokens() >= 2 * shard_tokens_) {
    shards.writer->finish();
    shards.writer.reset();
  }
  io::SplitCounts& counts = counts_.sources[key.first][static_cast<std::size_t>(key.second)];
  if (shards.writer == nullptr) {
    require(counts_.sources.size() <= kMostSources, ExitStatus::bad_configuration,
            "tokenize.source_key has more than {} values in one unit of input ({}): choose a key "
            "with fewer",
            kMostSources, info_.source);
    if (!key.first.empty() && shards.num_files == 0) io::create_folder(parts_ / key.first);
    io::ShardInfo info = info_;
    info.split = io::kSplitNames[static_cast<std::size_t>(key.second)];
    shards.writer =
        std::make_unique<io::TokenShardWriter>(part_of(key, shards.num_files++), std::move(info));
    ++counts.num_shards;
  }
  shards.writer->append(ids, num_bytes);
  ++counts.num_documents;
  counts.num_bytes += num_bytes;
  counts.num_tokens += ids.size();
}

void UnitWriter::finish(io::CorpusCounts counts) {
  for (auto& [key, shards] : shards_) shards.writer->finish();
  std::set<fs::path> folders;
  for (const auto& [key, shards] : shards_) {
    const fs::path folder = key.first.empty() ? folder_ : folder_ / key.first;
    if (folders.insert(folder).second) io::create_folder(folder);
    for (std::size_t file = 0; file < shards.num_files; ++file) {
      const fs::path part = part_of(key, file);
      const std::string split = io::kSplitNames[static_cast<std::size_t>(key.second)];
      io::rename_path(part,
                      folder / (shards.num_files == 1 ? fmt::format("{}-{:05}.h5", split, unit_)
                                                      : part.filename().string()));
    }
  }
  for (const fs::path& folder : folders) io::flush_folder(folder);
  counts.sources = counts_.sources;
  write_file(folder_ / kUnits / (unit_name(unit_) + ".done"), counts.text());
}

}  // namespace espalier::tokenization
