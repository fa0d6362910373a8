// Grouped products by the tiles of tile_gemm.hpp and not by the library's products: those are made
// anew for every number of rows, and a group has another one in every step.
#include "kernels/moe/grouped_product.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/host_loops.hpp"
#include "kernels/backends.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/moe/grouped_shapes.hpp"

// Last: what follows is compiled for one SIMD level.
#include "kernels/tile_packing.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {
namespace {

/// A task's block of the result, and how many units are summed at once: the packed right operand
/// and the sums stay in the second-level cache. A block's own lanes of the right operand need not
/// stay in the first with AVX-512, which reads them for 16 products each; elsewhere they do.
#if ESPALIER_SIMD_AVX512
constexpr std::int64_t kRows = 640;
constexpr std::int64_t kCols = 192;
constexpr std::int64_t kUnits = 512;
#else
constexpr std::int64_t kRows = 384;
constexpr std::int64_t kCols = 256;
constexpr std::int64_t kUnits = 128;
#endif
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

/// The longest first: tasks are handed out in this order, and a long one at the end would keep the
/// other threads waiting.
std::vector<RowBlock> longest_first(std::vector<RowBlock> blocks) {
  std::stable_sort(blocks.begin(), blocks.end(),
                   [](const RowBlock& a, const RowBlock& b) { return a.count > b.count; });
  return blocks;
}

/// The rows of each group, in at most kRows together.
std::vector<RowBlock> row_blocks(std::span<const std::int64_t> offsets) {
  std::vector<RowBlock> blocks;
  for (std::size_t g = 0; g + 1 < offsets.size(); ++g) {
    const Parts parts(offsets[g + 1] - offsets[g], kRows, kBlockRows);
    for (std::int64_t i = 0; i < parts.number; ++i)
      blocks.push_back(
          {static_cast<std::int64_t>(g), offsets[g] + parts.first(i), parts.length(i)});
  }
  return longest_first(std::move(blocks));
}

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

/// A block of the output.
struct OutputBlock {
  const device::View& out;
  std::int64_t first_row, num_rows, first_col, num_cols;
  bool added;  ///< the sums are added to what is there
};

/// Where the sums of a block grow.
struct Sums {
  float* data;
  std::int64_t stride;
  bool in_output;
};

/// The output itself, where it can be: f32, whole vectors of columns, nothing to add to.
Sums sums_of(const Buffers& at, const OutputBlock& block) {
  const bool in_place =
      block.out.dtype == DType::f32 && !block.added && block.num_cols % simd::kLanes == 0;
  if (!in_place) return {at.sums, kStride, false};
  return {block.out.as<float>(block.first_row) + block.first_col, block.out.stride, true};
}

template <class T>
void store(const Sums& sums, const OutputBlock& block) {
  if (sums.in_output) return;
  for (std::int64_t r = 0; r < block.num_rows; ++r) {
    T* to = block.out.as<T>(block.first_row + r) + block.first_col;
    const float* from = sums.data + r * sums.stride;
    simd::for_lanes(block.num_cols, [&](std::int64_t c, auto lanes) {
      simd::Floats x = simd::load(from + c);
      if (block.added) x += simd::load(to + c, lanes);
      simd::store(to + c, x, lanes);
    });
  }
}

/// The block of the output (+)= the products over `num_terms` elements of T, a part of which
/// pack(first, count) makes ready: the left operand is its result, the right one lies in at.right.
template <class T, class Out, class Pack>
void multiply(const Buffers& at, const OutputBlock& block, std::int64_t num_terms, Pack&& pack) {
  const Sums sums = sums_of(at, block);
  if (num_terms == 0)
    for (std::int64_t r = 0; r < block.num_rows; ++r)
      std::fill_n(sums.data + r * sums.stride, block.num_cols, 0.0f);
  const Parts terms(num_terms, kUnits * kUnit<T>, kUnit<T>);
  for (std::int64_t i = 0; i < terms.number; ++i) {
    const std::int64_t count = terms.length(i);
    const TileA left = pack(terms.first(i), count);
    tile_gemm<T>(sums.data, sums.stride, left, TileB{at.right, kStride}, block.num_rows,
                 div_ceil(block.num_cols, simd::kLanes), div_ceil(count, kUnit<T>), i > 0);
  }
  store<Out>(sums, block);
}

/// body(block, its group) for all of an output of the groups' rows.
template <class Body>
void for_blocks(std::span<const std::int64_t> offsets, const device::View& out, Body&& body) {
  const std::vector<RowBlock> rows = row_blocks(offsets);
  const Parts cols(out.cols, kCols, kBlockVectors * simd::kLanes);
  host_for_tasks(std::ssize(rows) * cols.number, [&](std::int64_t task) {
    const RowBlock row = rows[static_cast<std::size_t>(task / cols.number)];
    const std::int64_t part = task % cols.number;
    if (cols.length(part) > 0)
      body(OutputBlock{.out = out,
                       .first_row = row.first,
                       .num_rows = row.count,
                       .first_col = cols.first(part),
                       .num_cols = cols.length(part),
                       .added = false},
           row.group);
  });
}

}  // namespace

