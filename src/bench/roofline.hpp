#pragma once
#include <span>
#include <string>

#include "device/context.hpp"

namespace espalier::bench {

/// What a machine can do at most: measured, not from a data sheet.
struct Peaks {
  double flops = 0.0;  ///< FLOP/s of a large matrix product
  double bytes = 0.0;  ///< bytes read and written per second by a large copy; 0: not measured
};

/// The copy rate of this rank's memory, bytes read plus bytes written per second, with all its host
/// threads or on its GPU; 0 on the emulated GPU. Every rank of a node should measure together.
double measure_copy_peak(device::Context& context, double seconds = 0.5);

/// Work that was timed.
struct Timed {
  std::string name;
  double seconds = 0.0;
  double flops = 0.0;
  double bytes = 0.0;  ///< that must be moved at least
  /// Another way to do what another row does: no gap, because no step takes it.
  bool is_alternative = false;
};

/// The time that the work takes at the peaks (Williams et al. 2009): the larger of both floors.
double floor_seconds(const Timed& work, const Peaks& peaks);

/// A line per row: time, rates, floor, and the share of the peak that bounds it. Rows whose cost is
/// not known (no FLOPs, no bytes) have only their time.
std::string roofline_table(std::span<const Timed> rows, const Peaks& peaks);
/// The `count` rows with the most time above their floor, largest first.
std::string largest_gaps(std::span<const Timed> rows, const Peaks& peaks, std::size_t count = 5);

}  // namespace espalier::bench
