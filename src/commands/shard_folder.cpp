#include "commands/shard_folder.hpp"

#include <algorithm>
#include <vector>

#include "base/error.hpp"

namespace espalier::commands {
namespace {

constexpr std::uint64_t kMaxShards = 100'000;  // five digits, so that names sort as numbers

/// Where the output will lie: links followed, so that the folder can be renamed to it.
std::filesystem::path final_place(const std::filesystem::path& output) {
  std::error_code error;
  std::filesystem::path place = std::filesystem::weakly_canonical(output, error);
  if (error) place = std::filesystem::absolute(output);
  return place.has_filename() ? place : place.parent_path();
}

std::filesystem::path unfinished_folder(const std::filesystem::path& output) {
  std::filesystem::path folder = final_place(output);
  folder += ".unfinished";
  return folder;
}

/// A shard, or what its writer leaves when it is killed.
bool is_shard(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  return (name.ends_with(".h5") || name.ends_with(".h5.partial") ||
          name.ends_with(".h5.tokens.partial")) &&
         std::any_of(std::begin(kTokenSplitNames), std::end(kTokenSplitNames),
                     [&](const std::string& split) { return name.starts_with(split + "-"); });
}

/// The entry of a folder that sorts first; empty: there is none, or no folder.
std::filesystem::path first_in(const std::filesystem::path& folder) {
  std::filesystem::path first;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    if (first.empty() || entry.path() < first) first = entry.path();
  return first;
}

/// Removes what a run that was cut short has left, and nothing else.
void remove_unfinished(const std::filesystem::path& folder) {
  std::error_code error;
  std::vector<std::filesystem::path> ours;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    require(is_shard(entry.path()) && entry.is_regular_file(error), ExitStatus::bad_configuration,
            "{}: the folder is needed for unfinished shards, but {} is none. Move it, or choose "
            "another output",
            folder.string(), entry.path().filename().string());
    ours.push_back(entry.path());
  }
  for (const auto& path : ours) std::filesystem::remove(path, error);
}

}  // namespace

ShardFolder::ShardFolder(const std::filesystem::path& output)
    : output_(output),
      unfinished_(unfinished_folder(output)),
      lock_(unfinished_.string() + ".lock",
            {.busy = fmt::format("{} is being written by another job", output.string()),
             .remedy = "choose another output"}) {
  const auto present = first_in(output_);
  require(present.empty(), ExitStatus::bad_configuration,
          "{}: the folder must be new or empty, and holds files ({}, ...), which are not "
          "overwritten. Remove them, or choose another output",
          output_.string(), present.filename().string());
  std::error_code error;
  require(!std::filesystem::exists(output_, error) || std::filesystem::is_directory(output_, error),
          ExitStatus::bad_configuration,
          "{}: this is a file. the output is a folder: choose another", output_.string());
  remove_unfinished(unfinished_);
  std::filesystem::create_directories(unfinished_, error);
  require(!error, ExitStatus::io_error, "{}: the folder cannot be made: {}", unfinished_.string(),
          error.message());
  discards_ = true;
}

ShardFolder::~ShardFolder() {
  if (!discards_) return;
  std::error_code ignored;
  std::vector<std::filesystem::path> ours;
  for (const auto& entry : std::filesystem::directory_iterator(unfinished_, ignored))
    if (is_shard(entry.path())) ours.push_back(entry.path());
  for (const auto& path : ours) std::filesystem::remove(path, ignored);
  std::filesystem::remove(unfinished_, ignored);  // only when nothing else is in it
}

// One rename: a reader, or a person after a crash, sees all shards or none.
void ShardFolder::publish() {
  discards_ = false;
  std::error_code error;
  std::filesystem::rename(unfinished_, final_place(output_), error);  // over an empty folder, too
  require(!error, ExitStatus::io_error,
          "{}: the finished shards cannot be renamed to {}: {}. Nothing is lost: rename the folder "
          "yourself",
          unfinished_.string(), output_.string(), error.message());
}

TokenShardSet::TokenShardSet(const std::filesystem::path& output, io::ShardInfo info)
    : folder_(unfinished_folder(output)), info_(std::move(info)) {}

void TokenShardSet::append(TokenSplit split, std::uint64_t shard,
                           std::span<const std::uint32_t> tokens, std::uint64_t num_bytes) {
  const auto s = static_cast<std::size_t>(split);
  if (writers_[s] != nullptr && shard_[s] != shard) finish(s);
  if (writers_[s] == nullptr) {
    require(shard < kMaxShards, ExitStatus::bad_configuration,
            "there would be more than {} {} shards: raise tokenize.shard_tokens", kMaxShards,
            kTokenSplitNames[s]);
    io::ShardInfo info = info_;
    info.split = kTokenSplitNames[s];
    writers_[s] = std::make_unique<io::TokenShardWriter>(
        folder_ / fmt::format("{}-{:05}.h5", kTokenSplitNames[s], shard), info);
    shard_[s] = shard;
  }
  writers_[s]->append(tokens, num_bytes);
  ++written_[s].num_documents;
  written_[s].num_bytes += num_bytes;
  written_[s].num_tokens += tokens.size();
}

void TokenShardSet::finish(std::size_t split) {
  if (writers_[split] == nullptr) return;
  writers_[split]->finish();
  writers_[split].reset();
  ++written_[split].num_shards;
}

void TokenShardSet::finish() {
  for (std::size_t split = 0; split < kNumTokenSplits; ++split) finish(split);
}

}  // namespace espalier::commands
