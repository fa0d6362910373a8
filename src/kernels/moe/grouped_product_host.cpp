// Grouped products by the tiles of tile_gemm.hpp and not by the library's products: those are made
// anew for every number of rows, and a group has another one in every step.
#include "kernels/moe/grouped_product.hpp"

#include <algorithm>
#include <cstring>

#include "base/host_loops.hpp"
#include "kernels/backends.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/moe/grouped_shapes.hpp"

// Last: what follows is compiled for one SIMD level.
#include "kernels/tile_packing.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {
namespace {

/// A task's block of the result, and how many units are summed at once: packed operands and sums
/// stay in the second-level cache, and 64 lanes of 128 units in the first. With half the rows the
/// weights of a group of 300 are packed twice, which costs 5 %.
constexpr std::int64_t kRows = 384;
constexpr std::int64_t kCols = 256;
constexpr std::int64_t kUnits = 128;
/// Rows of packed blocks are 16 longer: at a distance of a power of two they would fall into the
/// same few lines of a cache.
constexpr std::int64_t kStride = kCols + 16;
constexpr std::int64_t kLeftStride = kRows + 16;

/// `count` numbers in as few parts of at most `largest` as there may be, about equally long, of
/// whole `unit`s.
struct Parts {
  std::int64_t count, number, size;

  Parts(std::int64_t total, std::int64_t largest, std::int64_t unit)
      : count(total),
        number(div_ceil(total, largest)),
        size(number == 0 ? 0 : round_up(div_ceil(total, number), unit)) {}
  std::int64_t first(std::int64_t i) const { return i * size; }
  std::int64_t length(std::int64_t i) const {
    return std::max<std::int64_t>(0, std::min(size, count - i * size));
  }
};

struct RowBlock {
  std::int64_t group, first, count;
};
/// Blocks of rows of one group each, numbered over all groups.
class RowBlocks {
 public:
  explicit RowBlocks(std::span<const std::int64_t> offsets) : offsets_(offsets) {}
  std::int64_t number() const {
    std::int64_t sum = 0;
    for (std::size_t g = 0; g + 1 < offsets_.size(); ++g) sum += parts(g).number;
    return sum;
  }
  RowBlock at(std::int64_t i) const {
    std::size_t g = 0;
    while (i >= parts(g).number) i -= parts(g++).number;
    return {static_cast<std::int64_t>(g), offsets_[g] + parts(g).first(i), parts(g).length(i)};
  }

 private:
  Parts parts(std::size_t g) const {
    return Parts(offsets_[g + 1] - offsets_[g], kRows, kBlockRows);
  }
  std::span<const std::int64_t> offsets_;
};

/// The rows of a matrix as tile_packing.hpp takes them.
template <class T>
struct MatrixRows {
  const T* data;
  std::int64_t stride;

  MatrixRows(const device::ConstView& view, std::int64_t first_row, std::int64_t first_col)
      : data(view.as<T>(first_row) + first_col), stride(view.stride) {}
  const T* operator()(std::int64_t row) const { return data + row * stride; }
};

/// What a thread packs and adds up.
struct Buffers {
  TileMemory memory{kRows * kStride + kUnits * (kStride + kLeftStride)};
  float* sums = memory.take(kRows * kStride);
  std::int32_t* right = memory.take<std::int32_t>(kUnits * kStride);
  /// (units, kLeftStride), or (kRows, units) of widened or padded rows.
  std::int32_t* left = memory.take<std::int32_t>(kUnits * kLeftStride);
};

/// `count` rows from the first one, `width` elements of each, as the left operand.
template <class T>
TileA left_rows(const Buffers& at, const MatrixRows<T>& rows, std::int64_t count,
                std::int64_t width) {
  if (width % kUnit<T> == 0)
    return left_operand<T>(reinterpret_cast<float*>(at.left), rows, 0, count, width);
  // The last pair has one element: what lies behind it in the matrix is another's.
  const std::int64_t num_units = div_ceil(width, kUnit<T>);
  for (std::int64_t i = 0; i < count; ++i) {
    std::int32_t* row = at.left + i * num_units;
    row[num_units - 1] = 0;
    std::memcpy(row, rows(i), static_cast<std::size_t>(width) * sizeof(T));
  }
  return {at.left, num_units * 4, 4};
}

/// `count` rows from the first one, `width` elements of each, as lanes of the right operand.
template <class T>
void pack_right_lanes(const Buffers& at, const MatrixRows<T>& rows, std::int64_t count,
                      std::int64_t width) {
  pack_lanes<T>(at.right, kStride, rows, 0, count, width / kUnit<T>);
  if (width % kUnit<T> == 0) return;
  std::int32_t* last = at.right + width / kUnit<T> * kStride;
  std::fill_n(last, round_up(count, simd::kLanes), 0);
  for (std::int64_t lane = 0; lane < count; ++lane)
    std::memcpy(last + lane, rows(lane) + width - 1, sizeof(T));
}

/// sums (num_rows, num_cols) = the products over `num_terms`, a part of which pack(first, count)
/// makes ready: the left operand is its result, the right one lies in at.right.
template <class T, class Pack>
void add_up(const Buffers& at, std::int64_t num_rows, std::int64_t num_cols, std::int64_t num_terms,
            Pack&& pack) {
  const Parts terms(num_terms, kUnits * kUnit<T>, kUnit<T>);
  for (std::int64_t i = 0; i < terms.number; ++i) {
    const std::int64_t count = terms.length(i);
    const TileA left = pack(terms.first(i), count);
    tile_gemm<T>(at.sums, kStride, left, TileB{at.right, kStride}, num_rows,
                 div_ceil(num_cols, simd::kLanes), div_ceil(count, kUnit<T>), i > 0);
  }
}

template <class T>
void store_sums(const Buffers& at, const device::View& out, std::int64_t first_row,
                std::int64_t num_rows, std::int64_t first_col, std::int64_t num_cols, bool added) {
  for (std::int64_t r = 0; r < num_rows; ++r) {
    T* to = out.as<T>(first_row + r) + first_col;
    const float* sums = at.sums + r * kStride;
    simd::for_lanes(num_cols, [&](std::int64_t c, auto lanes) {
      simd::Floats x = simd::load(sums + c);
      if (added) x += simd::load(to + c, lanes);
      simd::store(to + c, x, lanes);
    });
  }
}

/// body(block of rows, first column, number of columns) for all of an output of the groups' rows.
template <class Body>
void for_blocks(std::span<const std::int64_t> offsets, std::int64_t num_cols, Body&& body) {
  const RowBlocks rows(offsets);
  const Parts cols(num_cols, kCols, kBlockVectors * simd::kLanes);
  host_for_tasks(rows.number() * cols.number, [&](std::int64_t task) {
    const std::int64_t part = task % cols.number;
    if (cols.length(part) > 0)
      body(rows.at(task / cols.number), cols.first(part), cols.length(part));
  });
}

}  // namespace

