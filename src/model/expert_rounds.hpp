#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace espalier::model {

/// Which rows of a layer's dispatch go where: arithmetic on the counts that all ranks of an expert
/// group know, no memory of rows and no messages.
///
/// A rank's pairs (token, slot) lie sorted by expert, those of an expert in the order of the
/// tokens. The rows that meet a rank's experts have the order (expert, source rank, token), which
/// is that of one rank alone when ranks hold consecutive tokens. A rank has memory for `capacity`
/// of them: they are worked off in rounds, windows [j capacity, (j+1) capacity) of that order, as
/// many on every rank as the fullest needs. What a source sends into a window is contiguous in its
/// own order, for each destination.
class ExpertRounds {
 public:
  /// For `ranks` that divide `num_experts` evenly.
  ExpertRounds(int ranks, int rank, std::int64_t num_experts, std::int64_t capacity);

  /// `counts`: (ranks, E), the pairs of each source for each expert. Lives elsewhere until the next
  /// call.
  void set_counts(std::span<const std::int64_t> counts);
  std::int64_t num_rounds() const { return num_rounds_; }

  /// One round of this rank. Spans have an entry per rank of the group.
  struct Round {
    std::vector<std::int64_t> send_begins;  ///< in this rank's sorted order
    std::vector<std::int64_t> send_rows;
    std::vector<std::int64_t> receive_rows;
    std::vector<std::int64_t> offsets;  ///< (E_loc + 1): rows of the experts within the window
    std::int64_t num_sent = 0;
    std::int64_t num_rows = 0;  ///< received, those of the window
  };
  /// Valid until the next call.
  const Round& round(std::int64_t number);
  /// Of the round that was asked for last: where the row at a place of the window lies among those
  /// received, which come in the order (source rank, expert, token), and the inverse.
  void fill_places(std::vector<std::int32_t>& received_of_window,
                   std::vector<std::int32_t>& window_of_received) const;

 private:
  /// Of the window, which begins at `begin`, of a destination.
  struct Piece {
    std::int64_t first, rows;
  };
  /// What of the block (expert of `destination`, source) lies in the window, whose rows begin at
  /// `block_begin` in the destination's order.
  Piece in_window(std::int64_t block_begin, std::int64_t block_rows) const;
  std::int64_t count(int source, std::int64_t expert) const {
    return counts_[static_cast<std::size_t>(source * num_experts_ + expert)];
  }

  int ranks_, rank_;
  std::int64_t num_experts_, local_experts_, capacity_;
  std::span<const std::int64_t> counts_;
  std::int64_t num_rounds_ = 0, window_begin_ = 0;
  Round round_;
};

}  // namespace espalier::model
