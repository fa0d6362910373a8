#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "base/error.hpp"
#include "model/tensor_table.hpp"
#include "plan/time/collective_time.hpp"
#include "plan/time/models.hpp"

namespace espalier::plan {
namespace {

/// Rows and columns of the tiles that libraries choose between; a smaller tile reads its operands
/// more often, and has this share of the rate of the largest.
struct Tile {
  double rows, cols, share;
};
constexpr std::array kTiles = {Tile{256, 128, 1.0}, Tile{128, 256, 1.0}, Tile{128, 128, 0.92},
                               Tile{128, 64, 0.75}, Tile{64, 128, 0.75}};
/// Columns of k that filling and emptying a tile's pipeline is worth: DeepGEMM's products on an H800
/// (4,096 rows, K 512 to 16,384: 777 to 1,500 TFLOP/s; pull request 81) go as K / (K + 450) in FP8;
/// a column of bf16 takes twice the time.
constexpr double kTileEnds = 225.0;
/// Benchmarks of single kernels are over before a GPU is warm; a training holds it at its power
/// limit for weeks, at a lower clock. The share of their rates that is left was set by one published
/// run, the only one of those known whose layout is told in full: Qwen3-8B, S 4096, on 16 H100,
/// data-parallel, 10,456 tokens/s each (Megatron-Bridge). It is not among the runs that the model is
/// compared with (validation/published_throughput).
constexpr double kSustainedShare = 0.765;
/// What parallel.overlap_tensor hides: of four pieces, all but the last.
constexpr double kOverlappedPieces = 0.75;
/// Of a micro-batch's time: two products of three are of the backward pass.
constexpr double kBackwardShare = 2.0 / 3.0;

double needed(double value, std::string_view key, const config::HardwareParameters& hardware) {
  if (value <= 0.0)
    throw Error(ExitStatus::bad_configuration,
                fmt::format("hardware.{} is not set for {}: the time of a step needs it", key,
                            hardware.name.empty() ? "this device" : hardware.name),
                Met::by_every_rank);
  return value;
}

double product_rate(const config::Parameters& p, const config::HardwareParameters& h) {
  return 1e12 * (p.training.dtype == "float32"
                     ? needed(h.product_fp32_tflops, "product_fp32_tflops", h)
                     : needed(h.product_bf16_tflops, "product_bf16_tflops", h));
}

double attention_rate(std::string_view name, const config::HardwareParameters& h) {
  return name.ends_with("backward")
             ? needed(h.attention_backward_tflops, "attention_backward_tflops", h)
             : needed(h.attention_forward_tflops, "attention_forward_tflops", h);
}

bool is_optimizer(std::string_view name) {
  return name.starts_with("adamw") || name.starts_with("square_sum");
}

}  // namespace

double tile_efficiency(std::int64_t m, std::int64_t n, std::int64_t k,
                       std::int64_t multiprocessors) {
  const auto rows = static_cast<double>(m), cols = static_cast<double>(n);
  const auto depth = static_cast<double>(k);
  double best = 0.0;
  for (const Tile& tile : kTiles) {
    const double tiles = std::ceil(rows / tile.rows) * std::ceil(cols / tile.cols);
    const auto at_once = static_cast<double>(std::max<std::int64_t>(multiprocessors, 1));
    // Work that is left when the waves are full is cut along k (stream-k): half of the last wave's
    // idle time is won back.
    const double waves = std::ceil(tiles / at_once);
    const double last_wave_idle = waves * at_once - tiles;
    const double used = rows * cols / (tile.rows * tile.cols);
    best = std::max(best, tile.share * used / (tiles + 0.5 * last_wave_idle));
  }
  return best * depth / (depth + kTileEnds);
}

StepTime gpu_step_time(const StepCounts& counts, const config::Parameters& p,
                       const config::HardwareParameters& hardware) {
  const double copy = 1e9 * needed(hardware.copy_gbs, "copy_gbs", hardware);
  const double rate = product_rate(p, hardware);
  StepTime time;
  double optimizer = 0.0;
  for (const auto& [operation, cost] : counts.operations) {
    const auto calls = static_cast<double>(cost.calls);
    time.other += calls * 1e-6 * hardware.overhead_us;
    if (operation.m > 0) {
      const double efficiency =
          tile_efficiency(operation.m, operation.n, operation.k, hardware.multiprocessors);
      time.products +=
          std::max(cost.flops / (kSustainedShare * rate * efficiency), cost.bytes / copy);
    } else if (operation.name.starts_with("attention")) {
      const double half = operation.name.ends_with("backward") ? hardware.attention_backward_half
                                                               : hardware.attention_forward_half;
      const double tflops = attention_rate(operation.name, hardware);
      const double short_sequences = 1.0 + half / static_cast<double>(p.training.sequence_length);
      time.attention += std::max(cost.flops * short_sequences / (1e12 * kSustainedShare * tflops),
                                 cost.bytes / copy);
    } else {
      time.memory_bound += cost.bytes / copy;
      if (is_optimizer(operation.name)) optimizer += cost.bytes / copy;
    }
  }

  const parallel::GridShape shape{.tensor = static_cast<int>(p.parallel.tensor),
                                  .context = static_cast<int>(p.parallel.context),
                                  .data = static_cast<int>(p.parallel.data),
                                  .pipeline = static_cast<int>(p.parallel.pipeline)};
  const parallel::ProcessGrid grid(shape, 0,
                                   parallel::views_of(p.model.num_key_value_heads, shape));
  double tensor = 0.0, gradients = 0.0, weights = 0.0;
  for (const auto& [name, costs] : counts.collectives) {
    const RankGroup group = group_of(name, grid);
    const bool of_tensor =
        group.stride == 1 && name.starts_with("tensor") && !name.starts_with("tensor x");
    for (const auto& [collective, cost] : costs) {
      const auto calls = static_cast<double>(cost.calls);
      const double seconds =
          calls *
          collective_seconds(collective, static_cast<double>(cost.bytes) / calls, group, hardware);
      if (of_tensor)
        tensor += seconds;
      else if (name == "world")
        time.other += seconds;
      else if (collective.starts_with("all_gather"))
        weights += seconds;
      else
        gradients += seconds;
    }
  }
  time.tensor_hidden = p.parallel.overlap_tensor ? kOverlappedPieces * tensor : 0.0;
  time.tensor_exposed = tensor - time.tensor_hidden;

  const double micro_batches = static_cast<double>(p.training.global_batch_size) /
                               static_cast<double>(p.training.micro_batch_size * p.parallel.data);
  const double micro_batch =
      (time.products + time.attention + time.memory_bound - optimizer) / micro_batches;
  if (p.parallel.overlap_data)
    time.data_hidden = std::min(gradients, kBackwardShare * micro_batch) +
                       std::min(weights, (1.0 - kBackwardShare) * micro_batch);
  time.data_exposed = gradients + weights - time.data_hidden;
  return time;
}

}  // namespace espalier::plan
