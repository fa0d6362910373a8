#include "data/batch.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/integers.hpp"

namespace espalier::data {
namespace {

/// A batch being filled, with its sizes as container indices.
class Filler {
 public:
  Filler(std::int64_t sequence_length, std::int64_t num_sequences, const DocumentRule& documents,
         MicroBatch& batch)
      : documents_(documents), batch_(batch) {
    ESPALIER_ASSERT(sequence_length > 0 && num_sequences > 0, "S {}, B {}", sequence_length,
                    num_sequences);
    length_ = narrow<std::size_t>(sequence_length);
    num_sequences_ = narrow<std::size_t>(num_sequences);
    const std::size_t num_tokens = length_ * num_sequences_;
    batch.tokens.resize(num_tokens);
    batch.targets.resize(num_tokens);
    batch.positions.resize(num_tokens);
    batch.first_keys.resize(documents.mask ? num_tokens : 0);
  }
  std::size_t num_sequences() const { return num_sequences_; }

  /// Sequence b of the batch = sample `sample` of the stream.
  void load(const TokenStream& stream, std::uint64_t sample, std::size_t b) {
    const auto tokens = std::span(batch_.tokens).subspan(b * length_, length_);
    const auto targets = std::span(batch_.targets).subspan(b * length_, length_);
    const std::uint64_t first = sample * length_;
    stream.copy(first, tokens);
    std::copy(tokens.begin() + 1, tokens.end(), targets.begin());
    stream.copy(first + length_, targets.last(1));
    if (!documents_.mask && documents_.predict_across) return set_positions(b, 0, length_, 0);
    const std::uint64_t last = first + length_;
    for (std::uint64_t begin = first; begin < last;) {
      const std::uint64_t next = std::min(stream.next_document(begin), last + 1);
      const auto origin = static_cast<std::size_t>(documents_.mask ? begin - first : 0);
      set_positions(b, static_cast<std::size_t>(begin - first),
                    static_cast<std::size_t>(std::min(next, last) - first), origin);
      if (next <= last && !documents_.predict_across)
        targets[static_cast<std::size_t>(next - first - 1)] = kIgnoredTarget;
      begin = next;
    }
  }
  /// Sequence b of the batch counts nowhere.
  void leave_out(std::size_t b) {
    std::ranges::fill(std::span(batch_.tokens).subspan(b * length_, length_), 0U);
    std::ranges::fill(std::span(batch_.targets).subspan(b * length_, length_), kIgnoredTarget);
    set_positions(b, 0, length_, 0);
  }

 private:
  /// Tokens begin .. end - 1 of sequence b, in positions counted from `origin`.
  void set_positions(std::size_t b, std::size_t begin, std::size_t end, std::size_t origin) {
    for (std::size_t s = begin; s < end; ++s) {
      batch_.positions[b * length_ + s] = static_cast<std::int32_t>(s - origin);
      if (documents_.mask) batch_.first_keys[b * length_ + s] = static_cast<std::int32_t>(origin);
    }
  }

  DocumentRule documents_;
  MicroBatch& batch_;
  std::size_t length_ = 0;
  std::size_t num_sequences_ = 0;
};

}  // namespace

void load_micro_batch(const Sources& sources, const BatchShape& shape,
                      std::uint64_t samples_consumed, std::int64_t micro, MicroBatch& batch) {
  ESPALIER_ASSERT(micro >= 0 && micro < shape.num_micro_batches, "micro-batch {} of {}", micro,
                  shape.num_micro_batches);
  Filler filler(shape.sequence_length, shape.micro_batch_size, shape.documents, batch);
  const auto first =
      samples_consumed + narrow<std::uint64_t>((shape.data_rank * shape.num_micro_batches + micro) *
                                               shape.micro_batch_size);
  for (std::size_t b = 0; b < filler.num_sequences(); ++b) {
    const Sources::Sample sample = sources.sample(first + b);
    filler.load(*sample.stream, sample.index, b);
  }
}

std::uint64_t count_targets(const Sources& sources, std::int64_t sequence_length,
                            const DocumentRule& documents, std::uint64_t first_sample,
                            std::uint64_t num_samples) {
  const auto length = narrow<std::uint64_t>(sequence_length);
  std::uint64_t count = num_samples * length;
  if (documents.predict_across) return count;
  for (std::uint64_t g = first_sample; g < first_sample + num_samples; ++g) {
    const Sources::Sample sample = sources.sample(g);
    const std::uint64_t first = sample.index * length;
    count -= sample.stream->documents_between(first, first + length);
  }
  return count;
}

double attended_length(const Sources& sources, std::int64_t sequence_length,
                       const DocumentRule& documents) {
  if (!documents.mask) return static_cast<double>(sequence_length);
  const auto length = narrow<std::uint64_t>(sequence_length);
  const std::uint64_t samples = std::max<std::uint64_t>(sources.samples_without_repeat(), 1);
  const std::uint64_t stride = std::max<std::uint64_t>(samples / 1000, 1);
  double squares = 0.0, tokens = 0.0;
  for (std::uint64_t g = 0; g < samples; g += stride) {
    const Sources::Sample sample = sources.sample(g);
    const std::uint64_t last = (sample.index + 1) * length;
    for (std::uint64_t begin = sample.index * length; begin < last;) {
      const std::uint64_t end = std::min(sample.stream->next_document(begin), last);
      squares += static_cast<double>(end - begin) * static_cast<double>(end - begin);
      begin = end;
    }
    tokens += static_cast<double>(length);
  }
  return squares / tokens;
}

void load_validation_batch(const TokenStream& stream, const ValidationShape& shape,
                           std::uint64_t first_sample, std::uint64_t end_sample,
                           MicroBatch& batch) {
  Filler filler(shape.sequence_length, shape.micro_batch_size, shape.documents, batch);
  for (std::size_t b = 0; b < filler.num_sequences(); ++b) {
    if (first_sample + b < end_sample)
      filler.load(stream, first_sample + b, b);
    else
      filler.leave_out(b);
  }
}

std::uint64_t count_targets(const TokenStream& stream, const ValidationShape& shape,
                            std::uint64_t num_samples) {
  const std::uint64_t count = num_samples * narrow<std::uint64_t>(shape.sequence_length);
  if (shape.documents.predict_across || count == 0) return count;
  return count - stream.documents_between(0, count);
}

}  // namespace espalier::data
