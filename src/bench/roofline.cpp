#include "bench/roofline.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "base/host_loops.hpp"
#include "device/arena.hpp"
#include "device/stopwatch.hpp"

namespace espalier::bench {
namespace {

/// Larger than any cache.
constexpr std::int64_t kHostCopyBytes = std::int64_t{256} << 20;
constexpr std::int64_t kGpuCopyBytes = std::int64_t{1} << 30;

bool is_known(const Timed& work) {
  return work.flops > 0.0 || work.bytes > 0.0;
}

}  // namespace

double measure_copy_peak(device::Context& context, double seconds) {
  if (context.backend() == device::Backend::emulated) return 0.0;
  const std::int64_t bytes = context.on_host() ? kHostCopyBytes : kGpuCopyBytes;
  device::Arena arena = device::Arena::backed("copy peak", 2 * bytes, context.shared_gpu());
  const std::int64_t elements = bytes / static_cast<std::int64_t>(sizeof(float));
  const device::View from = arena.allocate("from", DType::f32, 1, elements);
  const device::View to = arena.allocate("to", DType::f32, 1, elements);
  const auto copy = [&] {
    if (device::Gpu* gpu = context.gpu()) {
      gpu->copy_on_device(to.data, from.data, {1, bytes, bytes, bytes}, context.queue().stream);
      return;
    }
    constexpr std::int64_t kPart = std::int64_t{1} << 20;
    host_for_ranges(bytes / kPart, 1, [&](std::int64_t begin, std::int64_t end) {
      std::memcpy(static_cast<char*>(to.data) + begin * kPart,
                  static_cast<const char*>(from.data) + begin * kPart,
                  static_cast<std::size_t>((end - begin) * kPart));
    });
  };
  copy();  // touches the pages
  using Clock = std::chrono::steady_clock;
  double best = 0.0;
  const auto start = Clock::now();
  const auto since = [](Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  };
  device::Stopwatch watch(context.gpu(), context.queue().stream);
  do {
    watch.start();
    copy();
    best = std::max(best, 2.0 * static_cast<double>(bytes) / watch.stop_s());
  } while (since(start) < seconds);
  return best;
}

double floor_seconds(const Timed& work, const Peaks& peaks) {
  const double of_flops = peaks.flops > 0.0 ? work.flops / peaks.flops : 0.0;
  const double of_bytes = peaks.bytes > 0.0 ? work.bytes / peaks.bytes : 0.0;
  return std::max(of_flops, of_bytes);
}

std::string roofline_table(std::span<const Timed> rows, const Peaks& peaks) {
  std::string text = fmt::format("  {:<30}{:>10} {:>10} {:>9} {:>10} {:>9}  {}\n", "", "ms",
                                 "TFLOP/s", "GB/s", "floor ms", "of peak", "bound by");
  for (const Timed& row : rows) {
    text += fmt::format("  {:<30}{:>10.3f}", row.name, 1e3 * row.seconds);
    if (!is_known(row) || row.seconds <= 0.0) {
      text += "\n";
      continue;
    }
    const double floor = floor_seconds(row, peaks);
    const bool by_flops = peaks.flops > 0.0 && row.flops / peaks.flops >= floor;
    text += fmt::format(" {:>10.3f} {:>9.1f}", 1e-12 * row.flops / row.seconds,
                        1e-9 * row.bytes / row.seconds);
    text += floor > 0.0 ? fmt::format(" {:>10.3f} {:>7.1f} %  {}\n", 1e3 * floor,
                                      100.0 * floor / row.seconds, by_flops ? "FLOPs" : "memory")
                        : std::string("\n");
  }
  text += fmt::format("  peaks measured in this run: {:.3f} TFLOP/s, {:.1f} GB/s",
                      1e-12 * peaks.flops, 1e-9 * peaks.bytes);
  return text;
}

std::string largest_gaps(std::span<const Timed> rows, const Peaks& peaks, std::size_t count) {
  std::vector<std::pair<double, const Timed*>> gaps;
  double total = 0.0;
  for (const Timed& row : rows) {
    if (row.is_alternative) continue;
    total += row.seconds;
    gaps.emplace_back(row.seconds - floor_seconds(row, peaks), &row);
  }
  std::stable_sort(gaps.begin(), gaps.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  gaps.resize(std::min(gaps.size(), count));
  std::string text = "the largest gaps, time above the floor:";
  for (const auto& [gap, row] : gaps)
    text += fmt::format("\n  {:<30}{:>10.3f} ms {:>6.1f} % of all", row->name, 1e3 * gap,
                        total > 0.0 ? 100.0 * gap / total : 0.0);
  return text;
}

}  // namespace espalier::bench
