#pragma once
#include <string>

#include "parallel/schedule/simulation.hpp"

namespace espalier::pipeline {

/// What stands in a cell: letter (F, B, W) and micro-batch, "F12". Of two chunks a rank, the
/// letters of the second are small; of more, the chunk is a letter behind: "F12c".
std::string cell_label(char letter, const Placement& placement, const Action& action);
/// What the letters of a picture mean, in one line or two.
std::string picture_legend(const Placement& placement);

struct PictureOptions {
  /// Time of a cell. Actions begin and end at multiples of it, or the nearest; shorter ones vanish.
  double unit = 1.0;
  int columns = 100;  ///< of a line
  int blocks = 4;     ///< of lines, one below another; of a longer picture begin and end are shown
};
/// For a terminal: a line a rank, time from left to right, the B and W of a whole backward one
/// behind the other, "." where the rank is idle. p = 2, m = 3, F = B = W = 1, 1f1b:
///
///     time 0
///     rank 0 |F0F1 . .B0W0F2B1W1 .B2W2|
///     rank 1 | .F0B0W0F1B1W1F2B2W2 . .|
std::string picture(const Schedule& schedule, const Simulation& simulation,
                    const PictureOptions& options = {});

}  // namespace espalier::pipeline
