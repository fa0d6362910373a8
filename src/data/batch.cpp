#include "data/batch.hpp"

#include <algorithm>
#include <numeric>

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
    batch.samples.resize(row() * num_sequences_);
    batch.document_positions.resize(needs_documents() ? row() * num_sequences_ : 0);
    batch.num_samples = num_sequences;
    batch.num_counted = 0;
    batch.documents = documents;
  }
  std::size_t num_sequences() const { return num_sequences_; }

  /// Sequence b of the batch = sample `sample` of the stream. Those that count come first.
  void load(const TokenStream& stream, std::uint64_t sample, std::size_t b) {
    const std::uint64_t first = sample * length_;
    stream.copy(first, std::span(batch_.samples).subspan(b * row(), row()));
    batch_.num_counted = narrow<std::int64_t>(b + 1);
    if (!needs_documents()) return;
    const std::uint64_t end = first + row();
    for (std::uint64_t begin = first; begin < end;) {
      const std::uint64_t next = std::min(stream.next_document(begin), end);
      const auto places = std::span(batch_.document_positions)
                              .subspan(b * row() + static_cast<std::size_t>(begin - first),
                                       static_cast<std::size_t>(next - begin));
      std::iota(places.begin(), places.end(), 0);
      begin = next;
    }
  }
  /// Sequence b of the batch counts nowhere.
  void leave_out(std::size_t b) {
    std::ranges::fill(std::span(batch_.samples).subspan(b * row(), row()), 0U);
    if (!needs_documents()) return;
    const auto places = std::span(batch_.document_positions).subspan(b * row(), row());
    std::iota(places.begin(), places.end(), 0);
  }

 private:
  std::size_t row() const { return length_ + 1; }
  bool needs_documents() const { return documents_.mask || !documents_.predict_across; }

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
