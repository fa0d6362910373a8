#include "plan/time/gpu_rates.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.hpp"

namespace espalier::plan {
namespace {

/// Of the bandwidth of a copy, for operators that compute on what they pass: RMSNorm, RoPE, SwiGLU
/// and cross-entropy kernels that are published with their bandwidth (Liger, quack) reach 0.85 to
/// 0.95 of it.
constexpr double kOperatorShare = 0.9;
/// Head_dim at which attention has half of the rate that it would have with endless heads:
/// FlashAttention-3, figure 5, causal, 16k: 473 TFLOP/s at 64, 616 at 128.
constexpr double kHalfHeadDim = 55.0;
/// 128 x 128 tiles read each operand twice as often from shared memory as 256 wide ones.
constexpr double kSmallTileRate = 0.9;

double known(double value, const char* key, const std::string& device, const char* remedy) {
  if (!(value > 0))
    throw Error(ExitStatus::bad_configuration,
                fmt::format("hardware.{} of {} is not known, and the time of a step needs it: {}",
                            key, device, remedy),
                Met::by_every_rank);
  return value;
}

struct Tile {
  double m, n, rate;
  bool of_a_pair;
};
constexpr std::array kTiles = {Tile{128, 256, 1.0, false}, Tile{256, 128, 1.0, false},
                               Tile{128, 128, kSmallTileRate, false}, Tile{256, 256, 1.0, true}};

}  // namespace

GpuRates::GpuRates(const config::HardwareParameters& h, const std::string& dtype) : name_(h.name) {
  const double bf16 = known(h.product_bf16_tflops, "product_bf16_tflops", name_,
                            "give the best large product that was measured, or 0.8 of the peak");
  const double share = h.sustained_share > 0 ? h.sustained_share : 1.0;
  product_flops_ = share * bf16 * 1e12;
  if (dtype == "float32") {
    // Measured, or the share of the peak that BF16 reaches.
    const double fp32 =
        h.product_fp32_tflops > 0
            ? h.product_fp32_tflops
            : known(h.peak_fp32_tflops, "peak_fp32_tflops", name_, "training.dtype is float32") *
                  bf16 /
                  known(h.peak_bf16_tflops, "peak_bf16_tflops", name_, "it is on the data sheet");
    product_flops_ = share * fp32 * 1e12;
  }
  fp8_flops_ = share * h.product_fp8_tflops * 1e12;
  forward_flops_ = share *
                   known(h.attention_forward_tflops, "attention_forward_tflops", name_,
                         "half of the peak is a fair guess") *
                   1e12;
  backward_flops_ = share *
                    known(h.attention_backward_tflops, "attention_backward_tflops", name_,
                          "0.4 of the peak is a fair guess") *
                    1e12;
  forward_half_ = h.attention_forward_half;
  backward_half_ = h.attention_backward_half;
  copy_bytes_ = known(h.copy_gbs, "copy_gbs", name_, "0.85 of memory_gbs is a fair guess") * 1e9;
  overhead_s_ = h.overhead_us * 1e-6;
  multiprocessors_ =
      known(static_cast<double>(h.multiprocessors), "multiprocessors", name_, "see its data sheet");
  pairs_ = h.compute_capability >= 100 && h.compute_capability < 120;
}

double GpuRates::product(std::int64_t m, std::int64_t n, std::int64_t k, double bytes,
                         Precision precision) const {
  const bool fp8 = precision == Precision::fp8;
  const double flops = fp8 ? known(fp8_flops_, "product_fp8_tflops", name_,
                                   "give the best large product that was measured")
                           : product_flops_;
  const auto dm = static_cast<double>(m), dn = static_cast<double>(n), dk = static_cast<double>(k);
  double best = 0.0;
  for (const Tile& tile : kTiles) {
    if (tile.of_a_pair && !pairs_) continue;
    const double units = tile.of_a_pair ? multiprocessors_ / 2.0 : multiprocessors_;
    const double tiles = std::ceil(dm / tile.m) * std::ceil(dn / tile.n);
    // k is cut only while the multiprocessors are not all busy, in parts of at least 512.
    for (double cuts = 1; cuts <= 16; cuts *= 2) {
      if (cuts > 1 && (tiles * cuts > units || dk / cuts < 512)) break;
      const double waves = std::ceil(tiles * cuts / units);
      const double wave = 2.0 * tile.m * tile.n * dk / cuts / (tile.rate * flops / units);
      // Partial sums in fp32 are written and read again; else the last wave writes its tiles.
      const double written =
          cuts > 1 ? 8.0 * cuts * dm * dn : 2.0 * tile.m * tile.n * std::min(tiles, units);
      const double seconds = waves * wave + written / copy_bytes_;
      if (best == 0.0 || seconds < best) best = seconds;
    }
  }
  return std::max(best, bytes / copy_bytes_) + overhead_s_;
}

double GpuRates::attention(bool backward, double flops, double length, double head_dim) const {
  const double half = backward ? backward_half_ : forward_half_;
  const double width = head_dim / (head_dim + kHalfHeadDim) * (128.0 + kHalfHeadDim) / 128.0;
  const double rate = (backward ? backward_flops_ : forward_flops_) * length / (length + half) *
                      std::min(width, 1.0);
  return flops / rate;
}

double GpuRates::memory_bound(double bytes) const {
  return bytes / (kOperatorShare * copy_bytes_);
}

double GpuRates::grouped(double flops, double bytes, double rows) const {
  constexpr double kTileRows = 128.0;
  const double filled = rows > 0.0 ? rows / (rows + 0.5 * kTileRows) : 1.0;
  return std::max(flops / (kSmallTileRate * filled * product_flops_), bytes / copy_bytes_);
}

OperatorTimes GpuRates::times(const device::OperationCosts& operations, double length,
                              double head_dim, double rows_of_expert) const {
  OperatorTimes sum;
  for (const auto& [operation, cost] : operations) {
    const auto calls = static_cast<double>(cost.calls);
    if (calls <= 0) continue;
    if (operation.m > 0) {
      sum.products += calls * product(operation.m, operation.n, operation.k, cost.bytes / calls);
    } else if (operation.name.starts_with("grouped_")) {
      sum.products += grouped(cost.flops, cost.bytes, rows_of_expert) + calls * overhead_s_;
    } else if (operation.name.starts_with("attention")) {
      const bool backward = operation.name.find("backward") != std::string_view::npos;
      sum.attention += attention(backward, cost.flops, length, head_dim) + calls * overhead_s_;
    } else {
      sum.memory_bound += memory_bound(cost.bytes) + calls * overhead_s_;
    }
  }
  return sum;
}

}  // namespace espalier::plan
