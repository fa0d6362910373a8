#pragma once
#include <cstdint>
#include <vector>

#include "data/source_mix.hpp"
#include "data/token_stream.hpp"

namespace espalier::data {

/// What the bounds of documents mean in a sample. A sample that begins inside a document holds the
/// rest of it as its first document.
struct DocumentRule {
  bool mask = false;           ///< attention and positions begin anew with every document
  bool predict_across = true;  ///< false: a document's first token is no target
};

/// One micro-batch: its samples and what the model must know to gather its inputs from them
/// (kernels/embedding/batch_inputs.hpp).
struct MicroBatch {
  std::vector<std::uint32_t> samples;  ///< (B, S+1); the last token of a sample is only a target
  /// (B, S+1) a token's place in its document, counted in the sample; empty where the rule asks for
  /// no documents
  std::vector<std::int32_t> document_positions;
  std::int64_t num_samples = 0;  ///< B
  std::int64_t num_counted = 0;  ///< samples 0 .. num_counted - 1 count; the others hold zeros
  DocumentRule documents = {};
};

/// Which samples a data rank computes in a step:
/// global sample number = samples_consumed + (data_rank * num_micro_batches + micro) * B + b.
/// Every grid sees the same set in a step; only who computes what differs.
struct BatchShape {
  std::int64_t sequence_length;    ///< S
  std::int64_t micro_batch_size;   ///< B
  std::int64_t num_micro_batches;  ///< per data rank and step
  std::int64_t data_rank;
  DocumentRule documents = {};
};

/// Fills `batch` (resized once) with micro-batch `micro` of the step that starts at
/// `samples_consumed`.
void load_micro_batch(const Sources& sources, const BatchShape& shape,
                      std::uint64_t samples_consumed, std::int64_t micro, MicroBatch& batch);

/// Targets that count in samples first_sample .. first_sample + num_samples - 1 of the run: what
/// the loss of a step is divided by. O(num_samples log(documents)); reads no token.
std::uint64_t count_targets(const Sources& sources, std::int64_t sequence_length,
                            const DocumentRule& documents, std::uint64_t first_sample,
                            std::uint64_t num_samples);

/// The length of whole sequences whose attention costs as much per token: S, or with a mask
/// sum(length^2) / S over the documents of a sample, the mean of at most 1,000 samples of the first
/// epoch, evenly spaced.
double attended_length(const Sources& sources, std::int64_t sequence_length,
                       const DocumentRule& documents);

/// Which samples of a validation set a forward takes.
struct ValidationShape {
  std::int64_t sequence_length;   ///< S
  std::int64_t micro_batch_size;  ///< B
  DocumentRule documents = {};
};

/// Validation: samples in sequential order, first_sample .. first_sample + B - 1; samples at or
/// past end_sample do not count (so that every rank runs the same number of forwards).
void load_validation_batch(const TokenStream& stream, const ValidationShape& shape,
                           std::uint64_t first_sample, std::uint64_t end_sample, MicroBatch& batch);
/// Targets that count in samples 0 .. num_samples - 1.
std::uint64_t count_targets(const TokenStream& stream, const ValidationShape& shape,
                            std::uint64_t num_samples);

}  // namespace espalier::data
