#include "train/dataset.hpp"

#include <algorithm>
#include <span>

#include "base/error.hpp"
#include "base/text.hpp"
#include "io/told_bytes.hpp"
#include "parallel/comm/on_rank_0.hpp"

namespace espalier::train {
namespace {

data::TokenStream stream_of(const std::vector<io::TokenShard>& shards) {
  std::vector<data::ShardView> views;
  for (const io::TokenShard& shard : shards)
    views.push_back({shard.tokens(), shard.documents(), shard.path().string()});
  return data::TokenStream(std::move(views));
}

std::vector<io::TokenShard> open_together(parallel::MpiSession& session, const std::string& where,
                                          const std::string& split, bool verify,
                                          const std::string& key) {
  std::vector<io::TokenShard> shards;
  const std::string told = parallel::on_rank_0(session, [&] {
    shards = io::open_shards(where, split, verify, key);
    io::ToldBytesWriter out;
    for (const io::TokenShard& shard : shards) out.put(shard.outline());
    return out.take();
  });
  if (session.rank() == 0) return shards;
  for (io::ToldBytesReader in(told); !in.at_end();)
    shards.push_back(io::TokenShard::told(in.get<std::string>()));
  return shards;
}

}  // namespace

Dataset::Dataset(const std::string& where, const std::string& split, std::int64_t vocab_size,
                 std::int64_t sequence_length, const std::string& tokenizer_identity, bool verify,
                 const std::string& key, parallel::MpiSession* session)
    : split_(split),
      shards_(session != nullptr ? open_together(*session, where, split, verify, key)
                                 : io::open_shards(where, split, verify, key)),
      stream_(stream_of(shards_)),
      sequence_length_(sequence_length),
      num_samples_(stream_.num_samples(sequence_length)),
      bytes_per_token_(0.0) {
  std::uint64_t longest = 0;
  std::uint64_t bytes = 0;
  for (const io::TokenShard& shard : shards_) {
    const io::ShardInfo& info = shard.info();
    require(info.vocabulary <= static_cast<std::uint64_t>(vocab_size), ExitStatus::bad_data,
            "{}: its tokenizer has ids up to {}, but model.vocab_size is {}; use the model's "
            "tokenizer or raise model.vocab_size",
            shard.path().string(), info.vocabulary - 1, vocab_size);
    require(tokenizer_identity.empty() || info.tokenizer_identity == tokenizer_identity,
            ExitStatus::bad_data,
            "{}: made with tokenizer {} ({}), this run uses {}; tokenize the text again with this "
            "run's tokenizer, or name the other one in data.tokenizer",
            shard.path().string(), info.tokenizer_identity, info.tokenizer_file,
            tokenizer_identity);
    longest = std::max(longest, info.num_tokens);
    bytes += info.num_bytes;
  }
  require(longest > static_cast<std::uint64_t>(sequence_length), ExitStatus::bad_data,
          "{} = \"{}\": training.sequence_length {} needs shards of at least {} tokens, the "
          "longest has {}; use shorter sequences or more text",
          key.empty() ? "data." + split : key, where, sequence_length, sequence_length + 1,
          longest);
  bytes_per_token_ = static_cast<double>(bytes) / static_cast<double>(stream_.size());
}

std::string Dataset::identity() const {
  std::string checksums;
  for (const io::TokenShard& shard : shards_) checksums += shard.info().checksum + "\n";
  return fmt::format("{} shard{} of {} tokens, {:016x}", shards_.size(),
                     shards_.size() == 1 ? "" : "s",
                     with_commas(static_cast<std::int64_t>(stream_.size())), hash_text(checksums));
}

bool Dataset::documents_begin_with(std::span<const std::uint32_t> tokens) const {
  constexpr std::size_t kLookedAt = 100;
  for (const io::TokenShard& shard : shards_) {
    const auto all = shard.tokens();
    const auto documents = shard.documents();
    for (const std::uint64_t begin :
         documents.first(std::min<std::size_t>(documents.size(), kLookedAt))) {
      const auto rest = all.subspan(std::min<std::uint64_t>(begin, all.size()));
      if (rest.size() < tokens.size() || !std::equal(tokens.begin(), tokens.end(), rest.begin()))
        return false;
    }
  }
  return true;
}

std::string Dataset::describe() const {
  return fmt::format("{}: {} shard{}, {} tokens, {} samples of {}", split_, shards_.size(),
                     shards_.size() == 1 ? "" : "s",
                     with_commas(static_cast<std::int64_t>(stream_.size())),
                     with_commas(static_cast<std::int64_t>(num_samples_)), sequence_length_);
}

model::Batch as_batch(const data::MicroBatch& batch) {
  const auto rows_of = [&](const auto& values) -> device::ConstView {
    if (values.empty()) return {};
    return device::view_of(values.data(), batch.num_samples,
                           std::ssize(values) / batch.num_samples);
  };
  return {.samples = rows_of(batch.samples),
          .document_positions = rows_of(batch.document_positions),
          .num_counted = batch.num_counted,
          .document_mask = batch.documents.mask,
          .predict_across = batch.documents.predict_across};
}

}  // namespace espalier::train
