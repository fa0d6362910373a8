#include "io/event_log.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "io/checkpoint_files.hpp"

namespace espalier::io {
namespace {

using Json = nlohmann::ordered_json;

double now_s() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Json json_of(const Event::Value& value) {
  return std::visit([](const auto& v) { return Json(v); }, value);
}

bool is_event(const Json& line) {
  return line.is_object() && line.contains("event") && line["event"].is_string() &&
         line.contains("time") && line["time"].is_number() && line.contains("job") &&
         line["job"].is_number() && line.contains("step") && line["step"].is_number();
}

}  // namespace

std::string Event::text(std::string_view name) const {
  for (const auto& [key, value] : details)
    if (key == name && std::holds_alternative<std::string>(value))
      return std::get<std::string>(value);
  return {};
}

double Event::number(std::string_view name) const {
  for (const auto& [key, value] : details)
    if (key == name && std::holds_alternative<double>(value)) return std::get<double>(value);
  return std::numeric_limits<double>::quiet_NaN();
}

void EventLog::append(const Event& event) const {
  Json line;
  line["time"] = now_s();
  line["job"] = job_;
  line["step"] = event.step;
  line["event"] = event.kind;
  for (const auto& [key, value] : event.details) line[key] = json_of(value);
  const std::string text = line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  const FileDescriptor file(path_, O_WRONLY | O_CREAT | O_APPEND);
  // One call, so that lines of several processes do not mix.
  const ssize_t written = ::write(file.get(), text.data(), text.size());
  if (written != static_cast<ssize_t>(text.size()))
    fail_io("write", path_, written < 0 ? errno : ENOSPC);
}

std::vector<Event> read_events(const std::filesystem::path& run_directory) {
  std::vector<Event> events;
  std::ifstream file(run_directory / "events.jsonl");
  for (std::string text; std::getline(file, text);) {
    const Json line = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (line.is_discarded() || !is_event(line)) continue;
    Event event{.kind = line["event"], .step = line["step"]};
    event.time_s = line["time"];
    event.job = line["job"];
    for (const auto& [key, value] : line.items()) {
      if (key == "time" || key == "job" || key == "step" || key == "event") continue;
      if (value.is_string()) event.details.emplace_back(key, value.get<std::string>());
      if (value.is_number()) event.details.emplace_back(key, value.get<double>());
      const auto is_integer = [](const Json& v) { return v.is_number_integer(); };
      if (value.is_array() && std::all_of(value.begin(), value.end(), is_integer))
        event.details.emplace_back(key, value.get<std::vector<std::int64_t>>());
    }
    events.push_back(std::move(event));
  }
  return events;
}

}  // namespace espalier::io
