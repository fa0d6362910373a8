#pragma once
#include <cstdint>

namespace espalier::train {

/// A checkpoint that became complete, as every rank knows it.
struct SaveReport {
  std::int64_t step = 0;  ///< of the checkpoint
  /// From its begin until the file of the slowest rank was on the disk, and from there to the
  /// marker; without the time in which neither was under way, as the ranks agree only once a step.
  double write_s = 0.0;
  double stall_s = 0.0;    ///< that the training waited for it, on the rank that waited most
  std::int64_t bytes = 0;  ///< of the tensors of all ranks
};

}  // namespace espalier::train
