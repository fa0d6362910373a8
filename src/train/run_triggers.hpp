#pragma once
#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string_view>

namespace espalier::train {

/// Files in a run directory by which anybody who may write there asks the job for something,
/// without rights on the job itself: `touch runs/mine/stop`.
enum class Trigger : std::uint8_t {
  save,    ///< a checkpoint, and go on
  stop,    ///< a checkpoint, and end
  status,  ///< a line in run.log
};
constexpr std::array kTriggers{Trigger::save, Trigger::stop, Trigger::status};
constexpr std::string_view name_of(Trigger trigger) {
  constexpr std::array<std::string_view, kTriggers.size()> kNames{"save", "stop", "status"};
  return kNames[static_cast<std::size_t>(trigger)];
}

/// Looks for these files, and removes those that have been honoured. For rank 0.
class RunTriggers {
 public:
  using Clock = std::chrono::steady_clock;
  explicit RunTriggers(std::filesystem::path run_directory);

  /// Reads the run directory (one opendir) when the last look is a second ago; an unreadable
  /// directory has no triggers.
  void look(Clock::time_point now = Clock::now());
  /// Whether the file was there at a look and has not been honoured since.
  bool is_asked(Trigger trigger) const { return states_[index(trigger)] == State::asked; }
  /// Removes the file. One that cannot be removed is warned of, and is not heard again.
  void honoured(Trigger trigger);

 private:
  enum class State : std::uint8_t { none, asked, stuck };
  static std::size_t index(Trigger trigger) { return static_cast<std::size_t>(trigger); }

  std::filesystem::path directory_;
  std::array<State, kTriggers.size()> states_{};
  bool has_looked_ = false;
  Clock::time_point last_look_;
};

}  // namespace espalier::train
