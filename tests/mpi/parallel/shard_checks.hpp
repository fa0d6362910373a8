#pragma once
// What every communicator's grouped collectives must do.
#include <catch2/catch.hpp>
#include <deque>
#include <vector>

#include "device/view.hpp"
#include "parallel/layout/shard_map.hpp"
#include "rank_data.hpp"

namespace espalier::testing {

/// Divisions of `rows` over `n` ranks: even, all to the last, all to the first, rows at either end
/// that belong to nobody.
inline std::vector<std::vector<std::int64_t>> divisions(std::int64_t rows, int n) {
  std::vector<std::vector<std::int64_t>> all{parallel::even_row_begins(rows, n)};
  all.emplace_back(static_cast<std::size_t>(n) + 1, 0);
  all.back().back() = rows;
  all.emplace_back(static_cast<std::size_t>(n) + 1, rows);
  all.back().front() = 0;
  if (rows > 2) {
    auto inner = parallel::even_row_begins(rows - 2, n);
    for (auto& begin : inner) ++begin;
    all.push_back(inner);
  }
  return all;
}

/// A bucket as the backward pass makes them: large matrices between small vectors.
template <class T>
struct Group {
  explicit Group(const parallel::Communicator& group) {
    int i = 0;
    for (const auto& [rows, cols] : std::vector<std::pair<std::int64_t, std::int64_t>>{
             {1, 1}, {5, 1}, {64, 33}, {3, 7}, {0, 4}, {200, 101}, {2, 5}, {17, 1}})
      for (const auto& begins : divisions(rows, group.size())) {
        memory.push_back(data_of<T>(group.rank() + 100 * i++, rows * cols));
        begins_of_tensors.push_back(begins);
        tensors.push_back(
            {device::view_of(memory.back().data(), rows, cols), begins_of_tensors.back()});
      }
  }
  /// Rank `r`'s original value of element `j` of tensor `i`.
  static T original(std::size_t i, int r, std::int64_t j) {
    return element<T>(r + 100 * static_cast<int>(i), j);
  }
  std::vector<std::vector<T>> memory;
  std::deque<std::vector<std::int64_t>> begins_of_tensors;
  std::vector<parallel::RowShards> tensors;
};

template <class T>
void check_reduce_scatter_shards(parallel::Communicator& comm) {
  Group<T> group(comm);
  comm.reduce_scatter_shards(group.tensors);
  const auto rank = static_cast<std::size_t>(comm.rank());
  for (std::size_t i = 0; i < group.tensors.size(); ++i) {
    const auto& [full, begins] = group.tensors[i];
    for (std::int64_t j = begins[rank] * full.cols; j < begins[rank + 1] * full.cols; ++j) {
      auto sum = static_cast<float>(Group<T>::original(i, 0, j));
      for (int r = 1; r < comm.size(); ++r) sum += static_cast<float>(Group<T>::original(i, r, j));
      const auto expected = static_cast<T>(sum);
      if (!same_bits(&group.memory[i][static_cast<std::size_t>(j)], &expected, 1))
        FAIL("tensor " << i << " element " << j);
    }
  }
}

template <class T>
void check_all_gather_shards(parallel::Communicator& comm) {
  Group<T> group(comm);
  comm.all_gather_shards(group.tensors);
  for (std::size_t i = 0; i < group.tensors.size(); ++i) {
    const auto& [full, begins] = group.tensors[i];
    for (std::int64_t row = 0; row < full.rows; ++row) {
      int owner = comm.rank();  // rows of nobody stay as they were
      for (int r = 0; r < comm.size(); ++r)
        if (begins[static_cast<std::size_t>(r)] <= row &&
            row < begins[static_cast<std::size_t>(r) + 1])
          owner = r;
      for (std::int64_t j = row * full.cols; j < (row + 1) * full.cols; ++j) {
        const T expected = Group<T>::original(i, owner, j);
        if (!same_bits(&group.memory[i][static_cast<std::size_t>(j)], &expected, 1))
          FAIL("tensor " << i << " element " << j);
      }
    }
  }
}

}  // namespace espalier::testing
