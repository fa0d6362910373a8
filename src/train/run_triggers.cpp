#include "train/run_triggers.hpp"

#include <system_error>
#include <utility>

#include "base/log.hpp"

namespace espalier::train {

namespace fs = std::filesystem;

RunTriggers::RunTriggers(fs::path run_directory) : directory_(std::move(run_directory)) {}

void RunTriggers::look(Clock::time_point now) {
  constexpr auto kInterval = std::chrono::seconds(1);
  if (has_looked_ && now - last_look_ < kInterval) return;
  has_looked_ = true;
  last_look_ = now;
  std::array<bool, kTriggers.size()> is_there{};
  // Opening the directory makes a network file system ask its server, which looking at a name that
  // was not there a moment ago does not.
  std::error_code error;
  for (fs::directory_iterator entry(directory_, error), end; !error && entry != end;
       entry.increment(error))
    for (const Trigger trigger : kTriggers)
      if (entry->path().filename() == name_of(trigger)) is_there[index(trigger)] = true;
  if (error) return;
  for (const Trigger trigger : kTriggers) {
    State& state = states_[index(trigger)];
    if (!is_there[index(trigger)] && state == State::stuck) state = State::none;
    if (is_there[index(trigger)] && state == State::none) state = State::asked;
  }
}

void RunTriggers::honoured(Trigger trigger) {
  State& state = states_[index(trigger)];
  if (state != State::asked) return;
  const fs::path file = directory_ / name_of(trigger);
  std::error_code error;
  fs::remove(file, error);  // a folder of that name goes, too, when it is empty
  state = error ? State::stuck : State::none;
  if (error)
    log::warn("{} cannot be removed ({}): it was heard once and is not heard again in this job",
              file.string(), error.message());
}

}  // namespace espalier::train
