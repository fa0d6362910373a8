#include "model/expert_rounds.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/integers.hpp"

namespace espalier::model {

ExpertRounds::ExpertRounds(int ranks, int rank, std::int64_t num_experts, std::int64_t capacity)
    : ranks_(ranks),
      rank_(rank),
      num_experts_(num_experts),
      local_experts_(div_exact(num_experts, std::int64_t{ranks})),
      capacity_(capacity) {
  ESPALIER_ASSERT(capacity > 0, "room for {} rows", capacity);
  const auto n = static_cast<std::size_t>(ranks);
  round_.send_begins.resize(n);
  round_.send_rows.resize(n);
  round_.receive_rows.resize(n);
  round_.offsets.resize(static_cast<std::size_t>(local_experts_) + 1);
}

void ExpertRounds::set_counts(std::span<const std::int64_t> counts) {
  ESPALIER_ASSERT(std::ssize(counts) == ranks_ * num_experts_, "{} counts", counts.size());
  counts_ = counts;
  std::int64_t most = 0;
  for (int rank = 0; rank < ranks_; ++rank) {
    std::int64_t rows = 0;
    for (int source = 0; source < ranks_; ++source)
      for (std::int64_t e = 0; e < local_experts_; ++e)
        rows += count(source, rank * local_experts_ + e);
    most = std::max(most, rows);
  }
  num_rounds_ = std::max<std::int64_t>(1, div_ceil(most, capacity_));
}

ExpertRounds::Piece ExpertRounds::in_window(std::int64_t block_begin,
                                            std::int64_t block_rows) const {
  const std::int64_t first = std::clamp<std::int64_t>(window_begin_ - block_begin, 0, block_rows);
  const std::int64_t end =
      std::clamp<std::int64_t>(window_begin_ + capacity_ - block_begin, 0, block_rows);
  return {first, end - first};
}

const ExpertRounds::Round& ExpertRounds::round(std::int64_t number) {
  ESPALIER_ASSERT(number >= 0 && number < num_rounds_, "round {} of {}", number, num_rounds_);
  window_begin_ = number * capacity_;
  std::fill(round_.receive_rows.begin(), round_.receive_rows.end(), 0);
  round_.num_sent = round_.num_rows = 0;
  std::int64_t own = 0;  // place in this rank's sorted order
  for (int destination = 0; destination < ranks_; ++destination) {
    const auto d = static_cast<std::size_t>(destination);
    std::int64_t place = 0;  // in the destination's order
    round_.send_rows[d] = 0;
    round_.send_begins[d] = own;
    for (std::int64_t e = 0; e < local_experts_; ++e) {
      if (destination == rank_) round_.offsets[static_cast<std::size_t>(e)] = round_.num_rows;
      for (int source = 0; source < ranks_; ++source) {
        const std::int64_t rows = count(source, destination * local_experts_ + e);
        const Piece piece = in_window(place, rows);
        place += rows;
        if (destination == rank_) {
          round_.receive_rows[static_cast<std::size_t>(source)] += piece.rows;
          round_.num_rows += piece.rows;
        }
        if (source != rank_) continue;
        if (round_.send_rows[d] == 0) round_.send_begins[d] = own + piece.first;
        round_.send_rows[d] += piece.rows;
        own += rows;
      }
    }
    round_.num_sent += round_.send_rows[d];
  }
  round_.offsets.back() = round_.num_rows;
  return round_;
}

void ExpertRounds::fill_places(std::vector<std::int32_t>& received_of_window,
                               std::vector<std::int32_t>& window_of_received) const {
  const auto rows = static_cast<std::size_t>(round_.num_rows);
  received_of_window.resize(rows);
  window_of_received.resize(rows);
  std::int64_t received = 0;
  for (int source = 0; source < ranks_; ++source) {
    std::int64_t block = 0;  // where a block begins in this rank's order
    for (std::int64_t e = 0; e < local_experts_; ++e) {
      for (int other = 0; other < ranks_; ++other) {
        const std::int64_t count_here = count(other, rank_ * local_experts_ + e);
        const Piece piece = in_window(block, count_here);
        const std::int64_t begin = block + piece.first - window_begin_;
        block += count_here;
        if (other != source) continue;
        for (std::int64_t i = 0; i < piece.rows; ++i, ++received) {
          received_of_window[static_cast<std::size_t>(begin + i)] =
              static_cast<std::int32_t>(received);
          window_of_received[static_cast<std::size_t>(received)] =
              static_cast<std::int32_t>(begin + i);
        }
      }
    }
  }
}

}  // namespace espalier::model
