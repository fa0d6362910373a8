#include "train/failure_record.hpp"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <unistd.h>

#include <ctime>

#include "base/error.hpp"
#include "io/checkpoint_files.hpp"
#include "io/event_log.hpp"

namespace espalier::train {
namespace {

/// body(), whose failure is told elsewhere.
template <class Body>
void attempt(Body&& body) noexcept {
  try {
    body();
  } catch (const std::exception&) {  // standard error has what this would have said
  }
}

}  // namespace

void append_to_run_log(const std::filesystem::path& run_directory, const std::string& text) {
  const io::FileDescriptor file(run_directory / "run.log", O_WRONLY | O_CREAT | O_APPEND);
  const std::string line =
      fmt::format("{:%Y-%m-%d %H:%M:%S} {}\n", fmt::localtime(std::time(nullptr)), text);
  [[maybe_unused]] const auto written = ::write(file.get(), line.data(), line.size());
}

void record_failure(const FailurePlace& place, const std::exception& exception) noexcept {
  const auto* const error = dynamic_cast<const Error*>(&exception);
  const ExitStatus status = error == nullptr ? ExitStatus::internal : error->status();
  const bool told_by_rank_0 = error != nullptr && error->met() == Met::by_every_rank;
  if (status == ExitStatus::stopped_early || (told_by_rank_0 && place.rank > 0)) return;
  // Each by itself: one of them may have room.
  if (status != ExitStatus::bad_numbers)
    attempt([&] {
      io::EventLog(place.run_directory, place.job)
          .append({.kind = "error",
                   .step = place.step,
                   .details = {{"status", static_cast<double>(static_cast<int>(status))},
                               {"rank", static_cast<double>(place.rank)},
                               {"message", std::string(exception.what())}}});
    });
  attempt([&] {
    append_to_run_log(place.run_directory,
                      fmt::format("error on rank {} (status {}): {}", place.rank,
                                  static_cast<int>(status), exception.what()));
  });
}

}  // namespace espalier::train
