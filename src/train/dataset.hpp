#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "data/batch.hpp"
#include "device/view.hpp"
#include "io/token_shard.hpp"
#include "model/inputs.hpp"
#include "parallel/comm/session.hpp"

namespace espalier::train {

/// The shards of one split, open, checked against model and tokenizer, and their token stream.
class Dataset {
 public:
  /// Throws Error (bad_data): no shard, corrupt shard, ids past vocab_size, another tokenizer than
  /// `tokenizer_identity` (empty: any), no shard as long as one sequence. `verify`: read every
  /// shard and compare its checksum (one rank is enough). `key`: what named them, for messages;
  /// empty: data.<split>. With `session`, rank 0 finds the shards, reads their headers and tells
  /// the other ranks, which meet its errors and only map the files. Collective then.
  Dataset(const std::string& where, const std::string& split, std::int64_t vocab_size,
          std::int64_t sequence_length, const std::string& tokenizer_identity, bool verify,
          const std::string& key = {}, parallel::MpiSession* session = nullptr);

  const data::TokenStream& stream() const { return stream_; }
  std::uint64_t num_samples() const { return num_samples_; }
  const std::string& tokenizer_identity() const {
    return shards_.front().info().tokenizer_identity;
  }
  /// Mean bytes of text per token: turns loss per token into bits per byte.
  double bytes_per_token() const { return bytes_per_token_; }
  /// "2 shards of 20,000,000 tokens, 1f0c3a5b00000000": another text has another one.
  std::string identity() const;
  /// Whether documents begin with these tokens: the first hundred of every shard are looked at.
  bool documents_begin_with(std::span<const std::uint32_t> tokens) const;
  /// "train: 2 shards, 20,000,000 tokens, 39,062 samples of 512"
  std::string describe() const;

 private:
  std::string split_;
  std::vector<io::TokenShard> shards_;
  data::TokenStream stream_;
  std::int64_t sequence_length_;
  std::uint64_t num_samples_;
  double bytes_per_token_;
};

/// A host micro-batch as the model takes it.
model::Batch as_batch(const data::MicroBatch& batch);

}  // namespace espalier::train
