#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "device/view.hpp"

namespace espalier::parallel {

/// A tensor whose rows are divided over the ranks of a group: rank r has rows
/// [begins[r], begins[r+1]); begins.size() == size + 1. Shards may be empty.
struct RowShards {
  device::View full;
  std::span<const std::int64_t> begins;  ///< lives elsewhere: many tensors are divided alike
};

/// Collectives over a group of ranks. All are deterministic from run to run and do nothing at size
/// 1. Over MPI they are done on return, and sums are taken in rank order, or in blocks of it, in
/// fp32 and rounded once; over NCCL they are put into a stream, and its header says how it sums.
/// Views are contiguous. Every rank of the group must call the same collectives in the same order.
/// A failing call is Error (internal) that names it.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// data = sum over ranks, in place; the same bits on every rank. f32 or bf16.
  virtual void all_reduce_sum(device::View data) = 0;
  /// out (size*rows, cols) = in (rows, cols) of every rank, in rank order; `in` may be its own
  /// place in `out`.
  virtual void all_gather(device::View out, device::ConstView in) = 0;
  /// out (rows, cols) = this rank's rows of the sum of in (size*rows, cols); `out` may be this
  /// rank's place in `in`.
  virtual void reduce_scatter_sum(device::View out, device::ConstView in) = 0;

  /// Grouped reduce-scatter in place: after it, this rank's shard of each tensor holds the sum over
  /// ranks; the other rows are unspecified. One message per pair of ranks for the whole group.
  virtual void reduce_scatter_shards(std::span<const RowShards> tensors) = 0;
  /// Grouped all-gather in place: every rank's shard becomes known to all.
  virtual void all_gather_shards(std::span<const RowShards> tensors) = 0;

  /// All-to-all of rows of any dtype, byte for byte: rank j gets the send_rows[j] rows of `in` that
  /// follow those for the ranks before it, and sends receive_rows[j] rows, which come into `out` in
  /// the order of the ranks. Both spans have size() entries, 0 where nothing passes; what rank i
  /// sends to j, j receives from i. `out` and `in` have the same columns and may have more rows
  /// than that; they do not overlap. Every rank of the group calls, also without rows.
  virtual void exchange_rows(device::View out, device::ConstView in,
                             std::span<const std::int64_t> send_rows,
                             std::span<const std::int64_t> receive_rows) = 0;
  /// Exact integers of the host: all (size, n) = `mine` (n) of every rank, in rank order. Known on
  /// return, whatever streams do.
  virtual void all_gather_counts(std::span<std::int64_t> all,
                                 std::span<const std::int64_t> mine) = 0;

  /// Small host values, summed in rank order in fp64: the same bits on every rank.
  virtual void all_reduce_sum(std::span<double> values) = 0;
  virtual void all_reduce_max(std::span<double> values) = 0;
  virtual void all_reduce_min(std::span<double> values) = 0;
  /// One value of every rank, in rank order.
  virtual std::vector<double> all_gather(double value) = 0;
  /// Rank `root`'s text on every rank.
  virtual std::string broadcast(std::string text, int root) = 0;
  virtual void broadcast(device::View data, int root) = 0;
  virtual void barrier() = 0;
  /// Texts of all ranks on every rank, in rank order (banners, error reports; not for the step).
  virtual std::vector<std::string> all_gather(const std::string& text) = 0;

  /// Bytes this rank has sent so far.
  virtual std::int64_t bytes_sent() const = 0;
};

}  // namespace espalier::parallel
