#include "train/replay.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "base/activity.hpp"
#include "base/bit_difference.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "io/checkpoint_files.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "train/checkpointing.hpp"
#include "train/device_choice.hpp"
#include "train/restart.hpp"
#include "train/run_files.hpp"
#include "train/trainer.hpp"
#include "train/whole_checkpoint.hpp"

namespace espalier::train {
namespace {

namespace fs = std::filesystem;
using Field = io::CheckpointReader::Field;

/// Whether the run has removed the checkpoint since it was chosen. Collective.
bool is_gone(parallel::MpiSession& session, const fs::path& folder) {
  return parallel::on_rank_0(session, [&] {
           for (const auto& complete : io::list_complete(folder.parent_path()))
             if (complete.path == folder) return std::string();
           return std::string("gone");
         }) == "gone";
}

/// damage_met_by_any; that a file is no longer there is damage, too, when the checkpoint is none
/// any more.
std::string read_by_all(parallel::MpiSession& session, const fs::path& folder,
                        const std::function<void()>& read) {
  return damage_met_by_any(session, [&] {
    try {
      read();
    } catch (const Error& error) {
      std::error_code ignored;
      if (error.status() != ExitStatus::io_error || fs::exists(folder / io::kMarkerName, ignored))
        throw;
      throw Error(ExitStatus::bad_data, error.what());
    }
  });
}

std::string digits(double value) {
  return fmt::format("{}", value);
}

/// Of two columns of digits; 0 where they are the same.
double relative_difference(const std::string& recorded, double replayed) {
  if (recorded == digits(replayed)) return 0.0;
  const double value = std::stod(recorded);
  if (!std::isfinite(value) || !std::isfinite(replayed))
    return std::numeric_limits<double>::infinity();
  const double scale = std::max(std::abs(value), std::abs(replayed));
  return scale == 0.0 ? 0.0 : std::abs(value - replayed) / scale;
}

/// What of a rank's state is not that of the checkpoint.
struct OtherBits {
  std::set<std::string> tensors;  ///< "model.norm.weight (exp_avg)"
  double largest = 0.0;

