#include "kernels/optim/adamw.hpp"

#include <cmath>

#include "kernels/backends.hpp"
#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/dispatch.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

/// The factors of one rectangle's step. The corrections of the bias are taken in fp64, where
/// 1 - b2^t of the first steps keeps its digits.
struct Factors {
  float beta1, beta2, eps, gradient_scale;
  float decay;                    ///< 1 - lr * weight_decay
  float step_size;                ///< lr / (1 - b1^t)
  float inverse_root_correction;  ///< 1 / sqrt(1 - b2^t)
};

template <class T>
struct Rectangle {
  Rows<const float> gradient;
  Rows<float> master, m, v;
  Rows<T> weight;
  Tiling tiling{0, 0, false};
  Factors factors;
};

/// Rectangles of one launch: what 4 KiB of kernel arguments hold.
constexpr int kMaxRectangles = 24;

template <class T>
struct Rectangles {
  Rectangle<T> at[kMaxRectangles];
  std::int64_t first_tile[kMaxRectangles];  ///< of each rectangle, counted through all
  int count = 0;
};

/// A block per tile of any of the rectangles.
template <class T, int kCount>
ESPALIER_KERNEL(kTileThreads)
update_tile(Rectangles<T> rectangles) {
  int i = rectangles.count - 1;
  while (rectangles.first_tile[i] > block_index()) --i;
  const Rectangle<T>& a = rectangles.at[i];
  const Tile tile = a.tiling.tile(block_index() - rectangles.first_tile[i]);
  const Factors f = a.factors;
  for_columns<kCount>(tile.count, [&](int c, auto columns) {
    // All loads before the square roots: these branch, and the compiler moves none across.
    const auto gradient = load(a.gradient.at(tile, c), columns);
    const auto old_m = load<float>(a.m.at(tile, c), columns);
    const auto old_v = load<float>(a.v.at(tile, c), columns);
    const auto old_p = load<float>(a.master.at(tile, c), columns);
    const auto g = gradient * f.gradient_scale;
    const auto m = old_m * f.beta1 + g * (1.0f - f.beta1);
    const auto v = old_v * f.beta2 + g * g * (1.0f - f.beta2);
    const auto scale = v.map(
        [f](float x) { return f.step_size / (sqrtf(x) * f.inverse_root_correction + f.eps); });
    const auto p = old_p * f.decay - m * scale;
    store(a.m.at(tile, c), m);
    store(a.v.at(tile, c), v);
    store(a.master.at(tile, c), p);
    store(a.weight.at(tile, c), p);
  });
}

Factors factors_of(const AdamW& a) {
  const auto t = static_cast<double>(a.step);
  const double lr = a.learning_rate;
  const auto power = [t](float beta) { return std::pow(static_cast<double>(beta), t); };
  return {.beta1 = a.beta1,
          .beta2 = a.beta2,
          .eps = a.eps,
          .gradient_scale = a.gradient_scale,
          .decay = static_cast<float>(1.0 - lr * static_cast<double>(a.weight_decay)),
          .step_size = static_cast<float>(lr / (1.0 - power(a.beta1))),
          .inverse_root_correction = static_cast<float>(1.0 / std::sqrt(1.0 - power(a.beta2)))};
}

template <class T>
void launch_update(const Queue& queue, std::span<const AdamW> some) {
  Rectangles<T> rectangles{};
  std::int64_t num_tiles = 0;
  bool aligned = true;
  for (const AdamW& a : some) {
    const Tiling tiling(a.gradient.rows, a.gradient.cols,
                        all_contiguous(a.gradient, a.master, a.m, a.v, a.weight));
    if (tiling.num_tiles() == 0) continue;
    aligned = aligned && all_aligned(a.gradient, a.master, a.m, a.v, a.weight);
    rectangles.first_tile[rectangles.count] = num_tiles;
    rectangles.at[rectangles.count++] = {.gradient = rows_of<float>(a.gradient),
                                         .master = rows_of<float>(a.master),
                                         .m = rows_of<float>(a.m),
                                         .v = rows_of<float>(a.v),
                                         .weight = rows_of<T>(a.weight),
                                         .tiling = tiling,
                                         .factors = factors_of(a)};
    num_tiles += tiling.num_tiles();
  }
  with_width<kFullWidth<float>>(aligned, [&]<int kCount>(Columns<kCount>) {
    launch(update_tile<T, kCount>, {num_tiles, kTileThreads}, queue, rectangles);
  });
}

}  // namespace

void adamw(const Queue& queue, std::span<const AdamW> rectangles) {
  for (const AdamW& a : rectangles) {
    const auto fits = [&](const device::ConstView& view) {
      return view.rows == a.gradient.rows && view.cols == a.gradient.cols;
    };
    ESPALIER_ASSERT(fits(a.master) && fits(a.m) && fits(a.v) && fits(a.weight) &&
                        a.weight.dtype == rectangles.front().weight.dtype,
                    "gradient {}, master {}, m {}, v {}, weight {}", describe(a.gradient),
                    describe(a.master), describe(a.m), describe(a.v), describe(a.weight));
  }
  for (std::size_t first = 0; first < rectangles.size(); first += kMaxRectangles) {
    const auto some =
        rectangles.subspan(first, std::min<std::size_t>(kMaxRectangles, rectangles.size() - first));
    dispatch(some.front().weight.dtype, [&]<class T>(T) { launch_update<T>(queue, some); });
  }
}

}  // namespace espalier::kernels::ESPALIER_GPU
