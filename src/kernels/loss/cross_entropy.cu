#include "kernels/loss/cross_entropy.hpp"

#include "kernels/backends.hpp"
#include "kernels/cuda/math.hpp"
#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/threads.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/dispatch.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

constexpr int kStatisticsThreads = 512;

/// The running maximum of some numbers and the sum of exp(number - maximum): online softmax
/// (Milakov & Gimelshein 2018). A NaN is lost in the maximum but stays in the sum.
struct Running {
  float maximum = -INFINITY;
  float sum = 0.0f;
};

/// The sum of a part, seen from a larger maximum. An empty part stays empty: its maximum is -inf,
/// and inf - inf would be NaN.
template <class T>
ESPALIER_DEVICE float sum_below(const Running& part, float maximum) {
  return part.sum == 0.0f ? 0.0f : part.sum * exp_for<T>(part.maximum - maximum);
}

template <class T>
ESPALIER_DEVICE Running combined(const Running& a, const Running& b) {
  const float maximum = fmaxf(a.maximum, b.maximum);
  return {maximum, sum_below<T>(a, maximum) + sum_below<T>(b, maximum)};
}

/// A block per token, one pass through memory.
template <class T, int kCount>
ESPALIER_KERNEL(kStatisticsThreads)
statistics_of_row(Rows<float> statistics, Rows<const T> logits, const std::uint32_t* targets,
                  std::int64_t first_col, int num_valid_cols) {
  SharedAllocator shared;
  const auto maxima = shared.take<float>(kMaxWarps);
  const auto sums = shared.take<float>(kMaxWarps);
  const std::int64_t t = block_index();
  const T* row = logits.row(t);
  Running mine;
  for_columns<kCount>(num_valid_cols, [&](int c, auto columns) {
    const auto x = load(row + c, columns);
    float maximum = mine.maximum;
#pragma unroll
    for (int i = 0; i < columns; ++i) maximum = fmaxf(maximum, x.at[i]);
    const auto e = x.map([maximum](float logit) { return exp_for<T>(logit - maximum); });
    mine = {maximum, sum_below<T>(mine, maximum) + sum_of(e)};
  });
  for (int mask = kWarpSize / 2; mask > 0; mask /= 2)
    mine = combined<T>(mine, {shuffle_xor(mine.maximum, mask), shuffle_xor(mine.sum, mask)});
  if (lane() == 0) {
    maxima.set(warp(), mine.maximum);
    sums.set(warp(), mine.sum);
  }
  block_barrier();
  if (thread_index() > 0) return;
  for (int i = 1; i < num_warps(); ++i) mine = combined<T>(mine, {maxima.get(i), sums.get(i)});
  const std::uint32_t id = read_element(targets + t);
  const std::int64_t target = static_cast<std::int64_t>(id) - first_col;
  const bool here = id != kIgnoredTarget && target >= 0 && target < num_valid_cols;
  float* out = statistics.row(t);
  write_element(out, mine.maximum);
  write_element(out + 1, mine.sum);
  write_element(out + 2, here ? to_float(read_element(row + target)) : 0.0f);
}

/// A thread per token, parts in rank order.
ESPALIER_KERNEL(kTileThreads)
combine_parts(float* loss, float* log_sum_exp, Rows<const float> statistics,
              const std::uint32_t* targets, int num_tokens, int num_parts) {
  const int t = static_cast<int>(block_index()) * kTileThreads + thread_index();
  if (t >= num_tokens) return;
  const auto part = [&](int p, int i) {
    return read_element(statistics.row(static_cast<std::int64_t>(p) * num_tokens + t) + i);
  };
  float maximum = -INFINITY;
  for (int p = 0; p < num_parts; ++p) maximum = fmaxf(maximum, part(p, 0));
  float sum = 0.0f;
  float target_logit = 0.0f;
  for (int p = 0; p < num_parts; ++p) {
    sum += sum_below<float>({part(p, 0), part(p, 1)}, maximum);
    target_logit += part(p, 2);
  }
  const float lse = logf(sum) + maximum;
  write_element(log_sum_exp + t, lse);
  write_element(loss + t, read_element(targets + t) == kIgnoredTarget ? 0.0f : lse - target_logit);
}

