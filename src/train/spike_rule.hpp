#pragma once
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

namespace espalier::train {

/// A step whose loss or gradient norm stands out.
struct Spike {
  std::string_view what;  ///< "not_finite", "loss" or "grad_norm"
  double value = 0.0;
  double mean = 0.0;       ///< of the window; 0 when not finite
  double deviation = 0.0;  ///< the same

  /// "loss 7.2 is 31.4 standard deviations above the mean of the steps before (2.31, deviation
  /// 0.156)"; empty for what is not finite.
  std::string describe() const;
};

/// Which steps stand out from those before them: z = (x - mean) / deviation over a window of the
/// last steps that did not, for loss and gradient norm alike, and only upwards. A pure function of
/// the steps in their order: one that is fed the rows of history.csv decides as the run that wrote
/// them.
class SpikeRule {
 public:
  /// `threshold`: the z above which a step is a spike; 0: only what is not finite. `window`: steps;
  /// there is no spike before half of them are there.
  SpikeRule(double threshold, std::int64_t window) : threshold_(threshold), window_(window) {}

  std::optional<Spike> find(double loss, double grad_norm) const;
  /// The step is part of the window, unless it is a spike itself.
  void add(double loss, double grad_norm);

  /// The window as bytes, for the other ranks.
  std::string encode() const;
  /// Takes a window over. Throws Error (internal) when the bytes are no window.
  void decode(std::string_view bytes);

 private:
  struct Step {
    double loss, grad_norm;
  };
  std::optional<Spike> find_in(std::string_view what, double Step::*member, double value) const;

  double threshold_;
  std::int64_t window_;
  std::deque<Step> steps_;
};

}  // namespace espalier::train
