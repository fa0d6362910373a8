#include "commands/tokenize_output.hpp"

#include <fcntl.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>

#include "base/error.hpp"
#include "base/text.hpp"
#include "io/checkpoint_files.hpp"

namespace espalier::commands {
namespace {

namespace fs = std::filesystem;

constexpr const char* kManifest = "manifest.json";
constexpr const char* kReport = "report.json";
constexpr const char* kUnits = "units";

/// Where the output will lie: links followed, so that the folder can be renamed to it.
fs::path final_place(const fs::path& output) {
  std::error_code error;
  fs::path place = fs::weakly_canonical(output, error);
  if (error) place = fs::absolute(output);
  return place.has_filename() ? place : place.parent_path();
}

fs::path unfinished_folder(const fs::path& output) {
  fs::path folder = final_place(output);
  folder += ".unfinished";
  return folder;
}

std::string unit_name(std::size_t unit) {
  return fmt::format("unit-{:05}", unit);
}

/// A shard, or what its writer leaves when it is killed.
bool is_shard(const fs::path& path) {
  const std::string name = path.filename().string();
  return (name.ends_with(".h5") || name.ends_with(".h5.partial") ||
          name.ends_with(".h5.tokens.partial")) &&
         std::any_of(std::begin(io::kSplitNames), std::end(io::kSplitNames),
                     [&](const std::string& split) { return name.starts_with(split + "-"); });
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

std::vector<fs::directory_entry> entries_of(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::directory_entry> entries;
  for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator();
       entry.increment(error))
    entries.push_back(*entry);
  std::sort(entries.begin(), entries.end());
  return entries;
}

/// Whether a tokenization puts such a thing into its folder.
bool is_written_by_us(const fs::directory_entry& entry) {
  std::error_code error;
  const std::string name = entry.path().filename().string();
  if (entry.is_regular_file(error))
    return is_shard(entry.path()) || name.starts_with(kManifest) || name.starts_with(kReport);
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

void remove_ours(const fs::path& folder) {
  std::error_code ignored;
  for (const auto& entry : entries_of(folder))
    if (is_written_by_us(entry)) fs::remove_all(entry.path(), ignored);
}

std::string read_file(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  require(stream.good(), ExitStatus::io_error, "{}: cannot be read", path.string());
  return text.str();
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
    : output_(output),
      unfinished_(unfinished_folder(output)),
      lock_(unfinished_.string() + ".lock",
            {.busy = fmt::format("{} is being written by another job", output.string()),
             .remedy = "choose another tokenize.output"}) {
  std::error_code error;
  require(!fs::exists(output_, error) || fs::is_directory(output_, error),
          ExitStatus::bad_configuration,
          "{}: this is a file. tokenize.output is a folder: choose another", output_.string());
  const auto present = entries_of(output_);
  require(present.empty(), ExitStatus::bad_configuration,
          "{}: the folder must be new or empty, and holds files ({}, ...), which are not "
          "overwritten. Remove them, or choose another tokenize.output",
          output_.string(), present.empty() ? "" : present.front().path().filename().string());
  for (const auto& entry : entries_of(unfinished_))
    require(is_written_by_us(entry), ExitStatus::bad_configuration,
            "{}: the folder is needed for unfinished shards, but {} is none. Move it, or choose "
            "another tokenize.output",
            unfinished_.string(), entry.path().filename().string());
  fs::create_directories(unfinished_ / kUnits, error);
  require(!error, ExitStatus::io_error, "{}: the folder cannot be made: {}", unfinished_.string(),
          error.message());
  made_ = true;
  keeps_ = true;
}

std::vector<bool> OutputFolder::take_up(const io::CorpusManifest& manifest, bool goes_on) {
  keeps_ = goes_on;
  std::vector<bool> done(manifest.units.size(), false);
  std::map<std::size_t, std::uint64_t> wanted;  // shards of units that are done
  for (const auto& entry : entries_of(unfinished_ / kUnits)) {
    const auto unit = number_behind(entry.path().filename().string(), "unit-");
    if (unit && entry.path().extension() == ".done")
      wanted[*unit] =
          num_shards(io::CorpusCounts::parse(read_file(entry.path()), entry.path().string()));
  }
  const fs::path manifest_file = unfinished_ / kManifest;
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
            unfinished_.string(), wanted.size(), difference);
  }

  // A unit whose shards are not all there any more is made again.
  std::map<std::size_t, std::uint64_t> found;
  for (const fs::path& shard : shards_in(unfinished_))
    if (const auto unit = unit_of_shard(shard); unit && shard.extension() == ".h5") ++found[*unit];
  for (const auto& [unit, count] : wanted)
    if (unit < done.size() && found[unit] == count) done[unit] = true;
  for (const fs::path& shard : shards_in(unfinished_)) {
    const auto unit = unit_of_shard(shard);
    if (!unit || *unit >= done.size() || !done[*unit] || shard.extension() != ".h5")
      fs::remove(shard, error);
  }
  for (const auto& entry : entries_of(unfinished_ / kUnits)) {
    const auto unit = number_behind(entry.path().filename().string(), "unit-");
    const bool is_mark =
        unit && *unit < done.size() && done[*unit] && entry.path().extension() == ".done";
    if (!is_mark) fs::remove_all(entry.path(), error);
  }
  if (wanted.empty()) write_file(manifest_file, manifest.text());
  return done;
}

OutputFolder::~OutputFolder() {
  if (!made_ || !lock_.is_held()) return;
  std::error_code ignored;
  const auto units = entries_of(unfinished_ / kUnits);
  const bool has_done = std::any_of(units.begin(), units.end(), [](const auto& entry) {
    return entry.path().extension() == ".done";
  });
  if (keeps_ && has_done) return;
  remove_ours(unfinished_);
  fs::remove(unfinished_, ignored);  // only when nothing else is in it
}

io::CorpusCounts OutputFolder::counts() const {
  io::CorpusCounts sum;
  for (const auto& entry : entries_of(unfinished_ / kUnits))
    if (entry.path().extension() == ".done")
      sum.add(io::CorpusCounts::parse(read_file(entry.path()), entry.path().string()));
  return sum;
}

// One rename: a reader, or a person after a crash, sees all shards or none.
void OutputFolder::publish(const std::string& report) {
  lock_.require_held();
  write_file(unfinished_ / kReport, report);
  const fs::path place = final_place(output_);
  std::error_code error;
  fs::rename(unfinished_, place, error);  // over an empty folder, too
  require(!error, ExitStatus::io_error,
          "{}: the finished shards cannot be renamed to {}: {}. Nothing is lost: rename the folder "
          "yourself",
          unfinished_.string(), output_.string(), error.message());
  made_ = false;
  // Behind the rename: killed in between, a job leaves marks that mislead nobody.
  fs::remove_all(place / kUnits, error);
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

}  // namespace espalier::commands
