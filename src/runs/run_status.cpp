#include "runs/run_status.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/whole_file.hpp"

namespace espalier::runs {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::string_view, 7> kStates = {"starting", "training", "validating", "saving",
                                                     "stopped",  "finished", "failed"};

/// Sets `value` where the object has a value of that kind under the key.
void take(const Json& object, const char* key, std::string& value) {
  if (const auto it = object.find(key); it != object.end() && it->is_string())
    value = it->get<std::string>();
}
void take(const Json& object, const char* key, double& value) {
  if (const auto it = object.find(key); it != object.end() && it->is_number())
    value = it->get<double>();
}
void take(const Json& object, const char* key, std::int64_t& value) {
  if (const auto it = object.find(key); it != object.end() && it->is_number_integer())
    value = it->get<std::int64_t>();
}

}  // namespace

std::string_view name_of(State state) {
  return kStates[static_cast<std::size_t>(state)];
}

std::string to_json(const RunStatus& s) {
  Json json;
  json["state"] = name_of(s.state);
  json["activity"] = s.activity;
  json["run"] = s.run;
  json["step"] = s.step;
  json["steps"] = s.steps;
  json["loss"] = s.loss;
  json["grad_norm"] = s.grad_norm;
  json["learning_rate"] = s.learning_rate;
  json["tokens_per_second"] = s.tokens_per_second;
  json["mfu"] = s.mfu;
  json["eta_s"] = s.eta_s;
  if (std::isfinite(s.expert_load))
    json["experts"] = {{"load", s.expert_load}, {"balance_loss", s.balance_loss}};
  json["validation"] = nullptr;
  if (s.validation_step >= 0)
    json["validation"] = {{"step", s.validation_step},
                          {"loss", s.validation_loss},
                          {"bits_per_byte", s.bits_per_byte}};
  json["last_checkpoint"] = nullptr;
  if (s.checkpoint_step >= 0)
    json["last_checkpoint"] = {{"step", s.checkpoint_step}, {"time", s.checkpoint_time}};
  json["job"] = s.job;
  json["slurm_job"] = s.slurm_job;
  json["host"] = s.host;
  json["pid"] = s.pid;
  json["ranks"] = s.ranks;
  json["grid"] = s.grid;
  json["started"] = s.started;
  json["updated"] = s.updated;
  json["elapsed_s"] = s.elapsed_s;
  json["interval_s"] = s.interval_s;
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::optional<RunStatus> read_status(const std::filesystem::path& run_directory) {
  const std::optional<std::string> text = read_whole_file(run_directory / kStatusName);
  if (!text) return std::nullopt;
  const Json json = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return std::nullopt;
  std::string state;
  take(json, "state", state);
  const auto* const known = std::find(kStates.begin(), kStates.end(), state);
  if (known == kStates.end()) return std::nullopt;
  RunStatus s;
  s.state = static_cast<State>(known - kStates.begin());
  take(json, "activity", s.activity);
  take(json, "run", s.run);
  take(json, "step", s.step);
  take(json, "steps", s.steps);
  take(json, "loss", s.loss);
  take(json, "grad_norm", s.grad_norm);
  take(json, "learning_rate", s.learning_rate);
  take(json, "tokens_per_second", s.tokens_per_second);
  take(json, "mfu", s.mfu);
  take(json, "eta_s", s.eta_s);
  if (const auto it = json.find("experts"); it != json.end() && it->is_object()) {
    take(*it, "load", s.expert_load);
    take(*it, "balance_loss", s.balance_loss);
  }
  if (const auto it = json.find("validation"); it != json.end() && it->is_object()) {
    take(*it, "step", s.validation_step);
    take(*it, "loss", s.validation_loss);
    take(*it, "bits_per_byte", s.bits_per_byte);
  }
  if (const auto it = json.find("last_checkpoint"); it != json.end() && it->is_object()) {
    take(*it, "step", s.checkpoint_step);
    take(*it, "time", s.checkpoint_time);
  }
  take(json, "job", s.job);
  take(json, "slurm_job", s.slurm_job);
  take(json, "host", s.host);
  take(json, "pid", s.pid);
  take(json, "ranks", s.ranks);
  take(json, "grid", s.grid);
  take(json, "started", s.started);
  take(json, "updated", s.updated);
  take(json, "elapsed_s", s.elapsed_s);
  take(json, "interval_s", s.interval_s);
  return s;
}

double now_s() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

double file_time_s(const std::filesystem::path& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 ? static_cast<double>(info.st_mtime) : kUnknown;
}

}  // namespace espalier::runs
