#include "inference/sequence_logits.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "base/log.hpp"
#include "base/text.hpp"
#include "config/sequence_limit.hpp"
#include "data/batch.hpp"
#include "inference/forward_pass.hpp"
#include "io/sequence_file.hpp"
#include "train/dataset.hpp"
#include "train/evaluator.hpp"
#include "train/step/step.hpp"
#include "train/stopped_early.hpp"

namespace espalier::inference {
namespace {

/// Sequence `index` of the file as a micro-batch of one; past the end no target counts, so that
/// every rank runs the same forwards.
data::MicroBatch batch_of(const io::SequenceFile& file, std::int64_t index) {
  const bool counts = index < file.num_sequences;
  const auto first = file.tokens.begin() + (counts ? index : 0) * (file.sequence_length + 1);
  return {.samples = {first, first + file.sequence_length + 1},
          .document_positions = {},
          .num_samples = 1,
          .num_counted = counts ? 1 : 0};
}

/// The logits of one round on their way to rank 0's file: of all ranks only so many rows at a time,
/// because whole they may be larger than the model (S * V f32 for every sequence).
class RoundLogits {
 public:
  RoundLogits(const TrainedModel& trained, std::int64_t sequence_length)
      : grid_(trained.rank_context.grid.shape()),
        lm_head_({.name = "lm_head",
                  .rows = trained.architecture.vocab_size,
                  .shard = parallel::ShardRule::vocab_rows}),
        length_(sequence_length),
        local_cols_(trained.weights->sizes().vocab),
        rows_at_once_(std::clamp<std::int64_t>(kGatheredElements / (grid_.size() * local_cols_), 1,
                                               sequence_length)),
        own_(static_cast<std::size_t>(length_ * local_cols_)),
        gathered_(static_cast<std::size_t>(grid_.size() * rows_at_once_ * local_cols_)),
        arena_(device::Arena::backed(
            "logits",
            trained.rank_context.gpu
                ? length_ * local_cols_ * static_cast<std::int64_t>(sizeof(float))
                : 0,
            trained.rank_context.gpu)) {
    if (trained.rank_context.gpu)
      on_gpu_ = arena_.allocate("logits", DType::f32, length_, local_cols_);
  }

  /// Where operators write what goes to own().
  device::View computed() { return on_gpu_.data != nullptr ? on_gpu_ : own(); }

  /// This rank's: (S, V_loc) f32.
  device::View own() { return device::view_of(own_.data(), length_, local_cols_); }

  /// Writes the sequences first .. first + data - 1; `file` is null on all ranks but 0. Collective
  /// over `world`.
  void write(parallel::Communicator& world, io::LogitsFile* file, std::int64_t first,
             std::int64_t num_sequences) {
    for (std::int64_t row = 0; row < length_; row += rows_at_once_) {
      const std::int64_t rows = std::min(rows_at_once_, length_ - row);
      const device::View all = device::view_of(gathered_.data(), grid_.size() * rows, local_cols_);
      world.all_gather(all, own().row_range(row, rows));
      if (file == nullptr) continue;
      for (int rank = 0; rank < grid_.size(); ++rank) {
        const parallel::ProcessGrid place(grid_, rank);
        const std::int64_t sequence = first + place.data_rank();
        const parallel::Rectangle ids =
            parallel::tensor_shard(lm_head_, place.tensor_rank(), grid_.tensor);
        if (sequence < num_sequences && !ids.empty())
          file->write(sequence, {row, rows}, {ids.row_begin, ids.rows()},
                      all.row_range(rank * rows, rows).as<float>(), local_cols_);
      }
    }
  }

 private:
  static constexpr std::int64_t kGatheredElements = std::int64_t{1} << 24;  ///< 64 MiB

  parallel::GridShape grid_;
  parallel::TensorSpec lm_head_;
  std::int64_t length_, local_cols_, rows_at_once_;
  std::vector<float> own_, gathered_;
  device::Arena arena_;
  device::View on_gpu_;  ///< (S, V_loc) f32; no data on the host
};

}  // namespace

ExitStatus evaluate_sequences(TrainedModel& trained, parallel::MpiSession& session,
                              const train::RunControl& control, bool dry_run) {
  const config::EvaluationParameters& e = trained.parameters.evaluation;
  const io::SequenceFile file = io::read_sequences(e.tokens, trained.architecture.vocab_size);
  const config::ModelParameters& model = trained.parameters.model;
  require(file.sequence_length <= config::longest_sequence(model), ExitStatus::bad_data,
          "{}: sequences of {} tokens are longer than {}", e.tokens, file.sequence_length,
          config::describe_longest_sequence(model));
  if (dry_run) return ExitStatus::ok;

  ForwardPass forward(trained, 1, file.sequence_length);
  const std::int64_t per_round = trained.rank_context.grid.shape().data;
  const auto rounds = (file.num_sequences + per_round - 1) / per_round;
  std::optional<RoundLogits> logits;
  std::optional<io::LogitsFile> output;
  if (!e.logits.empty()) {
    logits.emplace(trained, file.sequence_length);
    if (session.rank() == 0)
      output.emplace(e.logits, file.num_sequences, file.sequence_length,
                     trained.architecture.vocab_size);
  }
  std::array<double, 1> loss{0.0};
  double slowest_s = 0.0;
  std::optional<train::StopReason> stop;
  std::int64_t done = 0;  // sequences
  for (std::int64_t round = 0; round < rounds; ++round) {
    stop = control.must_stop(session.world(), slowest_s);
    if (stop) break;
    const double start_s = control.elapsed_s();
    const std::int64_t first = round * per_round;
    const data::MicroBatch batch = batch_of(file, first + trained.rank_context.grid.data_rank());
    const double sum = forward.stage().evaluate(train::as_batch(batch));
    loss[0] += train::loss_share(trained.rank_context.grid, sum);
    if (logits) {
      forward.stage().logits(train::as_batch(batch), logits->computed());
      if (trained.rank_context.gpu)
        trained.rank_context.context.download(logits->own().data, logits->computed());
      logits->write(session.world(), output ? &*output : nullptr, first, file.num_sequences);
    }
    done = std::min(first + per_round, file.num_sequences);
    slowest_s = std::max(slowest_s, control.elapsed_s() - start_s);
  }
  if (output && !stop) output->finish();
  session.world().all_reduce_sum(loss);
  const auto tokens = static_cast<double>(std::max<std::int64_t>(done, 1) * file.sequence_length);
  if (done > 0)
    log::info("step {}: loss {:.9g}, perplexity {:.6g} over {} tokens of {}{}", trained.step,
              loss[0] / tokens, std::exp(loss[0] / tokens),
              with_commas(done * file.sequence_length), e.tokens,
              e.logits.empty() || stop ? "" : fmt::format("; logits in {}", e.logits));
  if (!std::isfinite(loss[0]))
    train::fail_not_finite(fmt::format("{} over {}", e.checkpoint, e.tokens), loss[0]);
  if (!stop) return ExitStatus::ok;
  return train::stopped_early(*stop,
                              fmt::format("{} of {} sequences{}", done, file.num_sequences,
                                          e.logits.empty() ? "" : ", and no logits are kept"));
}

}  // namespace espalier::inference
