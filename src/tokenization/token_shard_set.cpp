#include "tokenization/token_shard_set.hpp"

#include "base/error.hpp"
#include "tokenization/unfinished_folder.hpp"

namespace espalier::tokenization {
namespace {

constexpr std::uint64_t kMaxShards = 100'000;  // five digits, so that names sort as numbers

}  // namespace

TokenShardSet::TokenShardSet(const std::filesystem::path& output, io::ShardInfo info)
    : folder_(unfinished_folder(output)), info_(std::move(info)) {}

void TokenShardSet::append(io::Split split, std::uint64_t shard,
                           std::span<const std::uint32_t> tokens, std::uint64_t num_bytes) {
  const auto s = static_cast<std::size_t>(split);
  if (writers_[s] != nullptr && shard_[s] != shard) finish(s);
  if (writers_[s] == nullptr) {
    require(shard < kMaxShards, ExitStatus::bad_configuration,
            "there would be more than {} {} shards: raise tokenize.shard_tokens", kMaxShards,
            io::kSplitNames[s]);
    io::ShardInfo info = info_;
    info.split = io::kSplitNames[s];
    writers_[s] = std::make_unique<io::TokenShardWriter>(
        folder_ / fmt::format("{}-{:05}.h5", io::kSplitNames[s], shard), info);
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
  for (std::size_t split = 0; split < io::kNumSplits; ++split) finish(split);
}

}  // namespace espalier::tokenization
