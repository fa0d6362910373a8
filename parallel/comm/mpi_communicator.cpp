#include "parallel/comm/mpi_communicator.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>

#include "base/integers.hpp"
#include "parallel/comm/mpi_check.hpp"
#include "parallel/comm/row_exchange.hpp"

namespace espalier::parallel {

using device::ConstView;
using device::View;

namespace {

/// An all-reduce up to this size is one exchange of everything: fewer messages in a row.
constexpr std::int64_t kSmallBytes = 16384;

/// Up to so many host values every rank gets those of all ranks and sums them itself.
constexpr std::size_t kFewValues = 16;
bool is_small(std::int64_t bytes, std::int64_t slot_bytes) {
  return bytes <= std::min(kSmallBytes, slot_bytes);
}

/// Bytes of the even shares of `bytes`; the last ones are shorter or empty.
std::int64_t even_share(std::int64_t bytes, int size) {
  return round_up(div_ceil(bytes, size), Staging::kAlignment);
}

void require_contiguous(const char* collective, const ConstView& view) {
  ESPALIER_ASSERT(view.is_contiguous() && (view.data != nullptr || view.size() == 0), "{} of {}",
                  collective, device::describe(view));
}

std::byte* bytes_of(const View& view) {
  return static_cast<std::byte*>(view.data);
}

/// Streams are described once for sending and receiving; those that are only read come as const.
std::byte* bytes_of(const ConstView& view) {
  return static_cast<std::byte*>(const_cast<void*>(view.data));
}

}  // namespace

MpiCommunicator::MpiCommunicator(MPI_Comm communicator, std::shared_ptr<Staging> staging,
                                 std::int64_t max_message_bytes, int block)
    : communicator_(communicator),
      exchange_(communicator, std::move(staging), max_message_bytes, block) {
  check_mpi(MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
}

MpiCommunicator::~MpiCommunicator() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  // While an exception unwinds the stack the other ranks are elsewhere: do nothing collective.
  if (finalized == 0 && std::uncaught_exceptions() == 0) MPI_Comm_free(&communicator_);
}

// --- Device views: each collective describes its streams and runs one or both exchanges. ---

void MpiCommunicator::plan_shards(std::span<const RowShards> tensors) {
  exchange_.plan().clear();
  for (const RowShards& tensor : tensors) {
    const View& full = tensor.full;
    require_contiguous("grouped collective", full);
    ESPALIER_ASSERT(full.dtype == tensors.front().full.dtype, "a group of {} and {}",
                    name_of(full.dtype), name_of(tensors.front().full.dtype));
    ESPALIER_ASSERT(tensor.begins.size() == static_cast<std::size_t>(size()) + 1 &&
                        tensor.begins.front() >= 0 && tensor.begins.back() <= full.rows &&
                        std::is_sorted(tensor.begins.begin(), tensor.begins.end()),
                    "{} row begins of {} for {} ranks", tensor.begins.size(),
                    device::describe(full), size());
    const std::int64_t row_bytes = full.cols * static_cast<std::int64_t>(size_of(full.dtype));
    for (int r = 0; r < size(); ++r) {
      const std::int64_t begin = tensor.begins[static_cast<std::size_t>(r)];
      const std::int64_t end = tensor.begins[static_cast<std::size_t>(r) + 1];
      exchange_.plan().append(r, bytes_of(full) + begin * row_bytes, (end - begin) * row_bytes);
    }
  }
}

void MpiCommunicator::plan_even(std::byte* data, std::int64_t bytes) {
  exchange_.plan().clear();
  const std::int64_t share = even_share(bytes, size());
  for (int r = 0; r < size(); ++r) {
    const std::int64_t begin = std::min(bytes, r * share);
    exchange_.plan().append(r, data + begin, std::min(bytes, begin + share) - begin);
  }
}

void MpiCommunicator::reduce_scatter_shards(std::span<const RowShards> tensors) {
  if (size() == 1 || tensors.empty()) return;
  plan_shards(tensors);
  exchange_.sum_in_place(tensors.front().full.dtype);
}

void MpiCommunicator::all_gather_shards(std::span<const RowShards> tensors) {
  if (size() == 1 || tensors.empty()) return;
  plan_shards(tensors);
  exchange_.gather();
}

void MpiCommunicator::all_gather(View out, ConstView in) {
  require_contiguous("all_gather into", out);
  require_contiguous("all_gather", in);
  ESPALIER_ASSERT(out.size() == size() * in.size() && out.dtype == in.dtype, "{} -> {}, {} ranks",
                  device::describe(in), device::describe(out), size());
  const std::int64_t bytes = in.size_bytes();
  std::byte* own = bytes_of(out) + rank() * bytes;
  if (in.data != own && bytes > 0) std::memcpy(own, in.data, static_cast<std::size_t>(bytes));
  if (size() == 1) return;
  exchange_.plan().clear();
  for (int r = 0; r < size(); ++r) exchange_.plan().append(r, bytes_of(out) + r * bytes, bytes);
  exchange_.gather();
}

void MpiCommunicator::reduce_scatter_sum(View out, ConstView in) {
  require_contiguous("reduce_scatter_sum into", out);
  require_contiguous("reduce_scatter_sum", in);
  ESPALIER_ASSERT(in.size() == size() * out.size() && out.dtype == in.dtype, "{} -> {}, {} ranks",
                  device::describe(in), device::describe(out), size());
  const std::int64_t bytes = out.size_bytes();
  if (size() == 1) {
    if (out.data != in.data && bytes > 0)
      std::memcpy(out.data, in.data, static_cast<std::size_t>(bytes));
    return;
  }
  exchange_.plan().clear();
  for (int r = 0; r < size(); ++r) exchange_.plan().append(r, bytes_of(in) + r * bytes, bytes);
  exchange_.sum_into(out);
}

void MpiCommunicator::all_reduce_sum(View data) {
  require_contiguous("all_reduce_sum", data);
  if (size() == 1 || data.size() == 0) return;
  const std::int64_t bytes = data.size_bytes();
  if (is_small(bytes, exchange_.slot_bytes())) return exchange_.sum_everywhere(data);
  plan_even(bytes_of(data), bytes);
  exchange_.sum_in_place(data.dtype);
  exchange_.gather();
}

std::int64_t MpiCommunicator::bytes_of_all_reduce(std::int64_t bytes, int rank, int size) {
  if (size == 1) return 0;
  if (is_small(bytes, MpiExchange::message_limit(size, kMaxMessageBytes)))
    return bytes * (size - 1);
  const std::int64_t share = even_share(bytes, size);
  const std::int64_t own = std::min(bytes, (rank + 1) * share) - std::min(bytes, rank * share);
  return bytes - own + own * (size - 1);
}

std::int64_t MpiCommunicator::bytes_of_value_sum(std::size_t count, int size) {
  const auto values = static_cast<std::int64_t>(count);
  const std::int64_t each = count > kFewValues ? 2 * div_ceil(values, size) : values;
  return each * static_cast<std::int64_t>(sizeof(double)) * (size - 1);
}

void MpiCommunicator::exchange_rows(View out, ConstView in, std::span<const std::int64_t> send_rows,
                                    std::span<const std::int64_t> receive_rows) {
  check_row_exchange(out, in, send_rows, receive_rows, rank(), size());
  const std::int64_t row_bytes = in.cols * static_cast<std::int64_t>(size_of(in.dtype));
  const auto divide = [&](std::byte* data, std::span<const std::int64_t> rows,
                          std::vector<Stretch>& stretches) {
    stretches.clear();
    for (const std::int64_t count : rows) {
      stretches.push_back({data, count * row_bytes});
      data += count * row_bytes;
    }
  };
  divide(bytes_of(in), send_rows, to_rank_);
  divide(bytes_of(out), receive_rows, from_rank_);
  const auto own = static_cast<std::size_t>(rank());
  if (to_rank_[own].bytes > 0)
    std::memcpy(from_rank_[own].data, to_rank_[own].data,
                static_cast<std::size_t>(to_rank_[own].bytes));
  exchange_.exchange(to_rank_, from_rank_);
}

void MpiCommunicator::broadcast(View data, int root) {
  require_contiguous("broadcast", data);
  if (size() == 1) return;
  constexpr std::int64_t kPart = std::int64_t{1} << 26;
  const std::int64_t bytes = data.size_bytes();
  for (std::int64_t begin = 0; begin < bytes; begin += kPart)
    check_mpi(MPI_Bcast(bytes_of(data) + begin, narrow<int>(std::min(kPart, bytes - begin)),
                        MPI_BYTE, root, communicator_),
              "MPI_Bcast");
  if (rank() == root) bytes_sent_ += bytes * (size() - 1);
}

// --- Small values and texts of the host. ---

template <class Combine>
void MpiCommunicator::combine_values(std::span<double> values, Combine combine) {
  if (size() == 1 || values.empty()) return;
  const std::size_t count = values.size();
  values_.resize(count * static_cast<std::size_t>(size()));
  check_mpi(MPI_Allgather(values.data(), narrow<int>(count), MPI_DOUBLE, values_.data(),
                          narrow<int>(count), MPI_DOUBLE, communicator_),
            "MPI_Allgather");
  bytes_sent_ += static_cast<std::int64_t>(count * sizeof(double)) * (size() - 1);
  std::copy_n(values_.begin(), count, values.begin());
  for (std::size_t i = count; i < values_.size(); ++i)
    values[i % count] = combine(values[i % count], values_[i]);
}

// What a rank sends and receives does not grow with the number of ranks, but for the padding of the
// last shares.
void MpiCommunicator::sum_shares(std::span<double> values) {
  bytes_sent_ += bytes_of_value_sum(values.size(), size());
  const auto share = static_cast<std::size_t>(div_ceil(std::ssize(values), size()));
  const std::size_t all = share * static_cast<std::size_t>(size());
  values_.assign(2 * all, 0.0);
  const std::span<double> sent(values_.data(), all), received(values_.data() + all, all);
  std::copy(values.begin(), values.end(), sent.begin());
  check_mpi(MPI_Alltoall(sent.data(), narrow<int>(share), MPI_DOUBLE, received.data(),
                         narrow<int>(share), MPI_DOUBLE, communicator_),
            "MPI_Alltoall");
  for (std::size_t i = share; i < all; ++i) received[i % share] += received[i];
  check_mpi(MPI_Allgather(received.data(), narrow<int>(share), MPI_DOUBLE, sent.data(),
                          narrow<int>(share), MPI_DOUBLE, communicator_),
            "MPI_Allgather");
  std::copy_n(sent.begin(), values.size(), values.begin());
}

void MpiCommunicator::all_reduce_sum(std::span<double> values) {
  if (size() > 1 && values.size() > kFewValues) return sum_shares(values);
  combine_values(values, [](double a, double b) { return a + b; });
}

// A NaN of any rank must be seen by all: std::max and std::min would drop it or not, by order.
void MpiCommunicator::all_reduce_max(std::span<double> values) {
  combine_values(values, [](double a, double b) { return std::isnan(a) || a > b ? a : b; });
}

void MpiCommunicator::all_reduce_min(std::span<double> values) {
  combine_values(values, [](double a, double b) { return std::isnan(a) || a < b ? a : b; });
}

std::vector<double> MpiCommunicator::all_gather(double value) {
  std::vector<double> all(static_cast<std::size_t>(size()));
  check_mpi(MPI_Allgather(&value, 1, MPI_DOUBLE, all.data(), 1, MPI_DOUBLE, communicator_),
            "MPI_Allgather");
  bytes_sent_ += static_cast<std::int64_t>(sizeof(double)) * (size() - 1);
  return all;
}

void MpiCommunicator::all_gather_counts(std::span<std::int64_t> all,
                                        std::span<const std::int64_t> mine) {
  ESPALIER_ASSERT(all.size() == mine.size() * static_cast<std::size_t>(size()),
                  "{} counts of each of {} ranks into {}", mine.size(), size(), all.size());
  const int count = narrow<int>(mine.size());
  check_mpi(
      MPI_Allgather(mine.data(), count, MPI_INT64_T, all.data(), count, MPI_INT64_T, communicator_),
      "MPI_Allgather");
  bytes_sent_ += static_cast<std::int64_t>(mine.size_bytes()) * (size() - 1);
}

std::string MpiCommunicator::broadcast(std::string text, int root) {
  auto bytes = static_cast<std::int64_t>(text.size());
  check_mpi(MPI_Bcast(&bytes, 1, MPI_INT64_T, root, communicator_), "MPI_Bcast");
  text.resize(static_cast<std::size_t>(bytes));
  constexpr std::int64_t kPart = std::int64_t{1} << 30;  // MPI counts with int
  for (std::int64_t begin = 0; begin < bytes; begin += kPart)
    check_mpi(MPI_Bcast(text.data() + begin, narrow<int>(std::min(kPart, bytes - begin)), MPI_CHAR,
                        root, communicator_),
              "MPI_Bcast");
  if (rank() == root) bytes_sent_ += bytes * (size() - 1);
  return text;
}

void MpiCommunicator::barrier() {
  check_mpi(MPI_Barrier(communicator_), "MPI_Barrier");
}

std::vector<std::string> MpiCommunicator::all_gather(const std::string& text) {
  const int bytes = narrow<int>(text.size());
  std::vector<int> sizes(static_cast<std::size_t>(size()));
  check_mpi(MPI_Allgather(&bytes, 1, MPI_INT, sizes.data(), 1, MPI_INT, communicator_),
            "MPI_Allgather");
  std::vector<int> begins(sizes.size());
  std::int64_t total = 0;
  for (std::size_t r = 0; r < sizes.size(); ++r) {
    begins[r] = narrow<int>(total);
    total += sizes[r];
  }
  std::string joined(static_cast<std::size_t>(narrow<int>(total)), '\0');
  check_mpi(MPI_Allgatherv(text.data(), bytes, MPI_CHAR, joined.data(), sizes.data(), begins.data(),
                           MPI_CHAR, communicator_),
            "MPI_Allgatherv");
  bytes_sent_ += static_cast<std::int64_t>(bytes) * (size() - 1);
  std::vector<std::string> texts;
  for (std::size_t r = 0; r < sizes.size(); ++r)
    texts.push_back(
        joined.substr(static_cast<std::size_t>(begins[r]), static_cast<std::size_t>(sizes[r])));
  return texts;
}

}  // namespace espalier::parallel
