#include "train/save_estimate.hpp"

#include <fcntl.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <string>

#include "base/activity.hpp"
#include "io/checkpoint_files.hpp"
#include "io/event_log.hpp"
#include "train/checkpointing.hpp"

namespace espalier::train {
namespace {

namespace fs = std::filesystem;

/// Of the last saves that earlier jobs made; 0: none is told.
double told_save_s(const fs::path& run_directory) {
  constexpr int kSaves = 4;
  double slowest = 0.0;
  int num = 0;
  const std::vector<io::Event> events = io::read_events(run_directory);
  for (auto event = events.rbegin(); event != events.rend() && num < kSaves; ++event) {
    if (event->kind != "checkpoint" || !(event->number("write_s") > 0.0)) continue;
    slowest = std::max(slowest, event->number("write_s"));
    ++num;
  }
  return slowest;
}

/// Bytes per second into a file that is removed again.
double writing_rate(const fs::path& folder, double bytes) {
  using Clock = std::chrono::steady_clock;
  constexpr std::size_t kPart = std::size_t{4} << 20, kParts = 8;
  const fs::path probe = folder / ".rate-probe";
  // No zeros, which some file systems do not store.
  std::vector<char> part(std::min(kPart, static_cast<std::size_t>(bytes) + 4096));
  for (std::size_t i = 0; i < part.size(); ++i) part[i] = static_cast<char>(i * 2654435761U >> 13);
  const auto start = Clock::now();
  double written = 0.0;
  {
    io::FileDescriptor file(probe, O_WRONLY | O_CREAT | O_TRUNC);
    for (std::size_t i = 0; i < kParts && written < bytes; ++i) {
      file.write_at(part.data(), part.size(), i * part.size());
      written += static_cast<double>(part.size());
    }
    file.flush();
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  std::error_code ignored;
  fs::remove(probe, ignored);
  return written / std::max(seconds, 1e-6);
}

double estimate_s(const config::Parameters& parameters,
                  const std::vector<parallel::TensorSpec>& table) {
  constexpr double kSafety = 2.0, kBytesPerWeight = 12.0;  // master, exp_avg, exp_avg_sq
  const double told = told_save_s(parameters.output.directory);
  if (told > 0.0) return told;
  double bytes = 0.0;
  for (const parallel::TensorSpec& spec : table)
    bytes += kBytesPerWeight * static_cast<double>(spec.rows) * static_cast<double>(spec.cols);
  try {
    return kSafety * bytes / writing_rate(checkpoint_directory(parameters), bytes);
  } catch (const Error&) {
    return 0.0;
  }
}

}  // namespace

double estimate_save_s(parallel::MpiSession& session, const config::Parameters& parameters,
                       const std::vector<parallel::TensorSpec>& table) {
  const activity::Scope measuring("measuring the rate of writing");
  std::string text;
  if (session.rank() == 0) text = fmt::format("{}", estimate_s(parameters, table));
  text = session.world().broadcast(text, 0);
  return std::stod(text);
}

}  // namespace espalier::train
