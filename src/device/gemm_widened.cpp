#include "device/gemm_widened.hpp"

#include <algorithm>
#include <atomic>
#include <oneapi/dnnl/dnnl.hpp>

#include "base/host_loops.hpp"
#include "base/integers.hpp"
#include "base/simd/convert.hpp"
#include "device/widen_transposed.hpp"

namespace espalier::device {
namespace {

/// Floats of a block of a, of b and of a bf16 result. An element of a is widened once for all
/// columns of a block and one of b for all rows: thousands each, so that threads seldom wait for
/// one another. Blocks of a third of these made training 8 % slower.
constexpr std::int64_t kFloatsOfA = 4096 * 528;
constexpr std::int64_t kFloatsOfB = 4096 * 1040;
constexpr std::int64_t kFloatsOfC = 4096 * 2096;
/// The longest sides of a block.
constexpr std::int64_t kTerms = 1024;
constexpr std::int64_t kRows = 4096;
constexpr std::int64_t kCols = 4096;
/// The largest tile of a thread: small enough for many threads. The library's kernels read b at
/// these sizes without copying it first, and are the faster the longer its rows are.
constexpr std::int64_t kTileRows = 120;
constexpr std::int64_t kTileCols = 768;
/// What the library's kernels like to have multiples of, for any instructions.
constexpr std::int64_t kRowUnit = 24;
constexpr std::int64_t kColUnit = 48;
constexpr std::int64_t kTermUnit = 16;
/// oneDNN's kernels for AVX2 take six rows at a time and add up in another order where one to three
/// are left over. Tiles of a bf16 result are products of a multiple of this, into rows of the block
/// that are not read, so that a row does not depend on how many others are multiplied with it.
constexpr std::int64_t kEvenRows = 12;
static_assert(kRowUnit % kEvenRows == 0);
/// Rows of an operand that a thread widens at once.
constexpr std::int64_t kWidenedRows = kTransposedGroup;

/// A row of a block, padded to an odd multiple of 16: rows at a distance of a power of two fall
/// into the same few lines of a cache. At most kPadding more than `cols`.
constexpr std::int64_t padded(std::int64_t cols) {
  return round_up(cols, 32) + 16;
}
constexpr std::int64_t kPadding = 47;

/// The blocks of [0, count): as many as the largest size demands, about equally long.
struct Blocks {
  std::int64_t count, number = 0, size = 0;

  /// Their length is a multiple of `unit`, which `largest` is cut to as well.
  Blocks(std::int64_t total, std::int64_t largest, std::int64_t unit) : count(total) {
    largest = largest / unit * unit;
    size = round_up(div_ceil(total, div_ceil(total, largest)), unit);
    number = div_ceil(total, size);
  }
  std::int64_t begin(std::int64_t i) const { return i * size; }
  std::int64_t length(std::int64_t i) const { return std::min(size, count - i * size); }
};

/// A part of a matrix.
struct Area {
  std::int64_t row = 0, col = 0, rows = 0, cols = 0;
  bool operator==(const Area&) const = default;
};

/// A block of an operand in fp32, row by row as it is multiplied: the library is fastest without
/// transpositions.
class WidenedBlock {
 public:
  WidenedBlock(const GemmOperand& operand, float* memory) : operand_(operand), memory_(memory) {}

  /// The next block, in the rows and columns of the product. Returns how many tasks widen it: none
  /// if it is the last one again.
  std::int64_t move_to(const Area& block) {
    if (block == block_) return 0;
    block_ = block;
    stride_ = padded(block.cols);
    return div_ceil(operand_.transposed ? block.cols : block.rows, kWidenedRows);
  }
  void widen(std::int64_t task) const {
    const std::int64_t begin = task * kWidenedRows;
    if (operand_.transposed) {
      widen_transposed(memory_ + begin, stride_, stored(block_.col + begin, block_.row),
                       operand_.stride, std::min(kWidenedRows, block_.cols - begin), block_.rows);
      return;
    }
    const std::int64_t end = std::min(block_.rows, begin + kWidenedRows);
    for (std::int64_t r = begin; r < end; ++r)
      simd::widen(memory_ + r * stride_, stored(block_.row + r, block_.col), block_.cols);
  }
  std::int64_t stride() const { return stride_; }
  /// An element of the block, by its row and column.
  const float* at(std::int64_t row, std::int64_t col) const {
    return memory_ + row * stride_ + col;
  }

