#pragma once
// How many rows every rank sends to every other, and what must arrive.
#include <catch2/catch.hpp>

#include <algorithm>
#include <string>

#include "device/view.hpp"
#include "rank_data.hpp"

namespace espalier::testing {

struct RowMatrix {
  std::string name;
  int size = 1;
  std::vector<std::int64_t> rows;  ///< (from, to)

  std::int64_t at(int from, int to) const {
    return rows[static_cast<std::size_t>(from * size + to)];
  }
  std::int64_t largest() const { return *std::max_element(rows.begin(), rows.end()); }
  std::vector<std::int64_t> sent_by(int rank) const {
    std::vector<std::int64_t> sent;
    for (int to = 0; to < size; ++to) sent.push_back(at(rank, to));
    return sent;
  }
  std::vector<std::int64_t> received_by(int rank) const {
    std::vector<std::int64_t> received;
    for (int from = 0; from < size; ++from) received.push_back(at(from, rank));
    return received;
  }
};

inline std::vector<RowMatrix> row_matrices(int size) {
  std::vector<RowMatrix> matrices;
  const auto add = [&](const char* name, auto rows_of) {
    RowMatrix matrix{name, size, {}};
    for (int from = 0; from < size; ++from)
      for (int to = 0; to < size; ++to) matrix.rows.push_back(rows_of(from, to));
    matrices.push_back(std::move(matrix));
  };
  add("uneven", [](int from, int to) { return (from * 7 + to * 3 + 1) % 5; });
  add("none", [](int, int) { return 0; });
  add("to one rank", [&](int, int to) { return to == size - 1 ? 3 : 0; });
  add("from one rank", [](int from, int) { return from == 0 ? 2 : 0; });
  add("along a ring", [&](int from, int to) { return to == (from + 1) % size ? 1 : 0; });
  add("many", [](int from, int to) { return 900 + from - 5 * to; });
  return matrices;
}

/// A row's bytes say from whom, to whom and which.
template <class T>
T row_element(int from, int to, std::int64_t i) {
  return element<T>(from * 64 + to, i);
}

template <class T>
std::vector<T> sent_rows(const RowMatrix& rows, int rank, std::int64_t cols) {
  std::vector<T> data;
  for (int to = 0; to < rows.size; ++to)
    for (std::int64_t i = 0; i < rows.at(rank, to) * cols; ++i)
      data.push_back(row_element<T>(rank, to, i));
  return data;
}

template <class T>
std::vector<T> received_rows(const RowMatrix& rows, int rank, std::int64_t cols) {
  std::vector<T> data;
  for (int from = 0; from < rows.size; ++from)
    for (std::int64_t i = 0; i < rows.at(from, rank) * cols; ++i)
      data.push_back(row_element<T>(from, rank, i));
  return data;
}

/// Into a buffer with rows to spare, which stay as they are.
template <class T>
void check_row_exchange_on_host(parallel::Communicator& group, const RowMatrix& rows,
                                std::int64_t cols) {
  const std::vector<T> in = sent_rows<T>(rows, group.rank(), cols);
  std::vector<T> expected = received_rows<T>(rows, group.rank(), cols);
  const T untouched(7.0F);
  std::vector<T> out(expected.size() + static_cast<std::size_t>(2 * cols), untouched);
  expected.resize(out.size(), untouched);
  group.exchange_rows(device::view_of(out.data(), std::ssize(out) / cols, cols),
                      device::view_of(in.data(), std::ssize(in) / cols, cols),
                      rows.sent_by(group.rank()), rows.received_by(group.rank()));
  REQUIRE(same_bits(out, expected));
}

inline const std::vector<std::int64_t> kExchangeLimits{64,
                                                       parallel::MpiCommunicator::kMaxMessageBytes};

}  // namespace espalier::testing