void grouped_forward(device::Context&, const GroupedForward& a) {
  check_shapes(a);
  dispatch(a.y.dtype, [&]<class T>(T) {
    for_blocks(a.offsets, a.y, [&](const OutputBlock& block, std::int64_t group) {
      const Buffers at;
      const std::int64_t first_row_of_w = group * a.y.cols + block.first_col;
      multiply<T, T>(at, block, a.x.cols, [&](std::int64_t first, std::int64_t count) {
        const MatrixRows<T> w(a.w, first_row_of_w, first);
        pack_right_lanes<T>(at, w, block.num_cols, count);
        return left_rows<T>(at, {a.x, block.first_row, first}, block.num_rows, count);
      });
    });
  });
}

void grouped_backward_input(device::Context&, const GroupedBackwardInput& a) {
  check_shapes(a);
  dispatch(a.dx.dtype, [&]<class T>(T) {
    for_blocks(a.offsets, a.dx, [&](const OutputBlock& block, std::int64_t group) {
      const Buffers at;
      multiply<T, T>(at, block, a.dy.cols, [&](std::int64_t first, std::int64_t count) {
        const MatrixRows<T> w(a.w, group * a.dy.cols + first, block.first_col);
        pack_woven<T>(at.right, kStride, w, 0, count, block.num_cols);
        return left_rows<T>(at, {a.dy, block.first_row, first}, block.num_rows, count);
      });
    });
  });
}

void grouped_backward_weight(device::Context&, const GroupedBackwardWeight& a) {
  check_shapes(a);
  std::vector<RowBlock> groups;  // with their terms
  for (std::size_t g = 0; g + 1 < a.offsets.size(); ++g)
    groups.push_back({static_cast<std::int64_t>(g), a.offsets[g], a.offsets[g + 1] - a.offsets[g]});
  groups = longest_first(std::move(groups));
  const bool added = a.output == device::Output::accumulate;
  const Parts rows(a.dy.cols, kRows, kBlockRows);
  const Parts cols(a.x.cols, kCols, kBlockVectors * simd::kLanes);
  dispatch(a.x.dtype, [&]<class T>(T) {
    host_for_tasks(std::ssize(groups) * rows.number * cols.number, [&](std::int64_t task) {
      const auto& [group, begin, num_terms] =
          groups[static_cast<std::size_t>(task / (rows.number * cols.number))];
      const std::int64_t n = task / cols.number % rows.number;
      const std::int64_t k = task % cols.number;
      const OutputBlock block{.out = a.dw,
                              .first_row = group * a.dy.cols + rows.first(n),
                              .num_rows = rows.length(n),
                              .first_col = cols.first(k),
                              .num_cols = cols.length(k),
                              .added = added};
      if (block.num_rows == 0 || block.num_cols == 0 || (num_terms == 0 && added)) return;
      const Buffers at;
      multiply<T, float>(at, block, num_terms,
                         [&, begin = begin](std::int64_t first, std::int64_t count) {
                           const MatrixRows<T> dy(a.dy, begin + first, rows.first(n));
                           const MatrixRows<T> x(a.x, begin + first, block.first_col);
                           pack_woven<T>(at.left, kLeftStride, dy, 0, count, block.num_rows);
                           pack_woven<T>(at.right, kStride, x, 0, count, block.num_cols);
                           return TileA{at.left, 4, 4 * kLeftStride};
                         });
    });
  });
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