 private:
  const bf16* stored(std::int64_t row, std::int64_t col) const {
    return static_cast<const bf16*>(operand_.data) + row * operand_.stride + col;
  }

  const GemmOperand& operand_;
  float* memory_;
  Area block_;
  std::int64_t stride_ = 0;
};

/// What products are added up in: the fp32 result itself, or a block of it in fp32 that is rounded
/// in the end.
class ResultBlock {
 public:
  ResultBlock(const GemmOperand& c, bool accumulate, float* memory, const float* bias)
      : c_(c), accumulate_(accumulate), memory_(memory), bias_(bias) {}

  void move_to(const Area& block) {
    block_ = block;
    // The stride of a single row is never used; the library wants it at least as large as the row.
    stride_ = is_f32() ? std::max(c_.stride, c_.cols) : padded(block.cols);
  }
  std::int64_t stride() const { return stride_; }
  float* at(std::int64_t row, std::int64_t col) const {
    return is_f32() ? result<float>(row, col) : memory_ + row * stride_ + col;
  }
  /// Rows to multiply for a tile: those behind it are memory of the block, but not of a result.
  std::int64_t rows_for(const Area& tile) const {
    return is_f32() ? tile.rows : round_up(tile.rows, kEvenRows);
  }
  /// Before the first product of a tile: what it is added to. False if it replaces what is there.
  bool start(const Area& tile) const {
    if (!accumulate_ && bias_ == nullptr) return false;
    for (std::int64_t r = tile.row; r < tile.row + tile.rows; ++r) {
      float* row = at(r, tile.col);
      if (!accumulate_) {
        std::copy_n(bias_ + tile.col, tile.cols, row);
        continue;
      }
      if (!is_f32()) simd::widen(row, result<bf16>(r, tile.col), tile.cols);
      if (bias_ != nullptr)
        for (std::int64_t i = 0; i < tile.cols; ++i) row[i] += bias_[tile.col + i];
    }
    return true;
  }
  /// After the last one.
  void finish(const Area& tile) const {
    if (is_f32()) return;
    for (std::int64_t r = tile.row; r < tile.row + tile.rows; ++r)
      simd::round(result<bf16>(r, tile.col), at(r, tile.col), tile.cols);
  }

 private:
  bool is_f32() const { return c_.dtype == DType::f32; }
  template <class T>
  T* result(std::int64_t row, std::int64_t col) const {
    return static_cast<T*>(const_cast<void*>(c_.data)) + (block_.row + row) * c_.stride +
           block_.col + col;
  }

