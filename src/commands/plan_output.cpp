#include "commands/plan_output.hpp"

#include <fmt/core.h>

#include <cmath>

#include "base/text.hpp"
#include "model/architecture.hpp"

namespace espalier::commands {

std::string in_digits(double value, int digits) {
  if (value == 0.0) return "0";
  if (value < 1e-4) return fmt::format("{:.1e}", value);
  const int before = static_cast<int>(std::floor(std::log10(value))) + 1;
  if (before >= digits) return with_commas(static_cast<std::int64_t>(std::lround(value)));
  return fmt::format("{:.{}f}", value, digits - before);
}
std::string in_gib(std::int64_t bytes) {
  return fmt::format("{:.1f}", static_cast<double>(bytes) / static_cast<double>(1 << 30));
}
report::Cell percent_cell(double share) {
  return {share, fmt::format("{:.1f}", 100.0 * share)};
}
report::Cell seconds_cell(double seconds) {
  return {seconds, in_digits(seconds, 4)};
}
report::Cell hours_cell(double hours) {
  return {hours, in_digits(hours, 3)};
}
report::Cell count_cell(double count) {
  return {count, with_commas(static_cast<std::int64_t>(count + 0.5))};
}

std::vector<report::Column> estimate_columns() {
  std::vector<report::Column> columns = {{"fits", "fits"},
                                         {"memory_bytes", "memory, GiB"},
                                         {"library_bytes", "of it CUDA and NCCL, GiB"},
                                         {"step_seconds", "step, s"},
                                         {"tokens_per_second", "tokens/s"},
                                         {"tokens_per_second_per_device", "tokens/s per device"},
                                         {"mfu_causal", "MFU, %"},
                                         {"mfu_full", "MFU full attention, %"},
                                         {"hours", "hours"},
                                         {"device_hours", "device-hours"}};
  for (const plan::StepPart& part : plan::step_parts({})) columns.push_back({part.key, part.name});
  columns.push_back({"tensor_hidden", "tensor communication, hidden"});
  columns.push_back({"context_hidden", "context communication, hidden"});
  columns.push_back({"data_hidden", "data communication, hidden"});
  columns.push_back({"checkpoint_interval", "between checkpoints, s"});
  columns.push_back({"checkpoint_seconds", "a checkpoint stalls, s"});
  return columns;
}

std::vector<report::Cell> estimate_cells(const plan::Estimate& e) {
  const auto bytes = [](std::int64_t n) { return report::Cell(static_cast<double>(n), in_gib(n)); };
  std::vector<report::Cell> cells = {e.fits ? "yes" : "no", bytes(e.memory_bytes),
                                     bytes(e.library_bytes)};
  const bool is_timed = e.tokens_per_second > 0.0;
  if (!is_timed) {
    cells.resize(estimate_columns().size(), report::Cell(std::nan(""), ""));
    return cells;
  }
  cells.push_back(seconds_cell(e.step()));
  cells.push_back(count_cell(e.tokens_per_second));
  cells.push_back(count_cell(e.tokens_per_second / static_cast<double>(e.ranks)));
  cells.push_back(percent_cell(e.mfu_causal));
  cells.push_back(percent_cell(e.mfu_full));
  cells.push_back(hours_cell(e.hours));
  cells.push_back(hours_cell(e.device_hours()));
  for (const plan::StepPart& part : plan::step_parts(e))
    cells.emplace_back(part.seconds, fmt::format("{} ({:.1f} %)", in_digits(part.seconds, 4),
                                                 100.0 * part.seconds / e.step()));
  cells.push_back(seconds_cell(e.time.tensor_hidden));
  cells.push_back(seconds_cell(e.time.context_hidden));
  cells.push_back(seconds_cell(e.time.data_hidden));
  cells.push_back(seconds_cell(e.checkpoint_interval));
  cells.push_back(seconds_cell(e.checkpoint_seconds));
  return cells;
}

std::string describe_run(const config::Parameters& p) {
  const auto architecture = model::Architecture::from(p.model);
  const std::int64_t active = architecture.num_active_parameters();
  const double tokens = static_cast<double>(p.training.steps) *
                        static_cast<double>(p.training.global_batch_size) *
                        static_cast<double>(p.training.sequence_length);
  return fmt::format(
      "{}: {} parameters{}\n"
      "{} steps of {} sequences of {} tokens: {:.4g}, {:.3g} per {}parameter\n"
      "expected loss {:.3f} "
      "({})",
      p.run.name.empty() ? p.model.model_type : p.run.name,
      with_commas(architecture.num_parameters()),
      architecture.has_experts ? fmt::format(", {} active", with_commas(active)) : std::string(),
      with_commas(p.training.steps), with_commas(p.training.global_batch_size),
      with_commas(p.training.sequence_length), tokens, tokens / static_cast<double>(active),
      architecture.has_experts ? "active " : "", plan::expected_loss(p),
      p.loss_law.name.substr(0, p.loss_law.name.find(" (")));
}

std::string describe_devices(std::int64_t ranks, const config::HardwareParameters& h) {
  return fmt::format("{} x {}{}", with_commas(ranks), h.name,
                     h.memory_gib > 0.0 ? fmt::format(" ({:.4g} GiB each)", h.memory_gib) : "");
}

std::string describe_hours(const config::Parameters& p, const plan::Estimate& e) {
  if (p.plan.hours <= 0.0) return {};
  if (e.hours <= p.plan.hours)
    return fmt::format("of plan.hours = {:.4g} it takes {:.4g}", p.plan.hours, e.hours);
  const double steps = 3600.0 * p.plan.hours / e.step();
  return fmt::format(
      "it takes {:.4g} h, more than plan.hours = {:.4g}: these are enough for training.steps = {}",
      e.hours, p.plan.hours, static_cast<std::int64_t>(steps));
}

std::string describe_doubts(const config::Parameters& p, const config::HardwareParameters& h) {
  // kernels/attention: cuDNN computes no blocks of queries, and there the program's own are slower.
  if (p.parallel.context == 1 || h.kind != "gpu" || h.compute_capability < 100) return {};
  return "  attention of context ranks is planned at the rate of whole sequences, which the "
         "program's "
         "own\n  kernels, that compute it on Blackwell, may not reach: not measured\n";
}

std::string time_bar(const plan::Estimate& e) {
  std::vector<report::Part> parts;
  for (const plan::StepPart& part : plan::step_parts(e))
    parts.push_back({part.name, part.seconds, in_digits(part.seconds, 4) + " s"});
  std::string text = report::bar(parts);
  const std::string context =
      e.time.context_hidden > 0.0
          ? fmt::format(", context communication {} s", in_digits(e.time.context_hidden, 4))
          : "";
  if (e.time.tensor_hidden > 0.0 || e.time.data_hidden > 0.0 || !context.empty())
    text += fmt::format(
        "  hidden beside the computation: tensor communication {} s{}{}data communication {} s\n",
        in_digits(e.time.tensor_hidden, 4), context, context.empty() ? ", " : ",\n  ",
        in_digits(e.time.data_hidden, 4));
  return text;
}

report::StackedBars time_chart(const std::string& title, const std::vector<NamedEstimate>& bars) {
  report::StackedBars chart{.title = title, .unit = "s", .parts = {}, .rows = {}};
  for (const plan::StepPart& part : plan::step_parts({})) chart.parts.push_back(part.name);
  for (const NamedEstimate& bar : bars) {
    chart.rows.push_back({bar.name, {}});
    for (const plan::StepPart& part : plan::step_parts(bar.estimate))
      chart.rows.back().amounts.push_back(part.seconds);
  }
  return chart;
}

}  // namespace espalier::commands