void grouped_forward(device::Context&, const GroupedForward& a) {
  check_shapes(a);
  dispatch(a.y.dtype, [&]<class T>(T) {
    for_blocks(a.offsets, a.y.cols,
               [&](const RowBlock& block, std::int64_t first_col, std::int64_t num_cols) {
                 const Buffers at;
                 const std::int64_t first_row_of_w = block.group * a.y.cols + first_col;
                 add_up<T>(at, block.count, num_cols, a.x.cols,
                           [&](std::int64_t first, std::int64_t count) {
                             pack_right_lanes<T>(at, {a.w, first_row_of_w, first}, num_cols, count);
                             return left_rows<T>(at, {a.x, block.first, first}, block.count, count);
                           });
                 store_sums<T>(at, a.y, block.first, block.count, first_col, num_cols, false);
               });
  });
}

void grouped_backward_input(device::Context&, const GroupedBackwardInput& a) {
  check_shapes(a);
  dispatch(a.dx.dtype, [&]<class T>(T) {
    for_blocks(a.offsets, a.dx.cols,
               [&](const RowBlock& block, std::int64_t first_col, std::int64_t num_cols) {
                 const Buffers at;
                 const std::int64_t first_row_of_w = block.group * a.dy.cols;
                 add_up<T>(
                     at, block.count, num_cols, a.dy.cols,
                     [&](std::int64_t first, std::int64_t count) {
                       const MatrixRows<T> w(a.w, first_row_of_w + first, first_col);
                       pack_woven<T>(at.right, kStride, w, 0, count, num_cols);
                       return left_rows<T>(at, {a.dy, block.first, first}, block.count, count);
                     });
                 store_sums<T>(at, a.dx, block.first, block.count, first_col, num_cols, false);
               });
  });
}

void grouped_backward_weight(device::Context&, const GroupedBackwardWeight& a) {
  check_shapes(a);
  const std::int64_t num_groups = static_cast<std::int64_t>(a.offsets.size()) - 1;
  const bool added = a.output == device::Output::accumulate;
  const Parts rows(a.dy.cols, kRows, kBlockRows);
  const Parts cols(a.x.cols, kCols, kBlockVectors * simd::kLanes);
  dispatch(a.x.dtype, [&]<class T>(T) {
    host_for_tasks(num_groups * rows.number * cols.number, [&](std::int64_t task) {
      const std::int64_t group = task / (rows.number * cols.number);
      const std::int64_t n = task / cols.number % rows.number;
      const std::int64_t k = task % cols.number;
      const std::int64_t begin = a.offsets[static_cast<std::size_t>(group)];
      const std::int64_t num_terms = a.offsets[static_cast<std::size_t>(group) + 1] - begin;
      if (rows.length(n) == 0 || cols.length(k) == 0 || (num_terms == 0 && added)) return;
      const Buffers at;
      if (num_terms == 0) std::fill_n(at.sums, rows.length(n) * kStride, 0.0f);
      add_up<T>(at, rows.length(n), cols.length(k), num_terms,
                [&](std::int64_t first, std::int64_t count) {
                  const MatrixRows<T> dy(a.dy, begin + first, rows.first(n));
                  const MatrixRows<T> x(a.x, begin + first, cols.first(k));
                  pack_woven<T>(at.left, kLeftStride, dy, 0, count, rows.length(n));
                  pack_woven<T>(at.right, kStride, x, 0, count, cols.length(k));
                  return TileA{at.left, 4, 4 * kLeftStride};
                });
      store_sums<float>(at, a.dw, group * a.dy.cols + rows.first(n), rows.length(n), cols.first(k),
                        cols.length(k), added);
    });
  });
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
