#include "parallel/mpi_communicator.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>

#include "base/integers.hpp"
#include "parallel/rank_sum.hpp"

namespace espalier::parallel {

using device::ConstView;
using device::View;

namespace {

constexpr int kTag = 0;  // messages between two ranks arrive in order: one tag is enough
constexpr std::int64_t kAlignment = 64;
/// An all-reduce up to this size is one exchange of everything: fewer messages in a row.
constexpr std::int64_t kSmallBytes = 16384;

int group_rank(MPI_Comm communicator) {
  int rank = 0;
  check_mpi(MPI_Comm_rank(communicator, &rank), "MPI_Comm_rank");
  return rank;
}

int group_size(MPI_Comm communicator) {
  int size = 1;
  check_mpi(MPI_Comm_size(communicator, &size), "MPI_Comm_size");
  return size;
}

std::int64_t message_limit(int size, std::int64_t max_message_bytes) {
  const std::int64_t fitting = MpiCommunicator::kStagingBytes / (4 * size);
  const std::int64_t limit = std::max(std::min(fitting, max_message_bytes), kAlignment);
  return limit / kAlignment * kAlignment;
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

void check_mpi(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "unknown error";
  int length = 0;
  MPI_Error_string(code, text, &length);
  fail(ExitStatus::internal, "{} failed: {}", call, text);
}

void Staging::reserve(std::int64_t bytes) {
  if (bytes <= size_) return;
  std::size_t space = static_cast<std::size_t>(bytes + kAlignment);
  memory_ = std::make_unique_for_overwrite<std::byte[]>(space);
  void* place = memory_.get();
  aligned_ = static_cast<std::byte*>(
      std::align(kAlignment, static_cast<std::size_t>(bytes), place, space));
  size_ = bytes;
}

MpiCommunicator::MpiCommunicator(MPI_Comm communicator, std::shared_ptr<Staging> staging,
                                 std::int64_t max_message_bytes)
    : communicator_(communicator),
      rank_(group_rank(communicator)),
      size_(group_size(communicator)),
      staging_(std::move(staging)),
      slot_bytes_(message_limit(size_, max_message_bytes)),
      plan_(size_, slot_bytes_) {
  check_mpi(MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  if (size_ > 1) staging_->reserve(4 * size_ * slot_bytes_);
  for (auto& requests : requests_) requests.reserve(2 * static_cast<std::size_t>(size_));
  sources_.resize(static_cast<std::size_t>(size_));
}

MpiCommunicator::~MpiCommunicator() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  // While an exception unwinds the stack the other ranks are elsewhere: do nothing collective.
  if (finalized == 0 && std::uncaught_exceptions() == 0) MPI_Comm_free(&communicator_);
}

std::byte* MpiCommunicator::receive_slot(std::size_t round, int peer) const {
  const auto half = static_cast<std::int64_t>(round % 2);
  return staging_->data() + (half * size_ + peer) * slot_bytes_;
}

std::byte* MpiCommunicator::send_slot(std::size_t round, int peer) const {
  return receive_slot(round, peer) + 2 * size_ * slot_bytes_;
}

void MpiCommunicator::post_receive(std::size_t round, void* data, std::int64_t bytes, int peer) {
  MPI_Request request;
  check_mpi(MPI_Irecv(data, narrow<int>(bytes), MPI_BYTE, peer, kTag, communicator_, &request),
            "MPI_Irecv");
  requests_[round % 2].push_back(request);
}

void MpiCommunicator::post_send(std::size_t round, const void* data, std::int64_t bytes, int peer) {
  MPI_Request request;
  check_mpi(MPI_Isend(data, narrow<int>(bytes), MPI_BYTE, peer, kTag, communicator_, &request),
            "MPI_Isend");
  requests_[round % 2].push_back(request);
  bytes_sent_ += bytes;
}

void MpiCommunicator::wait(std::size_t round) {
  auto& requests = requests_[round % 2];
  check_mpi(MPI_Waitall(narrow<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE),
            "MPI_Waitall");
  requests.clear();
}

// --- Reduce-scatter: rank d's stream is what d receives from everyone and sums. ---

void MpiCommunicator::post_sum_round(std::size_t round) {
  const auto mine = plan_.messages(rank_);
  for (int shift = 1; shift < size_; ++shift) {
    const int from = (rank_ - shift + size_) % size_;
    if (round < mine.size())
      post_receive(round, receive_slot(round, from), mine[round].bytes, from);
  }
  for (int shift = 1; shift < size_; ++shift) {
    const int to = (rank_ + shift) % size_;
    const auto theirs = plan_.messages(to);
    if (round >= theirs.size()) continue;
    const auto spans = plan_.spans(to, theirs[round]);
    const std::byte* data = spans.front().data;
    if (spans.size() > 1) {
      std::byte* packed = send_slot(round, to);
      data = packed;
      for (const Span& span : spans) {
        std::memcpy(packed, span.data, static_cast<std::size_t>(span.bytes));
        packed += span.bytes;
      }
    }
    post_send(round, data, theirs[round].bytes, to);
  }
}

void MpiCommunicator::sum_round(std::size_t round, DType dtype, std::byte* result,
                                const std::byte* own) {
  const auto mine = plan_.messages(rank_);
  if (round >= mine.size()) return;
  std::int64_t offset = 0;
  for (const Span& span : plan_.spans(rank_, mine[round])) {
    for (int source = 0; source < size_; ++source)
      sources_[static_cast<std::size_t>(source)] =
          source == rank_ ? span.data : receive_slot(round, source) + offset;
    std::byte* out = result == nullptr ? span.data : result + (span.data - own);
    sum_in_rank_order(dtype, sources_, out, span.bytes / static_cast<std::int64_t>(size_of(dtype)));
    offset += span.bytes;
  }
}

void MpiCommunicator::sum_streams(DType dtype, std::byte* result, const std::byte* own) {
  const std::size_t rounds = plan_.num_rounds();
  if (rounds > 0) post_sum_round(0);
  for (std::size_t round = 0; round < rounds; ++round) {
    if (round + 1 < rounds) post_sum_round(round + 1);
    wait(round);
    sum_round(round, dtype, result, own);
  }
}

// --- All-gather: rank d's stream is what d sends to everyone. ---

void MpiCommunicator::post_gather_round(std::size_t round) {
  for (int shift = 1; shift < size_; ++shift) {
    const int from = (rank_ - shift + size_) % size_;
    const auto theirs = plan_.messages(from);
    if (round >= theirs.size()) continue;
    const auto spans = plan_.spans(from, theirs[round]);
    std::byte* place = spans.size() == 1 ? spans.front().data : receive_slot(round, from);
    post_receive(round, place, theirs[round].bytes, from);
  }
  const auto mine = plan_.messages(rank_);
  if (round >= mine.size()) return;
  const auto spans = plan_.spans(rank_, mine[round]);
  const std::byte* data = spans.front().data;
  if (spans.size() > 1) {
    std::byte* packed = send_slot(round, rank_);
    data = packed;
    for (const Span& span : spans) {
      std::memcpy(packed, span.data, static_cast<std::size_t>(span.bytes));
      packed += span.bytes;
    }
  }
  for (int shift = 1; shift < size_; ++shift)
    post_send(round, data, mine[round].bytes, (rank_ + shift) % size_);
}

void MpiCommunicator::unpack_round(std::size_t round) {
  for (int source = 0; source < size_; ++source) {
    const auto theirs = plan_.messages(source);
    if (source == rank_ || round >= theirs.size()) continue;
    const auto spans = plan_.spans(source, theirs[round]);
    if (spans.size() == 1) continue;
    const std::byte* packed = receive_slot(round, source);
    for (const Span& span : spans) {
      std::memcpy(span.data, packed, static_cast<std::size_t>(span.bytes));
      packed += span.bytes;
    }
  }
}

void MpiCommunicator::gather_streams() {
  const std::size_t rounds = plan_.num_rounds();
  if (rounds > 0) post_gather_round(0);
  for (std::size_t round = 0; round < rounds; ++round) {
    if (round + 1 < rounds) post_gather_round(round + 1);
    wait(round);
    unpack_round(round);
  }
}

// --- The collectives: each describes its streams and runs one or both of the exchanges. ---

void MpiCommunicator::plan_pieces(std::span<const RowPieces> tensors) {
  plan_.clear();
  for (const RowPieces& tensor : tensors) {
    const View& full = tensor.full;
    require_contiguous("grouped collective", full);
    ESPALIER_ASSERT(full.dtype == tensors.front().full.dtype, "a group of {} and {}",
                    name_of(full.dtype), name_of(tensors.front().full.dtype));
    ESPALIER_ASSERT(tensor.begins.size() == static_cast<std::size_t>(size_) + 1 &&
                        tensor.begins.front() >= 0 && tensor.begins.back() <= full.rows &&
                        std::is_sorted(tensor.begins.begin(), tensor.begins.end()),
                    "{} row begins of {} for {} ranks", tensor.begins.size(),
                    device::describe(full), size_);
    const std::int64_t row_bytes = full.cols * static_cast<std::int64_t>(size_of(full.dtype));
    for (int r = 0; r < size_; ++r) {
      const std::int64_t begin = tensor.begins[static_cast<std::size_t>(r)];
      const std::int64_t end = tensor.begins[static_cast<std::size_t>(r) + 1];
      plan_.append(r, bytes_of(full) + begin * row_bytes, (end - begin) * row_bytes);
    }
  }
}

void MpiCommunicator::plan_even(std::byte* data, std::int64_t bytes) {
  plan_.clear();
  const std::int64_t share = round_up(div_ceil(bytes, size_), kAlignment);
  for (int r = 0; r < size_; ++r) {
    const std::int64_t begin = std::min(bytes, r * share);
    plan_.append(r, data + begin, std::min(bytes, begin + share) - begin);
  }
}

void MpiCommunicator::reduce_scatter_pieces(std::span<const RowPieces> tensors) {
  if (size_ == 1 || tensors.empty()) return;
  plan_pieces(tensors);
  sum_streams(tensors.front().full.dtype, nullptr, nullptr);
}

void MpiCommunicator::all_gather_pieces(std::span<const RowPieces> tensors) {
  if (size_ == 1 || tensors.empty()) return;
  plan_pieces(tensors);
  gather_streams();
}

void MpiCommunicator::all_gather(View out, ConstView in) {
  require_contiguous("all_gather into", out);
  require_contiguous("all_gather", in);
  ESPALIER_ASSERT(out.size() == size_ * in.size() && out.dtype == in.dtype, "{} -> {}, {} ranks",
                  device::describe(in), device::describe(out), size_);
  const std::int64_t bytes = in.size_bytes();
  std::byte* own = bytes_of(out) + rank_ * bytes;
  if (in.data != own && bytes > 0) std::memcpy(own, in.data, static_cast<std::size_t>(bytes));
  if (size_ == 1) return;
  plan_.clear();
  for (int r = 0; r < size_; ++r) plan_.append(r, bytes_of(out) + r * bytes, bytes);
  gather_streams();
}

void MpiCommunicator::reduce_scatter_sum(View out, ConstView in) {
  require_contiguous("reduce_scatter_sum into", out);
  require_contiguous("reduce_scatter_sum", in);
  ESPALIER_ASSERT(in.size() == size_ * out.size() && out.dtype == in.dtype, "{} -> {}, {} ranks",
                  device::describe(in), device::describe(out), size_);
  const std::int64_t bytes = out.size_bytes();
  const std::byte* own = bytes_of(in) + rank_ * bytes;
  if (size_ == 1) {
    if (out.data != in.data && bytes > 0)
      std::memcpy(out.data, in.data, static_cast<std::size_t>(bytes));
    return;
  }
  plan_.clear();
  for (int r = 0; r < size_; ++r) plan_.append(r, bytes_of(in) + r * bytes, bytes);
  sum_streams(out.dtype, bytes_of(out), own);
}

void MpiCommunicator::exchange_and_sum(View data) {
  const std::int64_t bytes = data.size_bytes();
  for (int shift = 1; shift < size_; ++shift) {
    const int from = (rank_ - shift + size_) % size_;
    post_receive(0, receive_slot(0, from), bytes, from);
  }
  for (int shift = 1; shift < size_; ++shift)
    post_send(0, data.data, bytes, (rank_ + shift) % size_);
  wait(0);
  for (int source = 0; source < size_; ++source)
    sources_[static_cast<std::size_t>(source)] =
        source == rank_ ? data.data : receive_slot(0, source);
  sum_in_rank_order(data.dtype, sources_, data.data, data.size());
}

void MpiCommunicator::all_reduce_sum(View data) {
  require_contiguous("all_reduce_sum", data);
  if (size_ == 1 || data.size() == 0) return;
  const std::int64_t bytes = data.size_bytes();
  if (bytes <= std::min(kSmallBytes, slot_bytes_)) return exchange_and_sum(data);
  plan_even(bytes_of(data), bytes);
  sum_streams(data.dtype, nullptr, nullptr);
  gather_streams();
}

void MpiCommunicator::broadcast(View data, int root) {
  require_contiguous("broadcast", data);
  if (size_ == 1) return;
  constexpr std::int64_t kPart = std::int64_t{1} << 26;
  const std::int64_t bytes = data.size_bytes();
  for (std::int64_t begin = 0; begin < bytes; begin += kPart)
    check_mpi(MPI_Bcast(bytes_of(data) + begin, narrow<int>(std::min(kPart, bytes - begin)),
                        MPI_BYTE, root, communicator_),
              "MPI_Bcast");
  if (rank_ == root) bytes_sent_ += bytes * (size_ - 1);
}

// --- Small values and texts of the host. ---

template <class Combine>
void MpiCommunicator::combine_values(std::span<double> values, Combine combine) {
  if (size_ == 1 || values.empty()) return;
  const std::size_t count = values.size();
  values_.resize(count * static_cast<std::size_t>(size_));
  check_mpi(MPI_Allgather(values.data(), narrow<int>(count), MPI_DOUBLE, values_.data(),
                          narrow<int>(count), MPI_DOUBLE, communicator_),
            "MPI_Allgather");
  bytes_sent_ += static_cast<std::int64_t>(count * sizeof(double)) * (size_ - 1);
  std::copy_n(values_.begin(), count, values.begin());
  for (std::size_t i = count; i < values_.size(); ++i)
    values[i % count] = combine(values[i % count], values_[i]);
}

void MpiCommunicator::all_reduce_sum(std::span<double> values) {
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
  std::vector<double> all(static_cast<std::size_t>(size_));
  check_mpi(MPI_Allgather(&value, 1, MPI_DOUBLE, all.data(), 1, MPI_DOUBLE, communicator_),
            "MPI_Allgather");
  bytes_sent_ += static_cast<std::int64_t>(sizeof(double)) * (size_ - 1);
  return all;
}

std::string MpiCommunicator::broadcast(std::string text, int root) {
  auto size = static_cast<std::int64_t>(text.size());
  check_mpi(MPI_Bcast(&size, 1, MPI_INT64_T, root, communicator_), "MPI_Bcast");
  text.resize(static_cast<std::size_t>(size));
  check_mpi(MPI_Bcast(text.data(), narrow<int>(size), MPI_CHAR, root, communicator_), "MPI_Bcast");
  if (rank_ == root) bytes_sent_ += size * (size_ - 1);
  return text;
}

void MpiCommunicator::barrier() {
  check_mpi(MPI_Barrier(communicator_), "MPI_Barrier");
}

std::vector<std::string> MpiCommunicator::all_gather(const std::string& text) {
  const int size = narrow<int>(text.size());
  std::vector<int> sizes(static_cast<std::size_t>(size_));
  check_mpi(MPI_Allgather(&size, 1, MPI_INT, sizes.data(), 1, MPI_INT, communicator_),
            "MPI_Allgather");
  std::vector<int> begins(sizes.size());
  std::int64_t total = 0;
  for (std::size_t r = 0; r < sizes.size(); ++r) {
    begins[r] = narrow<int>(total);
    total += sizes[r];
  }
  std::string joined(static_cast<std::size_t>(narrow<int>(total)), '\0');
  check_mpi(MPI_Allgatherv(text.data(), size, MPI_CHAR, joined.data(), sizes.data(), begins.data(),
                           MPI_CHAR, communicator_),
            "MPI_Allgatherv");
  bytes_sent_ += static_cast<std::int64_t>(size) * (size_ - 1);
  std::vector<std::string> texts;
  for (std::size_t r = 0; r < sizes.size(); ++r)
    texts.push_back(
        joined.substr(static_cast<std::size_t>(begins[r]), static_cast<std::size_t>(sizes[r])));
  return texts;
}

}  // namespace espalier::parallel
