#include <algorithm>
#include <chrono>
#include <ctime>
#include <limits>
#include <span>

#include "base/activity.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "train/checkpointing.hpp"
#include "train/device_choice.hpp"
#include "train/initial_weights.hpp"
#include "train/kept_tokenizer.hpp"
#include "train/restart.hpp"
#include "train/stopped_early.hpp"
#include "train/trainer.hpp"

// Where the state of a run comes from: the newest checkpoint that is whole, at a start and after a
// spike, or else initial weights.

namespace espalier::train {

void Trainer::start_or_continue() {
  activity::enter("making or reading weights");
  optim::AdamW& optimizer = *model_.memory.optimizer;
  constexpr std::int64_t kAny = std::numeric_limits<std::int64_t>::max();
  leave_if_stopped(session_, "opening data");
  if (const auto folder = load_newest(kAny, /*tells=*/true)) {
    resume_gemm_algorithms(session_, rank_context_.context.gemm(), *folder);
    state_.continued_step = state_.step;
    return;
  }
  limit_length();
  if (!parameters_.model.initial_weights.empty()) {
    InitialWeights initial(parameters_, model_.memory.weights->table, &session_,
                           wanted_state(*model_.memory.parameter_store));
    initial.warn_of_tokenizer(training_data_.tokenizer_identity());
    initial.load(rank_context_.context, optimizer);
    if (const io::CheckpointInfo* info = initial.checkpoint_info())
      load_expert_bias(rank_context_.context, *info, model_.memory.expert_bias.get());
    keep_special_tokens(parameters_.model, initial.model());
    log::info("new run: weights from {}", initial.describe());
  } else {
    randomize_masters(rank_context_.context, model_.memory.architecture, parameters_.training.seed,
                      optimizer);
    leave_if_stopped(session_, "making initial weights");
    log::info("new run: weights from seed {}", parameters_.training.seed);
  }
  weights_from_master();
}

void Trainer::weights_from_master() {
  model_.memory.optimizer->weights_from_master(rank_context_.context);
  model_.memory.parameter_store->gather(rank_context_.context);
}

void Trainer::limit_length() {
  data_end_run_ =
      limit_steps_to_data(parameters_, training_data_, {state_.step, state_.samples_consumed}) ||
      data_end_run_;
}

std::optional<std::filesystem::path> Trainer::load_newest(std::int64_t last_step, bool tells) {
  std::vector<DamagedCheckpoint> damaged;
  for (const auto& folder :
       whole_checkpoints(session_, checkpoint_directory(parameters_), last_step)) {
    const std::string damage = load(folder, tells);
    if (damage.empty()) {
      // Only now: without another one to go on from, the next start must not take the run for new.
      if (session_.rank() == 0) set_aside(damaged);
      passed_over_.insert(passed_over_.end(), damaged.begin(), damaged.end());
      return folder;
    }
    damaged.push_back({folder, damage});
  }
  if (!damaged.empty()) fail_all_damaged(damaged);
  return std::nullopt;
}

std::string Trainer::load(const std::filesystem::path& folder, bool tells) {
  std::optional<io::CheckpointReader> reader;
  std::string damage = damage_met_by_any(session_, [&] {
    reader.emplace(folder, io::CheckpointReader::Verify::everything,
                   wanted_state(*model_.memory.parameter_store), company(session_));
  });
  if (!damage.empty()) return damage;
  const io::CheckpointInfo& info = reader->info();
  const config::Parameters earlier =
      require_continuable(*reader, folder, parameters_, model_.memory.weights->table,
                          training_data_.tokenizer_identity());
  rank_context_.context.synchronize();  // an update may be under way in what is read now
  const auto begin = std::chrono::steady_clock::now();
  // In a rollback a request is heard before the next step, with what the run has.
  constexpr const char* kReading = "reading a checkpoint";
  damage = damage_met_by_any(session_, [&] {
    until_stopped([&] {
      load_state(rank_context_.context, *reader, *model_.memory.optimizer, [&] {
        if (tells) require_not_stopped(kReading);
      });
    });
  });
  if (tells) leave_if_stopped(session_, kReading);
  if (!damage.empty()) return damage;
  double read_s[] = {
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count()};
  session_.world().all_reduce_max(std::span<double>(read_s));
  allowed_changes_ = allowed_changes(info, earlier, parameters_);
  keep_special_tokens(parameters_.model, earlier.model);
  state_.step = info.step;
  state_.samples_consumed = info.samples_consumed;
  state_.num_left_out = info.step - info.adam_step;
  num_spikes_ = info.num_spikes;
  load_expert_bias(rank_context_.context, info, model_.memory.expert_bias.get());
  weights_from_master();
  if (!tells) return {};
  limit_length();
  tell_changes_of_course(info, folder, earlier, parameters_, training_data_.identity());
  log::info("continuing {} (step {}, {} samples, written by {})", folder.string(), state_.step,
            state_.samples_consumed, info.grid);
  double bytes = 0.0;
  for (const auto& tensor : reader->tensors())
    bytes += static_cast<double>(tensor.rows * tensor.cols) * 3 * sizeof(float);
  log::info("the checkpoint was read in {:.2f} s: {}, {}/s", read_s[0], human_bytes(bytes),
            human_bytes(bytes / std::max(read_s[0], 1e-9)));
  return {};
}

void Trainer::roll_back() {
  const std::int64_t from = state_.step;
  const std::uint64_t samples = state_.samples_consumed;
  checkpoints_->finish();
  const auto folder = load_newest(from, /*tells=*/false);
  if (!folder)
    throw Error(ExitStatus::bad_numbers,
                fmt::format("step {}: run.on_spike = \"rollback\" finds no checkpoint to go back "
                            "to yet; no weight was changed. Lower checkpoint.interval or "
                            "optimizer.learning_rate, or use run.on_spike = \"skip\"",
                            from + 1),
                Met::by_every_rank);
  const std::uint64_t left_out = samples - state_.samples_consumed;
  state_.samples_consumed = samples;  // the data since then are not seen again
  limit_length();
  io::RunLog::Lost lost;
  if (log_) lost = log_->cut(state_.step);
  guard_->read_history();
  for (const auto& monitor : monitors_) monitor->after_rollback();
  record_passed_over();
  monitored().record("rollback", {{"from_step", static_cast<double>(from)},
                                  {"to_step", static_cast<double>(state_.step)},
                                  {"samples_left_out", static_cast<double>(left_out)},
                                  {"lost_s", lost.seconds}});
  log::info("back from step {} to {} (step {}); {} samples are left out", from, folder->string(),
            state_.step, left_out);
}

void Trainer::record_passed_over() {
  for (const DamagedCheckpoint& one : passed_over_)
    monitored().record("damaged", {{"path", one.path.string()}, {"why", one.why}});
  passed_over_.clear();
}

io::CheckpointInfo Trainer::checkpoint_info() const {
  io::CheckpointInfo info{
      .step = state_.step,
      .samples_consumed = state_.samples_consumed,
      .tokens_consumed = state_.samples_consumed *
                         static_cast<std::uint64_t>(parameters_.training.sequence_length),
      .adam_step = state_.step - state_.num_left_out,
      .num_spikes = guard_->num_spikes(),
      .resolved_input = config::to_toml(parameters_),
      .tokenizer_identity = training_data_.tokenizer_identity(),
      .data_identity = training_data_.identity(),
      .allowed_changes = allowed_changes_,
      .build = build_,
      .grid = rank_context_.grid.describe(),
      .num_ranks = session_.size(),
      .saved_at = std::time(nullptr),
      .job = job_};
  keep_expert_bias(info, model_.memory.expert_bias.get());
  return info;
}

}  // namespace espalier::train