  const GemmOperand& c_;
  bool accumulate_;
  float* memory_;
  const float* bias_;  ///< of the block's columns; null: none
  Area block_;
  std::int64_t stride_ = 0;
};

Arena lay_out(Arena arena, float*& a, float*& b, float*& c, float*& bias) {
  const auto floats = [&](const char* label, std::int64_t count) {
    return static_cast<float*>(arena.allocate(label, DType::f32, 1, count).data);
  };
  a = floats("a", kFloatsOfA);
  b = floats("b", kFloatsOfB);
  c = floats("c", kFloatsOfC);
  bias = floats("bias", kCols);
  return arena;
}

}  // namespace

std::int64_t WidenedProducts::scratch_bytes() {
  float* unused = nullptr;
  return lay_out(Arena::planning("widened operands"), unused, unused, unused, unused).used_bytes();
}

void WidenedProducts::take_scratch() {
  if (!scratch_)
    scratch_ = lay_out(Arena::backed("widened operands", scratch_bytes()), a_, b_, c_, bias_);
}

void WidenedProducts::multiply(const GemmOperand& c, const GemmOperand& a, const GemmOperand& b,
                               bool accumulate, const void* bias) {
  take_scratch();
  const Blocks terms(a.transposed ? a.rows : a.cols, kTerms, kTermUnit);
  const Blocks rows(c.rows, std::min(kRows, kFloatsOfA / padded(terms.size)), kRowUnit);
  const Blocks cols(
      c.cols,
      std::min({kCols, kFloatsOfB / terms.size - kPadding, kFloatsOfC / rows.size - kPadding}),
      kColUnit);
  WidenedBlock block_of_a(a, a_);
  WidenedBlock block_of_b(b, b_);
  ResultBlock block_of_c(c, accumulate, c_, bias != nullptr ? bias_ : nullptr);
  std::atomic<dnnl_status_t> status = dnnl_success;

  const auto multiply_block = [&](std::int64_t i, std::int64_t j, std::int64_t s) {
    const Area area{rows.begin(i), cols.begin(j), rows.length(i), cols.length(j)};
    const std::int64_t num_terms = terms.length(s);
    if (bias != nullptr) simd::widen(bias_, static_cast<const bf16*>(bias) + area.col, area.cols);
    block_of_c.move_to(area);
    const std::int64_t tasks_of_a =
        block_of_a.move_to({area.row, terms.begin(s), area.rows, num_terms});
    const std::int64_t tasks_of_b =
        block_of_b.move_to({terms.begin(s), area.col, num_terms, area.cols});
    host_for_tasks(tasks_of_a + tasks_of_b, [&](std::int64_t task) {
      if (task < tasks_of_a)
        block_of_a.widen(task);
      else
        block_of_b.widen(task - tasks_of_a);
    });

    const Blocks tile_rows(area.rows, kTileRows, kRowUnit);
    const Blocks tile_cols(area.cols, kTileCols, kColUnit);
    const std::int64_t num_tiles = tile_rows.number * tile_cols.number;
    // Two at least: a single task runs outside of a parallel region, where the library would start
    // threads of its own and may add up a sum in as many parts.
    host_for_tasks(std::max<std::int64_t>(num_tiles, 2), [&](std::int64_t task) {
      if (task >= num_tiles) return;
      const std::int64_t r = task % tile_rows.number;
      const std::int64_t q = task / tile_rows.number;
      const Area tile{tile_rows.begin(r), tile_cols.begin(q), tile_rows.length(r),
                      tile_cols.length(q)};
      const bool adds = s > 0 || block_of_c.start(tile);
      const dnnl_status_t result =
          dnnl_sgemm('N', 'N', block_of_c.rows_for(tile), tile.cols, num_terms, 1.0f,
                     block_of_a.at(tile.row, 0), block_of_a.stride(), block_of_b.at(0, tile.col),
                     block_of_b.stride(), adds ? 1.0f : 0.0f, block_of_c.at(tile.row, tile.col),
                     block_of_c.stride());
      if (result != dnnl_success) status = result;
      if (s + 1 == terms.number) block_of_c.finish(tile);
    });
  };
  // The order in which the fewest blocks are widened again, where the sums need not be finished
  // block by block to be rounded.
  if (c.dtype == DType::f32) {
    for (std::int64_t s = 0; s < terms.number; ++s)
      for (std::int64_t i = 0; i < rows.number; ++i)
        for (std::int64_t j = 0; j < cols.number; ++j) multiply_block(i, j, s);
  } else {
    for (std::int64_t i = 0; i < rows.number; ++i)
      for (std::int64_t j = 0; j < cols.number; ++j)
        for (std::int64_t s = 0; s < terms.number; ++s) multiply_block(i, j, s);
  }
  if (status != dnnl_success) throw dnnl::error(status, "could not multiply widened operands");
}

}  // namespace espalier::device