template <class T, int kCount>
ESPALIER_KERNEL(kTileThreads)
gradient_of_tile(Rows<T> logits, const std::uint32_t* targets, const float* log_sum_exp,
                 std::int64_t first_col, std::int64_t num_valid_cols, float scale, Tiling tiling) {
  const Tile tile = tiling.tile(block_index());
  const std::uint32_t id = read_element(targets + tile.row);
  const bool counts = id != kIgnoredTarget;
  const std::int64_t target = static_cast<std::int64_t>(id) - first_col - tile.first;
  const std::int64_t num_valid = num_valid_cols - tile.first;
  const float lse = read_element(log_sum_exp + tile.row);
  for_columns<kCount>(tile.count, [&](int c, auto columns) {
    auto x = load(logits.at(tile, c), columns);
#pragma unroll
    for (int i = 0; i < columns; ++i) {
      const float p = exp_for<T>(x.at[i] - lse);
      const float gradient = (p - (c + i == target ? 1.0f : 0.0f)) * scale;
      x.at[i] = counts && c + i < num_valid ? gradient : 0.0f;
    }
    store(logits.at(tile, c), x);
  });
}

constexpr int kLossThreads = 512;

/// One block: thread i adds losses i, i + kLossThreads, ...; then the threads' sums are added.
ESPALIER_KERNEL(kLossThreads)
add_up_losses(double* sum, const float* losses, int count) {
  SharedAllocator shared;
  const auto sums = shared.take<double>(kMaxWarps);
  double mine = 0.0;
  const int end = num_tail_columns(count);
  for (int t = thread_index(); t < end; t += num_threads())
    mine += static_cast<double>(read_element(losses + t));
  mine = block_sum(mine, sums);
  if (thread_index() == 0) write_element(sum, read_element(sum) + mine);
}

}  // namespace

void add_losses(const Queue& queue, device::View sum, device::ConstView losses) {
  launch(add_up_losses, {1, kLossThreads, shared_bytes<double>(kMaxWarps)}, queue, sum.as<double>(),
         losses.as<float>(), narrow<int>(losses.cols));
}

void cross_entropy_statistics(const Queue& queue, const CrossEntropyStatistics& a) {
  ESPALIER_ASSERT(a.targets.cols == a.logits.rows && a.statistics.rows == a.logits.rows &&
                      a.statistics.cols == 3 && a.num_valid_cols <= a.logits.cols,
                  "logits {}, targets {}, statistics {}, {} valid columns", describe(a.logits),
                  describe(a.targets), describe(a.statistics), a.num_valid_cols);
  dispatch(a.logits.dtype, [&]<class T>(T) {
    with_width<kFullWidth<T>>(all_aligned(a.logits), [&]<int kCount>(Columns<kCount>) {
      launch(statistics_of_row<T, kCount>,
             {.num_blocks = a.logits.rows,
              .block_threads = row_threads(a.num_valid_cols, kCount),
              .shared_bytes = 2 * shared_bytes<float>(kMaxWarps)},
             queue, rows_of<float>(a.statistics), rows_of<T>(a.logits),
             a.targets.as<std::uint32_t>(), a.first_col, narrow<int>(a.num_valid_cols));
    });
  });
}

void cross_entropy_combine(const Queue& queue, const CrossEntropyCombine& a) {
  const std::int64_t num_tokens = a.targets.cols;
  ESPALIER_ASSERT(a.statistics.rows == a.num_parts * num_tokens && a.statistics.cols == 3 &&
                      a.loss.cols == num_tokens && a.log_sum_exp.cols == num_tokens,
                  "{} parts, statistics {}, targets {}, loss {}", a.num_parts,
                  describe(a.statistics), describe(a.targets), describe(a.loss));
  launch(combine_parts,
         {.num_blocks = div_ceil(num_tokens, kTileThreads), .block_threads = kTileThreads}, queue,
         a.loss.as<float>(), a.log_sum_exp.as<float>(), rows_of<float>(a.statistics),
         a.targets.as<std::uint32_t>(), narrow<int>(num_tokens), narrow<int>(a.num_parts));
}

void cross_entropy_backward(const Queue& queue, const CrossEntropyBackward& a) {
  ESPALIER_ASSERT(a.targets.cols == a.logits.rows && a.log_sum_exp.cols == a.logits.rows &&
                      a.num_valid_cols <= a.logits.cols,
                  "logits {}, targets {}, log_sum_exp {}, {} valid columns", describe(a.logits),
                  describe(a.targets), describe(a.log_sum_exp), a.num_valid_cols);
  const Tiling tiling(a.logits.rows, a.logits.cols, false);
  dispatch(a.logits.dtype, [&]<class T>(T) {
    with_width<kFullWidth<T>>(all_aligned(a.logits), [&]<int kCount>(Columns<kCount>) {
      launch(gradient_of_tile<T, kCount>, {tiling.num_tiles(), kTileThreads}, queue,
             rows_of<T>(a.logits), a.targets.as<std::uint32_t>(), a.log_sum_exp.as<float>(),
             a.first_col, a.num_valid_cols, a.scale, tiling);
    });
  });
}

}  // namespace espalier::kernels::ESPALIER_GPU
