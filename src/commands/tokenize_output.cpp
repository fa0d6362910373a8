#include "commands/tokenize_output.hpp"

#include <algorithm>
#include <vector>

#include "base/error.hpp"

namespace espalier::commands {
namespace {

constexpr std::uint64_t kMaxShards = 100'000;  // five digits, so that names sort as numbers

std::filesystem::path unfinished_folder(const std::filesystem::path& output) {
  return output / "unfinished";
}

bool is_shard(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  return name.ends_with(".h5") &&
         std::any_of(std::begin(kSplitNames), std::end(kSplitNames),
                     [&](const std::string& split) { return name.starts_with(split + "-"); });
}

std::vector<std::filesystem::path> shards_in(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> shards;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    if (is_shard(entry.path())) shards.push_back(entry.path());
  std::sort(shards.begin(), shards.end());
  return shards;
}

}  // namespace

ShardSet::ShardSet(const std::filesystem::path& output, io::ShardInfo info)
    : folder_(unfinished_folder(output)), info_(std::move(info)) {}

void ShardSet::prepare(const std::filesystem::path& output) {
  const auto present = shards_in(output);
  require(present.empty(), ExitStatus::bad_configuration,
          "{}: the folder holds {} token shard(s) already ({}, ...), which are not overwritten. "
          "Remove them, or choose another tokenize.output",
          output.string(), present.size(),
          present.empty() ? "" : present.front().filename().string());
  const auto folder = unfinished_folder(output);
  std::error_code error;
  std::filesystem::remove_all(folder, error);  // of a run that was cut short
  if (!error) std::filesystem::create_directories(folder, error);
  require(!error, ExitStatus::io_error, "{}: the folder cannot be made: {}", folder.string(),
          error.message());
}

void ShardSet::publish(const std::filesystem::path& output) {
  const auto folder = unfinished_folder(output);
  std::error_code error;
  for (const auto& shard : shards_in(folder)) {
    std::filesystem::rename(shard, output / shard.filename(), error);
    require(!error, ExitStatus::io_error, "{}: cannot be moved to {}: {}", shard.string(),
            output.string(), error.message());
  }
  std::filesystem::remove(folder, error);
}

void ShardSet::append(Split split, std::uint64_t shard, std::span<const std::uint32_t> tokens,
                      std::uint64_t num_bytes) {
  const auto s = static_cast<std::size_t>(split);
  if (writers_[s] != nullptr && shard_[s] != shard) finish(s);
  if (writers_[s] == nullptr) {
    require(shard < kMaxShards, ExitStatus::bad_configuration,
            "there would be more than {} {} shards: raise tokenize.shard_tokens", kMaxShards,
            kSplitNames[s]);
    io::ShardInfo info = info_;
    info.split = kSplitNames[s];
    writers_[s] = std::make_unique<io::TokenShardWriter>(
        folder_ / fmt::format("{}-{:05}.h5", kSplitNames[s], shard), info);
    shard_[s] = shard;
  }
  writers_[s]->append(tokens, num_bytes);
  ++written_[s].num_documents;
  written_[s].num_bytes += num_bytes;
  written_[s].num_tokens += tokens.size();
}

void ShardSet::finish(std::size_t split) {
  if (writers_[split] == nullptr) return;
  writers_[split]->finish();
  writers_[split].reset();
  ++written_[split].num_shards;
}

void ShardSet::finish() {
  for (std::size_t split = 0; split < kNumSplits; ++split) finish(split);
}

}  // namespace espalier::commands
