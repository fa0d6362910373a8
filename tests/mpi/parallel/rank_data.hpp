#pragma once
// Values that every rank can compute for every other rank, so that each checks its own result
// against a serial reference without talking.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/dtype.hpp"
#include "base/text.hpp"
#include "parallel/comm/mpi_check.hpp"
#include "parallel/comm/mpi_communicator.hpp"

namespace espalier::testing {

/// Element `i` of rank `rank`'s data: signs and magnitudes from 2^-12 to 2^12, so that the order
/// of a sum shows in its bits.
template <class T>
T element(int rank, std::int64_t i) {
  auto word = static_cast<std::uint64_t>(i) * 0x9E3779B97F4A7C15U +
              static_cast<std::uint64_t>(rank + 1) * 0xD1B54A32D192ED03U;
  word = (word ^ (word >> 29)) * 0xBF58476D1CE4E5B9U;
  word ^= word >> 32;
  const auto fraction = static_cast<float>(word & 0xFFFFFF) / 16777216.0F - 0.5F;
  return static_cast<T>(std::ldexp(fraction, static_cast<int>(word >> 24 & 31) - 16));
}

template <class T>
std::vector<T> data_of(int rank, std::int64_t count) {
  std::vector<T> data(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) data[static_cast<std::size_t>(i)] = element<T>(rank, i);
  return data;
}

/// The sum over ranks in rank order, in fp32, rounded once.
template <class T>
T summed(int num_ranks, std::int64_t i) {
  auto sum = static_cast<float>(element<T>(0, i));
  for (int r = 1; r < num_ranks; ++r) sum += static_cast<float>(element<T>(r, i));
  return static_cast<T>(sum);
}

template <class T>
bool same_bits(const T* a, const T* b, std::int64_t count) {
  return count == 0 || std::memcmp(a, b, static_cast<std::size_t>(count) * sizeof(T)) == 0;
}
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && same_bits(a.data(), b.data(), static_cast<std::int64_t>(a.size()));
}

/// Whether every rank holds the same bytes. Collective.
template <class T>
bool same_everywhere(parallel::Communicator& group, const std::vector<T>& data) {
  const auto hash = hash_bytes(std::as_bytes(std::span(data)));
  for (const std::string& text : group.all_gather(std::to_string(hash)))
    if (text != std::to_string(hash)) return false;
  return true;
}

/// All ranks, with messages of at most `limit` bytes.
inline std::unique_ptr<parallel::MpiCommunicator> world_with_limit(std::int64_t limit) {
  MPI_Comm duplicate = MPI_COMM_NULL;
  parallel::check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &duplicate), "MPI_Comm_dup");
  return std::make_unique<parallel::MpiCommunicator>(duplicate,
                                                     std::make_shared<parallel::Staging>(), limit);
}

}  // namespace espalier::testing
