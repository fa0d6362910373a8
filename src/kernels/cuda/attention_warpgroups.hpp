#pragma once
// What the forward and backward pass of attention with warpgroups share: rings of tiles between the
// thread that copies and the warpgroups that multiply, products, and how results lie in registers.
#include "device/view.hpp"
#include "kernels/attention/attention.hpp"
#include "kernels/cuda/swizzled_tile.hpp"
#include "kernels/cuda/threads.hpp"

namespace espalier::kernels::ESPALIER_GPU {

constexpr float kLog2OfE = 1.4426950408889634f;
/// In place of a score that a mask hides: below every score; finite, so that differences of two are
/// not NaN.
constexpr float kHidden = -1e30f;

/// Two warpgroups multiply, the third copies.
constexpr int kConsumers = 2;
constexpr int kWarpgroupBlock = (kConsumers + 1) * kWarpgroupThreads;
constexpr int kConsumerWarps = kConsumers * kWarpgroupThreads / kWarpSize;
/// Rows of a warpgroup's product.
constexpr int kGroupRows = 64;
/// setmaxnreg: of 65536 registers, 168 a thread are given out at launch.
constexpr int kConsumerRegisters = 240;
constexpr int kProducerRegisters = 24;

ESPALIER_DEVICE int warpgroup() {
  return same_in_warp(thread_index() / kWarpgroupThreads);
}

/// Element i of the 64 x n results of a warpgroup that a thread holds: rows g and g + 8 of its
/// warp's 16, columns 2t and 2t + 1 of each eight (g = lane / 4, t = lane % 4).
ESPALIER_DEVICE int group_row(int i) {
  return (warp() & 3) * 16 + lane() / 4 + i / 2 % 2 * 8;
}
ESPALIER_DEVICE int group_col(int i) {
  return i / 4 * 8 + lane() % 4 * 2 + i % 2;
}

/// The two consumers begin their products in turn, the first one first, so that each has the
/// multiprocessor's other units for itself while the other multiplies (FlashAttention-3, 3.1).
/// Iterations are counted from 0; both consumers have num_iterations. Named barriers 3 and 4.
class Alternation {
 public:
  ESPALIER_DEVICE explicit Alternation(int num_iterations) : num_iterations_(num_iterations) {}
  /// Until the other has begun its products of the iteration before.
  ESPALIER_DEVICE void wait(int iteration) const {
    if (group_ == 1 || iteration > 0) group_barrier(kFirst + group_, kThreads);
  }
  ESPALIER_DEVICE void pass_on(int iteration) const {
    if (group_ == 0 || iteration + 1 < num_iterations_)
      arrive_at_group_barrier(kFirst + 1 - group_, kThreads);
  }

 private:
  static constexpr int kFirst = 1 + kConsumers;  ///< after those of store_rows
  static constexpr int kThreads = kConsumers * kWarpgroupThreads;
  int group_ = warpgroup();
  int num_iterations_;
};

/// Places for kStages tiles, each with a barrier that says that its tile has come and one that says
/// that all consumers are done with it.
template <class Tile, int kStages>
class Ring {
 public:
  static constexpr int kElements = kStages * Tile::kElements;
  static constexpr int kBarriers = 2 * kStages;

  ESPALIER_DEVICE Ring(const SharedArray<bf16>& places, const SharedArray<std::uint64_t>& barriers)
      : places_(places), barriers_(barriers) {}
  /// By one thread. num_loaders bring what an iteration needs: who copies the tile, and more.
  ESPALIER_DEVICE void init(int num_loaders = 1) const {
    for (int stage = 0; stage < kStages; ++stage) {
      full(stage).init(num_loaders);
      empty(stage).init(kConsumerWarps);
    }
  }
  ESPALIER_DEVICE Tile tile(int iteration) const {
    return Tile(places_.part(stage(iteration) * Tile::kElements, Tile::kElements));
  }
  /// By the thread that copies, when the place is free: the tile of this iteration.
  ESPALIER_DEVICE void load(int iteration, const TensorMap& map, int head, int first_row,
                            int b) const {
    producer_acquire(iteration);
    full(iteration).arrive_expecting(Tile::kBytes);
    tile(iteration).load(map, head, first_row, b, full(iteration));
  }
  /// By another loader: the iteration's place is free, and what the loader has put beside it is
  /// there.
  ESPALIER_DEVICE void producer_acquire(int iteration) const {
    empty(iteration).wait(parity(iteration) ^ 1);
  }
  ESPALIER_DEVICE void producer_commit(int iteration) const { full(iteration).arrive(); }
  ESPALIER_DEVICE void consumer_wait(int iteration) const {
    full(iteration).wait(parity(iteration));
  }
  /// By all consumers, each warp for itself: it has waited for its products.
  ESPALIER_DEVICE void consumer_release(int iteration) const {
    if (lane() == 0) empty(iteration).arrive();
  }

