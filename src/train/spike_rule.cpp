#include "train/spike_rule.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.hpp"

namespace espalier::train {
namespace {

/// A deviation is taken to be at least this part of the mean, so that a loss that hardly moves is
/// not judged by its rounding: with a threshold of 6 a rise of 0.6 % is never a spike.
constexpr double kLeastDeviation = 1e-3;

}  // namespace

std::string Spike::describe() const {
  if (what == "not_finite") return {};
  return fmt::format(
      "{} {:.6g} is {:.1f} standard deviations above the mean of the steps before ({:.6g}, "
      "deviation {:.3g})",
      what == "loss" ? "loss" : "gradient norm", value, (value - mean) / deviation, mean,
      deviation);
}

std::optional<Spike> SpikeRule::find(double loss, double grad_norm) const {
  if (!std::isfinite(loss)) return Spike{.what = "not_finite", .value = loss};
  if (!std::isfinite(grad_norm)) return Spike{.what = "not_finite", .value = grad_norm};
  if (threshold_ <= 0.0 || 2 * std::ssize(steps_) < window_) return std::nullopt;
  if (const auto spike = find_in("loss", &Step::loss, loss)) return spike;
  return find_in("grad_norm", &Step::grad_norm, grad_norm);
}

std::optional<Spike> SpikeRule::find_in(std::string_view what, double Step::*member,
                                        double value) const {
  const auto count = static_cast<double>(steps_.size());
  double sum = 0.0, squares = 0.0;
  for (const Step& step : steps_) sum += step.*member;
  const double mean = sum / count;
  for (const Step& step : steps_) squares += (step.*member - mean) * (step.*member - mean);
  const double deviation = std::max(std::sqrt(squares / count), kLeastDeviation * std::abs(mean));
  // All 0, as of steps without targets: there is no measure yet.
  if (deviation == 0.0 || value - mean <= threshold_ * deviation) return std::nullopt;
  return Spike{.what = what, .value = value, .mean = mean, .deviation = deviation};
}

void SpikeRule::add(double loss, double grad_norm) {
  if (threshold_ <= 0.0 || find(loss, grad_norm)) return;
  steps_.push_back({loss, grad_norm});
  if (std::ssize(steps_) > window_) steps_.pop_front();
}

std::string SpikeRule::encode() const {
  std::string bytes;
  for (const Step& step : steps_) bytes.append(reinterpret_cast<const char*>(&step), sizeof(step));
  return bytes;
}

void SpikeRule::decode(std::string_view bytes) {
  ESPALIER_ASSERT(bytes.size() % sizeof(Step) == 0, "{} bytes", bytes.size());
  steps_.clear();
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(Step)) {
    Step step{};
    std::memcpy(&step, bytes.data() + at, sizeof(step));
    steps_.push_back(step);
  }
}

}  // namespace espalier::train
