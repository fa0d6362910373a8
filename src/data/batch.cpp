#include "data/batch.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/integers.hpp"

namespace espalier::data {
namespace {

/// The sizes of one batch as container indices.
struct BatchSize {
  std::size_t sequence_length;
  std::size_t num_sequences;
};

BatchSize prepare(std::int64_t sequence_length, std::int64_t num_sequences, MicroBatch& batch) {
  ESPALIER_ASSERT(sequence_length > 0 && num_sequences > 0, "S {}, B {}", sequence_length,
                  num_sequences);
  const BatchSize size{narrow<std::size_t>(sequence_length), narrow<std::size_t>(num_sequences)};
  const std::size_t num_tokens = size.sequence_length * size.num_sequences;
  if (batch.tokens.size() == num_tokens && batch.positions.size() == num_tokens) return size;
  batch.tokens.resize(num_tokens);
  batch.targets.resize(num_tokens);
  batch.positions.resize(num_tokens);
  return size;
}

void fill_positions(const BatchSize& size, std::size_t b, MicroBatch& batch) {
  for (std::size_t s = 0; s < size.sequence_length; ++s)
    batch.positions[b * size.sequence_length + s] = static_cast<std::int32_t>(s);
}

/// Sequence b of the batch = sample `sample` of the stream.
void load_sample(const TokenStream& stream, std::uint64_t sample, const BatchSize& size,
                 std::size_t b, MicroBatch& batch) {
  const std::size_t length = size.sequence_length;
  const auto tokens = std::span(batch.tokens).subspan(b * length, length);
  const auto targets = std::span(batch.targets).subspan(b * length, length);
  stream.copy(sample * length, tokens);
  std::copy(tokens.begin() + 1, tokens.end(), targets.begin());
  stream.copy(sample * length + length, targets.last(1));
  fill_positions(size, b, batch);
}

}  // namespace

TokenStream::TokenStream(std::vector<std::span<const std::uint32_t>> shards)
    : shards_(std::move(shards)) {
  begins_.reserve(shards_.size() + 1);
  for (const auto& shard : shards_) {
    begins_.push_back(size_);
    size_ += shard.size();
  }
  begins_.push_back(size_);
}

std::uint64_t TokenStream::num_samples(std::int64_t sequence_length) const {
  ESPALIER_ASSERT(sequence_length > 0, "S {}", sequence_length);
  return size_ == 0 ? 0 : (size_ - 1) / static_cast<std::uint64_t>(sequence_length);
}

void TokenStream::copy(std::uint64_t first, std::span<std::uint32_t> out) const {
  ESPALIER_ASSERT(first <= size_ && out.size() <= size_ - first, "tokens [{}, {}) of {}", first,
                  first + out.size(), size_);
  // The last shard that begins at or before `first`: an empty shard is never the one found,
  // because the next one begins at the same token.
  auto shard = static_cast<std::size_t>(std::upper_bound(begins_.begin(), begins_.end(), first) -
                                        begins_.begin()) -
               1;
  while (!out.empty()) {
    const auto source = shards_[shard].subspan(first - begins_[shard]);
    const std::size_t count = std::min(source.size(), out.size());
    std::copy_n(source.begin(), count, out.begin());
    out = out.subspan(count);
    first += count;
    ++shard;
  }
}

void load_micro_batch(const TokenStream& stream, const SampleOrder& order, const BatchShape& shape,
                      std::uint64_t samples_consumed, std::int64_t micro, MicroBatch& batch) {
  ESPALIER_ASSERT(micro >= 0 && micro < shape.num_micro_batches, "micro-batch {} of {}", micro,
                  shape.num_micro_batches);
  const BatchSize size = prepare(shape.sequence_length, shape.micro_batch_size, batch);
  const auto first =
      samples_consumed + narrow<std::uint64_t>((shape.data_rank * shape.num_micro_batches + micro) *
                                               shape.micro_batch_size);
  for (std::size_t b = 0; b < size.num_sequences; ++b)
    load_sample(stream, order.sample(first + b), size, b, batch);
}

void load_validation_batch(const TokenStream& stream, std::int64_t sequence_length,
                           std::int64_t micro_batch_size, std::uint64_t first_sample,
                           std::uint64_t end_sample, MicroBatch& batch) {
  const BatchSize size = prepare(sequence_length, micro_batch_size, batch);
  for (std::size_t b = 0; b < size.num_sequences; ++b) {
    const std::uint64_t sample = first_sample + b;
    if (sample < end_sample) {
      load_sample(stream, sample, size, b, batch);
      continue;
    }
    const auto begin = static_cast<std::ptrdiff_t>(b * size.sequence_length);
    std::fill_n(batch.tokens.begin() + begin, size.sequence_length, 0u);
    std::fill_n(batch.targets.begin() + begin, size.sequence_length, kIgnoredTarget);
    fill_positions(size, b, batch);
  }
}

}  // namespace espalier::data