  /// The place of an iteration's tile.
  ESPALIER_DEVICE static int stage(int iteration) {
    return static_cast<int>(static_cast<unsigned>(iteration) %
                            kStages);  // signed division costs more
  }

 private:
  ESPALIER_DEVICE static int parity(int iteration) {
    return static_cast<int>(static_cast<unsigned>(iteration) / kStages % 2);
  }
  ESPALIER_DEVICE Barrier full(int iteration) const {
    return Barrier{barriers_.address(stage(iteration))};
  }
  ESPALIER_DEVICE Barrier empty(int iteration) const {
    return Barrier{barriers_.address(kStages + stage(iteration))};
  }
  SharedArray<bf16> places_;
  SharedArray<std::uint64_t> barriers_;
};

/// result (64, kRows) = rows left_row .. + 63 of left (., D) times right (kRows, D)^T.
template <int kLeftRows, int kRows, int kHeadDim>
ESPALIER_DEVICE void multiply_rows(float (&result)[kRows / 2],
                                   const SwizzledTile<kLeftRows, kHeadDim>& left, int left_row,
                                   const SwizzledTile<kRows, kHeadDim>& right) {
#pragma unroll
  for (int d = 0; d < kHeadDim / 16; ++d)
    if (d == 0)
      multiply(result, left.rows(left_row, d), right.rows(0, d));
    else
      multiply_add(result, left.rows(left_row, d), right.rows(0, d));
}

/// The operand of add_product: results rounded to bf16 are where a left operand wants them.
template <int kRows>
ESPALIER_DEVICE void pack(std::uint32_t (&operand)[kRows / 16][4],
                          const float (&results)[kRows / 2]) {
#pragma unroll
  for (int k = 0; k < kRows / 16; ++k)
#pragma unroll
    for (int i = 0; i < 4; ++i)
      operand[k][i] = pair_of_bf16(results[8 * k + 2 * i], results[8 * k + 2 * i + 1]);
}

/// sum (64, D) += left (64, kRows) right (kRows, D).
template <int kRows, int kHeadDim>
ESPALIER_DEVICE void add_product(float (&sum)[kHeadDim / 2],
                                 const std::uint32_t (&left)[kRows / 16][4],
                                 const SwizzledTile<kRows, kHeadDim>& right) {
#pragma unroll
  for (int k = 0; k < kRows / 16; ++k) multiply_add(sum, left[k], right.columns(k));
}

template <int kCount>
ESPALIER_DEVICE void set_zero(float (&sum)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) sum[i] = 0.0f;
}

/// The warpgroup writes its 64 rows, rounded to bf16, through rows `row` .. of a tile that only it
/// uses by now. `results` times a factor for each of the thread's two rows; rows after the
/// sequence's last are not written. Named barrier 1 + warpgroup. finish_stores comes after.
template <int kRows, int kHeadDim>
ESPALIER_DEVICE void store_rows(const SwizzledTile<kRows, kHeadDim>& tile, int row,
                                const float (&results)[kHeadDim / 2], const float (&factors)[2],
                                const TensorMap& map, int head, int first_row, int b) {
  // Each warp has waited for its part of the products that read the tile; now all have.
  group_barrier(1 + warpgroup(), kWarpgroupThreads);
#pragma unroll
  for (int i = 0; i < kHeadDim / 2; i += 2) {
    const float factor = factors[i / 2 % 2];
    tile.set_pair(row + group_row(i), group_col(i),
                  pair_of_bf16(results[i] * factor, results[i + 1] * factor));
  }
  fence_async_proxy();
  group_barrier(1 + warpgroup(), kWarpgroupThreads);
  if (thread_index() % kWarpgroupThreads == 0) {
    tile.store(map, head, first_row, b, row);
    commit_stores();
  }
}
/// What the warpgroup writes by store_rows has left shared memory.
ESPALIER_DEVICE void finish_stores() {
  if (thread_index() % kWarpgroupThreads == 0) wait_for_stores<0>();
}

/// A matrix of heads as a tensor: column of the head, head, row of the sequence, sequence. Boxes
/// are box_rows x 64 of one head.
inline TensorMap map_of_heads(const device::ConstView& view, std::int64_t batch,
                              std::int64_t num_heads, std::int64_t head_dim, int box_rows) {
  const std::int64_t length = view.rows / batch;
  return make_tensor_map(view.data, {.rank = 4,
                                     .size = {head_dim, num_heads, length, batch},
                                     .stride = {1, head_dim, view.stride, length * view.stride},
                                     .box = {kBoxColumns, 1, box_rows, 1}});
}

}  // namespace espalier::kernels::ESPALIER_GPU
