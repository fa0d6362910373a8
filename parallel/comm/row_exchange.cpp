#include "parallel/comm/row_exchange.hpp"

#include <algorithm>
#include <numeric>

#include "base/error.hpp"

namespace espalier::parallel {

std::int64_t sum_of_rows(std::span<const std::int64_t> rows) {
  return std::accumulate(rows.begin(), rows.end(), std::int64_t{0});
}

void check_row_exchange(const device::View& out, const device::ConstView& in,
                        std::span<const std::int64_t> send_rows,
                        std::span<const std::int64_t> receive_rows, int rank, int size) {
  ESPALIER_ASSERT(std::ssize(send_rows) == size && std::ssize(receive_rows) == size,
                  "rows to {} and from {} ranks in a group of {}", send_rows.size(),
                  receive_rows.size(), size);
  const auto no_count = [](std::int64_t rows) { return rows < 0; };
  ESPALIER_ASSERT(std::none_of(send_rows.begin(), send_rows.end(), no_count) &&
                      std::none_of(receive_rows.begin(), receive_rows.end(), no_count),
                  "a negative number of rows on rank {} of {}", rank, size);
  const std::int64_t sent = sum_of_rows(send_rows), received = sum_of_rows(receive_rows);
  ESPALIER_ASSERT(sent <= in.rows && received <= out.rows, "{} rows out of {}, {} rows into {}",
                  sent, device::describe(in), received, device::describe(out));
  ESPALIER_ASSERT(
      in.dtype == out.dtype && in.cols == out.cols && in.is_contiguous() && out.is_contiguous(),
      "rows of {} (stride {}) into {} (stride {})", device::describe(in), in.stride,
      device::describe(out), out.stride);
  const auto own = static_cast<std::size_t>(rank);
  ESPALIER_ASSERT(send_rows[own] == receive_rows[own],
                  "rank {} sends {} rows to itself and receives {}", rank, send_rows[own],
                  receive_rows[own]);
}

}  // namespace espalier::parallel
