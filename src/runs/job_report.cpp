#include "runs/job_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/text.hpp"
#include "base/whole_file.hpp"

namespace espalier::runs {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const TimeAccount& account) {
  Json json;
  json["wall_s"] = account.wall_s;
  json["goodput"] = account.goodput();
  for (const TimePart& part : parts_of(account)) json[part.key] = part.seconds;
  return json;
}

double number(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number() ? it->get<double>() : kUnknown;
}
std::int64_t integer(const Json& object, const char* key) {
  const double value = number(object, key);
  return std::isfinite(value) ? static_cast<std::int64_t>(value) : 0;
}
std::string text(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}
bool flag(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_boolean() && it->get<bool>();
}
Json object_in(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_object() ? *it : Json::object();
}

TimeAccount account_in(const Json& json) {
  const auto seconds = [&](const char* key) {
    const double value = number(json, key);
    return std::isfinite(value) ? value : 0.0;
  };
  return {.wall_s = seconds("wall_s"),
          .steps_s = seconds("steps_s"),
          .replay_s = seconds("replay_s"),
          .validation_s = seconds("validation_s"),
          .checkpoint_s = seconds("checkpoint_s"),
          .start_s = seconds("start_s"),
          .wait_s = seconds("wait_s"),
          .other_s = seconds("other_s")};
}

Json json_of(const PlannedStep& planned) {
  Json parts = Json::object();
  for (const PlannedStep::Part& part : planned.parts) parts[part.name] = part.seconds;
  return {{"device", planned.device},
          {"step_s", planned.step_s},
          {"tokens_per_second", planned.tokens_per_second},
          {"mfu", planned.mfu},
          {"parts_s", parts}};
}

std::string share(double part, double whole) {
  return fmt::format("{:.1f} %", whole > 0.0 ? 100.0 * part / whole : 0.0);
}

/// Short times with their decimals.
std::string seconds_text(double s) {
  return s < 60.0 ? fmt::format("{:.2f} s", s) : human_duration(s);
}

std::string phase_lines(const JobReport& r) {
  double total = 0.0;
  for (const PhaseTime& phase : r.phases) total += phase.mean_s;
  std::string lines = fmt::format("where the time went  {:>10} {:>10} {:>10} {:>7}{}\n", "min s",
                                  "mean s", "max s", "share", r.ranks > 1 ? "  slowest rank" : "");
  for (const PhaseTime& phase : r.phases)
    lines +=
        fmt::format("  {:<22}{:>7.2f} {:>10.2f} {:>10.2f} {:>5.1f} %{}\n", phase.name, phase.min_s,
                    phase.mean_s, phase.max_s, total > 0.0 ? 100.0 * phase.mean_s / total : 0.0,
                    r.ranks > 1 ? fmt::format("  {:>12}", phase.slowest_rank) : "");
  return lines + fmt::format("  {:<22}{:>7} {:>10.2f}", "all", "", total);
}

}  // namespace

std::filesystem::path job_folder(const std::filesystem::path& run_directory, std::int64_t job) {
  return run_directory / kJobsName / fmt::format("{:04}", job);
}

