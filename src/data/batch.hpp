#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "data/sample_order.hpp"

namespace espalier::data {

/// The tokens of a data set: its shards end to end, as memory maps.
class TokenStream {
 public:
  explicit TokenStream(std::vector<std::span<const std::uint32_t>> shards);
  std::uint64_t size() const { return size_; }  ///< tokens
  /// Samples of `sequence_length`: sample i is tokens i*S .. i*S+S (the last only a target).
  std::uint64_t num_samples(std::int64_t sequence_length) const;
  /// Copies tokens [first, first + out.size()), across shard ends where need be. The range must
  /// lie inside the stream.
  void copy(std::uint64_t first, std::span<std::uint32_t> out) const;

 private:
  std::vector<std::span<const std::uint32_t>> shards_;
  std::vector<std::uint64_t> begins_;
  std::uint64_t size_ = 0;
};

/// A target that counts in no loss; the value of kernels::kIgnoredTarget, which this room does not
/// see.
inline constexpr std::uint32_t kIgnoredTarget = 0xFFFFFFFFu;

/// One micro-batch in the model's layout.
struct MicroBatch {
  std::vector<std::uint32_t> tokens;    ///< (B*S)
  std::vector<std::uint32_t> targets;   ///< (B*S) the next token; kIgnoredTarget where none counts
  std::vector<std::int32_t> positions;  ///< (B*S) 0 .. S-1 in each sequence
};

/// Which samples a data rank computes in a step:
/// global sample number = samples_consumed + (data_rank * num_micro_batches + micro) * B + b.
/// Every grid sees the same set in a step; only who computes what differs.
struct BatchShape {
  std::int64_t sequence_length;    ///< S
  std::int64_t micro_batch_size;   ///< B
  std::int64_t num_micro_batches;  ///< per data rank and step
  std::int64_t data_rank;
};

/// Fills `batch` (resized once) with micro-batch `micro` of the step that starts at
/// `samples_consumed`.
void load_micro_batch(const TokenStream& stream, const SampleOrder& order, const BatchShape& shape,
                      std::uint64_t samples_consumed, std::int64_t micro, MicroBatch& batch);

/// Validation: samples in sequential order, first_sample .. first_sample + B - 1; samples at or
/// past end_sample become ignored targets (so that every rank runs the same number of forwards).
void load_validation_batch(const TokenStream& stream, std::int64_t sequence_length,
                           std::int64_t micro_batch_size, std::uint64_t first_sample,
                           std::uint64_t end_sample, MicroBatch& batch);

}  // namespace espalier::data