  void compare(const std::string& name, const std::vector<float>& mine,
               const std::vector<float>& kept) {
    BitDifference difference;
    difference.add(mine, kept);
    if (difference.any()) tensors.insert(name);
    largest = std::max(largest, difference.largest);
  }
};

OtherBits compare_tensors(device::Context& context, io::CheckpointReader& reader,
                          optim::AdamW& optimizer) {
  OtherBits other;
  std::vector<float> kept;
  for (optim::StateShard& state : optimizer.state()) {
    if (state.shard.rectangle.empty()) continue;
    activity::enter("comparing with a checkpoint");  // each tensor is a sign of life
    const auto& spec = *optimizer.store().tensor_of(state.shard).spec;
    kept.resize(static_cast<std::size_t>(state.shard.rectangle.size()));
    const auto compare = [&](Field field, const device::View& view, const char* what) {
      reader.read(spec.name, spec.rows, spec.cols, state.shard.rectangle, field, kept.data());
      other.compare(spec.name + what, context.download<float>(view), kept);
    };
    compare(Field::master, state.master, "");
    compare(Field::exp_avg, state.m, " (exp_avg)");
    compare(Field::exp_avg_sq, state.v, " (exp_avg_sq)");
  }
  return other;
}

/// "a, b, c and 4 more"
std::string first_of(const std::set<std::string>& names) {
  constexpr std::size_t kShown = 3;
  std::string text;
  std::size_t shown = 0;
  for (const std::string& name : names)
    if (shown < kShown) text += (shown++ == 0 ? "" : ", ") + name;
  return names.size() > kShown ? fmt::format("{} and {} more", text, names.size() - kShown) : text;
}

}  // namespace

Replay::Replay(parallel::MpiSession& session, const config::Parameters& parameters)
    : session_(session),
      watchdog_(parameters.run.hang_timeout > 0.0
                    ? std::make_unique<Watchdog>(session, parameters.run.hang_timeout)
                    : nullptr),
      parameters_(parameters),
      control_(parameters.run),
      rank_context_(session, parameters),
      model_(session, parameters, rank_context_),
      data_(parameters,
            parallel::on_rank_0(session,
                                [&] {
                                  require_inputs(parameters);
                                  return tokenizer_identity(parameters);
                                }),
            session.rank() == 0 && parameters.data.verify_checksum, &session),
      steps_(session, parameters_, rank_context_, model_, data_, state_),
      checkpoints_({session_, parameters_, rank_context_, model_, state_, nullptr}, nullptr,
                   control_, deadline_, nullptr, {}, {}),
      exchange_({session_, parameters_, rank_context_, model_, state_, nullptr}, control_,
                checkpoints_, deadline_, nullptr, {}) {
  log_devices(session, rank_context_, parameters_.device);
  const std::int64_t from = parameters_.verify.from, to = from + parameters_.verify.steps;
  const fs::path run = parameters_.output.directory;
  load(parallel::on_rank_0(session, [&] { return checkpoint_of_step(run, from).string(); }));
  guard_.emplace(MonitoredRun{session_, parameters_, rank_context_, model_, state_, nullptr},
                 checkpoints_, 0);
  guard_->read_history();
  if (session.rank() == 0) {
    recorded_ = io::read_history_words(run);
    std::erase_if(recorded_, [&](const auto& row) { return row.step <= from || row.step > to; });
  }
  parallel::on_rank_0(session, [&] {
    require(static_cast<std::int64_t>(recorded_.size()) == parameters_.verify.steps,
            ExitStatus::bad_data, "{}: has {} of the rows of steps {} to {}",
            (run / io::kHistoryName).string(), recorded_.size(), from + 1, to);
    return std::string();
  });
}

void Replay::load(const fs::path& folder) {
  std::optional<io::CheckpointReader> reader;
  std::string damage = read_by_all(session_, folder, [&] {
    reader.emplace(folder, io::CheckpointReader::Verify::everything,
                   wanted_state(*model_.memory.parameter_store), company(session_));
  });
  if (damage.empty()) {
    require_continuable(*reader, folder, parameters_, model_.memory.weights->table,
                        data_.tokenizer_identity());
    damage = read_by_all(session_, folder, [&] {
      load_state(rank_context_.context, *reader, *model_.memory.optimizer);
    });
  }
  if (!damage.empty()) {
    const std::string why =
        is_gone(session_, folder)
            ? fmt::format(
                  "{}: the run has removed this checkpoint while it was read. Start again "
                  "with a newer one (verify.from), or keep more (checkpoint.keep)",
                  folder.string())
            : damage;
    throw Error(ExitStatus::bad_data, why, Met::by_every_rank);
  }
  const io::CheckpointInfo& info = reader->info();
  state_.step = state_.first_step = state_.continued_step = info.step;
  state_.samples_consumed = info.samples_consumed;
  state_.num_left_out = info.step - info.adam_step;
  load_expert_bias(rank_context_.context, info, model_.memory.expert_bias.get());
  model_.memory.optimizer->weights_from_master(rank_context_.context);
  model_.memory.parameter_store->gather(rank_context_.context);
  resume_gemm_algorithms(session_, rank_context_.context.gemm(), folder);
  limit_steps_to_data(parameters_, data_, {state_.step, state_.samples_consumed});
  if (info.data_identity != data_.identity() && !info.data_identity.empty() && log::rank() == 0)
    log::warn("the training data are {}, those of the run were {}: other samples have other losses",
              data_.identity(), info.data_identity);
}

StepHooks Replay::hooks() {
  return {.exchange = [this](const StepSums& of_rank) { return exchange_.in_step(of_rank); },
          .judge = [this](const StepFindings& findings) { return guard_->judge(findings); }};
}

void Replay::follow_rollback() {
  const config::TrainingParameters& training = parameters_.training;
  if (parameters_.run.on_spike != "rollback") return;
  const std::uint64_t samples = std::stoull(parallel::on_rank_0(session_, [&] {
    const std::string& tokens =
        recorded_[static_cast<std::size_t>(state_.step - parameters_.verify.from)].tokens;
    return std::to_string(std::stoull(tokens) /
                          static_cast<std::uint64_t>(training.sequence_length));
  }));
  const std::uint64_t before = samples - static_cast<std::uint64_t>(training.global_batch_size);
  if (samples < static_cast<std::uint64_t>(training.global_batch_size) ||
      before <= state_.samples_consumed)
    return;
  log::info("after step {} the run has left out {} samples, after a rollback; so does the replay",
            state_.step, before - state_.samples_consumed);
  state_.samples_consumed = before;
}

void Replay::compare_step(const StepReport& report) {
  if (session_.rank() != 0) return;
  const io::HistoryWords& row =
      recorded_[static_cast<std::size_t>(report.step - parameters_.verify.from - 1)];
  std::string difference;
  const auto compare = [&](const char* column, const std::string& recorded,
                           const std::string& replayed) {
    if (recorded == replayed || !difference.empty()) return;
    difference =
        fmt::format("{} is {} in {}, {} replayed", column, recorded, io::kHistoryName, replayed);
  };
  compare("tokens", row.tokens, std::to_string(report.tokens));
  compare("learning_rate", row.learning_rate, digits(report.learning_rate));
  compare("loss", row.loss, digits(report.loss));
  compare("grad_norm", row.grad_norm, digits(report.grad_norm));
  log::info("{:>8}  {:<19} {:<19} {}", report.step, row.loss, digits(report.loss),
            difference.empty()               ? "yes"
            : difference.starts_with("loss") ? "no"  // both stand there
                                             : "no: " + difference);
  ++findings_.steps;
  const double largest = std::max(relative_difference(row.loss, report.loss),
                                  relative_difference(row.grad_norm, report.grad_norm));
  if (largest > findings_.largest_relative) {
    findings_.largest_relative = largest;
    findings_.largest_step = report.step;
  }
  if (difference.empty()) return;
  if (findings_.num_different++ == 0)
    findings_.first_difference = fmt::format("step {}: {}", report.step, difference);
}

void Replay::compare_state(const fs::path& folder) {
  rank_context_.context.synchronize();
  std::optional<io::CheckpointReader> reader;
  OtherBits other;
  std::string damage = read_by_all(session_, folder, [&] {
    reader.emplace(folder, io::CheckpointReader::Verify::everything,
                   wanted_state(*model_.memory.parameter_store), company(session_));
  });
  if (damage.empty())
    damage = read_by_all(session_, folder, [&] {
      other = compare_tensors(rank_context_.context, *reader, *model_.memory.optimizer);
    });
  if (!damage.empty()) {
    if (!is_gone(session_, folder)) throw Error(ExitStatus::bad_data, damage, Met::by_every_rank);
    if (log::rank() == 0)
      log::warn("{}: the run has removed this checkpoint meanwhile; it is not compared",
                folder.string());
    return;
  }
  const optim::ExpertBias* bias = model_.memory.expert_bias.get();
  if (bias != nullptr && !std::ranges::equal(bias->values(), reader->info().expert_bias))
    other.tensors.insert("the bias of the choice of experts");
  double largest[] = {other.largest};
  session_.world().all_reduce_max(std::span<double>(largest));
  std::string mine;
  for (const std::string& name : other.tensors) mine += name + "\n";
  std::set<std::string> tensors;
  for (const std::string& names : session_.world().all_gather(mine))
    for (std::size_t at = 0; at < names.size(); at = names.find('\n', at) + 1)
      tensors.insert(names.substr(at, names.find('\n', at) - at));
  const std::string name = folder.filename().string();
  if (tensors.empty()) {
    findings_.equal_states.push_back(state_.step);
    log::info("{:>8}  weights and moments: every bit is that of {}", state_.step, name);
    return;
  }
  findings_.other_states.push_back(
      fmt::format("weights or moments after step {} are not those of {}: {}, by up to {:.3g}",
                  state_.step, name, first_of(tensors), largest[0]));
  log::info("{:>8}  {}", state_.step, findings_.other_states.back());
}

ReplayFindings Replay::run() {
  const std::int64_t last = parameters_.verify.from + parameters_.verify.steps;
  exchange_.between_steps(0.0);
  steps_.warm_up();
  deadline_.begin(control_.elapsed_s());
  log::info("{:>8}  {:<19} {:<19} {}", "step", "loss recorded", "replayed", "equal");
  while (state_.step < last && !exchange_.is_urgent()) {
    activity::set_step(state_.step + 1);
    follow_rollback();
    const auto [result, learning_rate] = steps_.take(hooks());
    if (guard_->wants_rollback())
      throw Error(
          ExitStatus::bad_numbers,
          fmt::format("step {}: stands out in the replay (run.on_spike = \"rollback\"), and "
                      "did not in the run",
                      state_.step + 1),
          Met::by_every_rank);
    ++state_.step;
    if (!result.updated) ++state_.num_left_out;
    deadline_.step_done(control_.elapsed_s());
    compare_step({.step = state_.step,
                  .tokens = state_.samples_consumed *
                            static_cast<std::uint64_t>(parameters_.training.sequence_length),
                  .loss = result.loss,
                  .grad_norm = result.grad_norm,
                  .learning_rate = learning_rate});
    // Looked for now: a run that goes on may have made it, or removed it, since the replay began.
    const std::string kept = parallel::on_rank_0(session_, [&] {
      for (const auto& folder : io::list_complete(checkpoint_directory(parameters_)))
        if (folder.step == state_.step) return folder.path.string();
      return std::string();
    });
    if (!kept.empty()) compare_state(kept);
  }
  if (state_.step < last)
    findings_.stopped = exchange_.stop_signal() ? StopReason::signal : StopReason::time_limit;
  return findings_;
}

}  // namespace espalier::train