std::string to_json(const JobReport& r) {
  Json json;
  json["run"] = r.run;
  json["job"] = r.job;
  json["state"] = r.state;
  json["status"] = r.exit_status;
  json["ranks"] = r.ranks;
  json["grid"] = r.grid;
  json["host"] = r.host;
  json["slurm_job"] = r.slurm_job;
  json["started"] = r.started;
  json["ended"] = r.ended;
  json["first_step"] = r.first_step;
  json["last_step"] = r.last_step;
  json["steps"] = r.steps;
  json["loss"] = r.loss;
  json["bits_per_byte"] = r.bits_per_byte;
  json["tokens_per_second"] = r.tokens_per_second;
  json["step_s"] = r.step_s;
  json["mfu"] = r.mfu;
  json["mfu_full_attention"] = r.mfu_full;
  json["peak_flops"] = r.peak_flops;
  json["planned"] = r.planned ? json_of(*r.planned) : Json(nullptr);
  json["phases"] = Json::array();
  for (const PhaseTime& phase : r.phases)
    json["phases"].push_back({{"name", phase.name},
                              {"min_s", phase.min_s},
                              {"mean_s", phase.mean_s},
                              {"max_s", phase.max_s},
                              {"slowest_rank", phase.slowest_rank},
                              {"communication", phase.is_communication}});
  json["slowest_rank"] = {{"rank", r.slowest_rank},
                          {"host", r.slowest_host},
                          {"compute_s", r.slowest_compute_s},
                          {"mean_compute_s", r.mean_compute_s}};
  json["communication"] = {{"exposed_s", r.exposed_s}, {"hidden_s", r.hidden_s}};
  json["input_s"] = r.input_s;
  json["checkpoints"] = {{"saves", r.saves},
                         {"bytes", r.save_bytes},
                         {"write_s", r.save_write_s},
                         {"stall_s", r.time.checkpoint_s}};
  json["time"] = json_of(r.time);
  json["whole_run"] = json_of(r.run_time);
  json["whole_run"]["jobs"] = r.num_jobs;
  json["whole_run"]["faults"] = r.num_faults;
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::optional<JobReport> read_report(const std::filesystem::path& file) {
  const std::optional<std::string> bytes = read_whole_file(file);
  if (!bytes) return std::nullopt;
  const Json json = Json::parse(*bytes, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("job") || !json.contains("time")) return std::nullopt;
  JobReport r;
  r.run = text(json, "run");
  r.job = integer(json, "job");
  r.state = text(json, "state");
  r.exit_status = integer(json, "status");
  r.ranks = integer(json, "ranks");
  r.grid = text(json, "grid");
  r.host = text(json, "host");
  r.slurm_job = text(json, "slurm_job");
  r.started = number(json, "started");
  r.ended = number(json, "ended");
  r.first_step = integer(json, "first_step");
  r.last_step = integer(json, "last_step");
  r.steps = integer(json, "steps");
  r.loss = number(json, "loss");
  r.bits_per_byte = number(json, "bits_per_byte");
  r.tokens_per_second = number(json, "tokens_per_second");
  r.step_s = number(json, "step_s");
  r.mfu = number(json, "mfu");
  r.mfu_full = number(json, "mfu_full_attention");
  r.peak_flops = number(json, "peak_flops");
  if (const auto it = json.find("phases"); it != json.end() && it->is_array())
    for (const Json& phase : *it)
      if (phase.is_object())
        r.phases.push_back({text(phase, "name"), number(phase, "min_s"), number(phase, "mean_s"),
                            number(phase, "max_s"), integer(phase, "slowest_rank"),
                            flag(phase, "communication")});
  const Json slowest = object_in(json, "slowest_rank");
  r.slowest_rank = integer(slowest, "rank");
  r.slowest_host = text(slowest, "host");
  r.slowest_compute_s = number(slowest, "compute_s");
  r.mean_compute_s = number(slowest, "mean_compute_s");
  const Json communication = object_in(json, "communication");
  r.exposed_s = number(communication, "exposed_s");
  r.hidden_s = number(communication, "hidden_s");
  r.input_s = number(json, "input_s");
  const Json saves = object_in(json, "checkpoints");
  r.saves = integer(saves, "saves");
  r.save_bytes = integer(saves, "bytes");
  r.save_write_s = number(saves, "write_s");
  r.time = account_in(object_in(json, "time"));
  const Json run = object_in(json, "whole_run");
  r.run_time = account_in(run);
  r.num_jobs = integer(run, "jobs");
  r.num_faults = integer(run, "faults");
  if (const Json planned = object_in(json, "planned"); !planned.empty()) {
    r.planned.emplace(PlannedStep{.device = text(planned, "device"),
                                  .step_s = number(planned, "step_s"),
                                  .tokens_per_second = number(planned, "tokens_per_second"),
                                  .mfu = number(planned, "mfu"),
                                  .parts = {}});
    const Json parts = object_in(planned, "parts_s");
    for (const auto& [name, seconds] : parts.items())
      if (seconds.is_number()) r.planned->parts.push_back({name, seconds.get<double>()});
  }
  return r;
}

std::string describe(const TimeAccount& account) {
  std::string line = fmt::format("{} of {} in useful steps", share(account.steps_s, account.wall_s),
                                 seconds_text(account.wall_s));
  std::string rest;
  for (const TimePart& part : parts_of(account))
    if (part.key != "steps_s" && part.seconds >= 0.005)
      rest += fmt::format("{}{} {} ({})", rest.empty() ? "; " : ", ", part.name,
                          seconds_text(part.seconds), share(part.seconds, account.wall_s));
  return line + rest;
}

std::string describe(const JobReport& r) {
  std::string lines = phase_lines(r);
  if (r.ranks > 1 && r.mean_compute_s > 0.0)
    lines += fmt::format("\nslowest rank: {} on {}: {} of computation, {:.1f} % above the mean",
                         r.slowest_rank, r.slowest_host, seconds_text(r.slowest_compute_s),
                         100.0 * (r.slowest_compute_s / r.mean_compute_s - 1.0));
  double phases_s = 0.0;
  for (const PhaseTime& phase : r.phases) phases_s += phase.mean_s;
  lines += fmt::format("\ncommunication: {} exposed ({}), {}; input: {}", seconds_text(r.exposed_s),
                       share(r.exposed_s, phases_s),
                       std::isfinite(r.hidden_s)
                           ? seconds_text(r.hidden_s) + " hidden beside computation"
                           : std::string("what is hidden beside computation is not measured"),
                       seconds_text(r.input_s));
  if (r.saves > 0)
    lines +=
        fmt::format("\ncheckpoints: {}, {} in {} = {}/s; the training waited {}", r.saves,
                    human_bytes(static_cast<double>(r.save_bytes)), seconds_text(r.save_write_s),
                    human_bytes(static_cast<double>(r.save_bytes) / std::max(r.save_write_s, 1e-9)),
                    seconds_text(r.time.checkpoint_s));
  if (r.planned && std::isfinite(r.tokens_per_second))
    lines += fmt::format(
        "\nplanned for {}: {} tok/s, {:.4f} s a step; measured {} tok/s ({} of the plan)",
        r.planned->device, with_commas(static_cast<std::int64_t>(r.planned->tokens_per_second)),
        r.planned->step_s, with_commas(static_cast<std::int64_t>(r.tokens_per_second)),
        share(r.tokens_per_second, r.planned->tokens_per_second));
  lines += "\ngoodput of this job: " + describe(r.time);
  if (r.num_jobs > 1)
    lines += fmt::format("\ngoodput of the run, {} jobs: {}", r.num_jobs, describe(r.run_time));
  return lines;
}

}  // namespace espalier::runs
