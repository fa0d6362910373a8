#include "parallel/comm/mpi_exchange.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/integers.hpp"
#include "parallel/comm/mpi_check.hpp"
#include "parallel/comm/rank_sum.hpp"

namespace espalier::parallel {

using device::View;

namespace {

constexpr int kTag = 0;  // messages between two ranks arrive in order: one tag is enough

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

}  // namespace

std::int64_t MpiExchange::message_limit(int size, std::int64_t max_message_bytes) {
  const std::int64_t fitting = kStagingBytes / (4 * size);
  const std::int64_t limit = std::max(std::min(fitting, max_message_bytes), Staging::kAlignment);
  return limit / Staging::kAlignment * Staging::kAlignment;
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

MpiExchange::MpiExchange(MPI_Comm communicator, std::shared_ptr<Staging> staging,
                         std::int64_t max_message_bytes, int block)
    : communicator_(communicator),
      rank_(group_rank(communicator)),
      size_(group_size(communicator)),
      block_(block),
      staging_(std::move(staging)),
      slot_bytes_(message_limit(size_, max_message_bytes)),
      part_bytes_(kPartMessages * max_message_bytes),
      plan_(size_, slot_bytes_) {
  if (size_ > 1) staging_->reserve(4 * size_ * slot_bytes_);
  for (auto& requests : requests_) requests.reserve(2 * static_cast<std::size_t>(size_));
  sources_.resize(static_cast<std::size_t>(size_));
}

std::byte* MpiExchange::receive_slot(std::size_t round, int peer) const {
  const auto half = static_cast<std::int64_t>(round % 2);
  return staging_->data() + (half * size_ + peer) * slot_bytes_;
}

std::byte* MpiExchange::send_slot(std::size_t round, int peer) const {
  return receive_slot(round, peer) + 2 * size_ * slot_bytes_;
}

void MpiExchange::post_receive(std::size_t round, void* data, std::int64_t bytes, int peer) {
  MPI_Request request;
  check_mpi(MPI_Irecv(data, narrow<int>(bytes), MPI_BYTE, peer, kTag, communicator_, &request),
            "MPI_Irecv");
  requests_[round % 2].push_back(request);
}

void MpiExchange::post_send(std::size_t round, const void* data, std::int64_t bytes, int peer) {
  MPI_Request request;
  check_mpi(MPI_Isend(data, narrow<int>(bytes), MPI_BYTE, peer, kTag, communicator_, &request),
            "MPI_Isend");
  requests_[round % 2].push_back(request);
  bytes_sent_ += bytes;
}

void MpiExchange::wait(std::size_t round) {
  auto& requests = requests_[round % 2];
  check_mpi(MPI_Waitall(narrow<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE),
            "MPI_Waitall");
  requests.clear();
}

// --- Reduce-scatter: rank d's stream is what d receives from everyone and sums. ---

void MpiExchange::post_sum_round(std::size_t round) {
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
    const auto stretches = plan_.stretches(to, theirs[round]);
    const std::byte* data = stretches.front().data;
    if (stretches.size() > 1) {
      std::byte* packed = send_slot(round, to);
      data = packed;
      for (const Stretch& stretch : stretches) {
        std::memcpy(packed, stretch.data, static_cast<std::size_t>(stretch.bytes));
        packed += stretch.bytes;
      }
    }
    post_send(round, data, theirs[round].bytes, to);
  }
}

template <class Place>
void MpiExchange::sum_round(std::size_t round, DType dtype, Place place) {
  const auto mine = plan_.messages(rank_);
  if (round >= mine.size()) return;
  std::int64_t offset = 0;
  for (const Stretch& stretch : plan_.stretches(rank_, mine[round])) {
    for (int source = 0; source < size_; ++source)
      sources_[static_cast<std::size_t>(source)] =
          source == rank_ ? stretch.data : receive_slot(round, source) + offset;
    sum_in_rank_order(dtype, sources_, place(stretch),
                      stretch.bytes / static_cast<std::int64_t>(size_of(dtype)), block_);
    offset += stretch.bytes;
  }
}

template <class Place>
void MpiExchange::sum(DType dtype, Place place) {
  const std::size_t rounds = plan_.num_rounds();
  if (rounds > 0) post_sum_round(0);
  for (std::size_t round = 0; round < rounds; ++round) {
    if (round + 1 < rounds) post_sum_round(round + 1);
    wait(round);
    sum_round(round, dtype, place);
  }
}

void MpiExchange::sum_in_place(DType dtype) {
  sum(dtype, [](const Stretch& stretch) { return stretch.data; });
}

void MpiExchange::sum_into(const View& out) {
  auto* next = static_cast<std::byte*>(out.data);
  sum(out.dtype, [&](const Stretch& stretch) { return std::exchange(next, next + stretch.bytes); });
}

// --- All-gather: rank d's stream is what d sends to everyone. ---

void MpiExchange::post_gather_round(std::size_t round) {
  for (int shift = 1; shift < size_; ++shift) {
    const int from = (rank_ - shift + size_) % size_;
    const auto theirs = plan_.messages(from);
    if (round >= theirs.size()) continue;
    const auto stretches = plan_.stretches(from, theirs[round]);
    std::byte* place = stretches.size() == 1 ? stretches.front().data : receive_slot(round, from);
    post_receive(round, place, theirs[round].bytes, from);
  }
  const auto mine = plan_.messages(rank_);
  if (round >= mine.size()) return;
  const auto stretches = plan_.stretches(rank_, mine[round]);
  const std::byte* data = stretches.front().data;
  if (stretches.size() > 1) {
    std::byte* packed = send_slot(round, rank_);
    data = packed;
    for (const Stretch& stretch : stretches) {
      std::memcpy(packed, stretch.data, static_cast<std::size_t>(stretch.bytes));
      packed += stretch.bytes;
    }
  }
  for (int shift = 1; shift < size_; ++shift)
    post_send(round, data, mine[round].bytes, (rank_ + shift) % size_);
}

void MpiExchange::unpack_round(std::size_t round) {
  for (int source = 0; source < size_; ++source) {
    const auto theirs = plan_.messages(source);
    if (source == rank_ || round >= theirs.size()) continue;
    const auto stretches = plan_.stretches(source, theirs[round]);
    if (stretches.size() == 1) continue;
    const std::byte* packed = receive_slot(round, source);
    for (const Stretch& stretch : stretches) {
      std::memcpy(stretch.data, packed, static_cast<std::size_t>(stretch.bytes));
      packed += stretch.bytes;
    }
  }
}

void MpiExchange::gather() {
  const std::size_t rounds = plan_.num_rounds();
  if (rounds > 0) post_gather_round(0);
  for (std::size_t round = 0; round < rounds; ++round) {
    if (round + 1 < rounds) post_gather_round(round + 1);
    wait(round);
    unpack_round(round);
  }
}

// --- Without sums: all receives, then all sends, each rank beginning with another peer. ---

void MpiExchange::exchange(std::span<const Stretch> to_rank, std::span<const Stretch> from_rank) {
  const auto parts_of = [&](const Stretch& stretch, auto&& post) {
    for (std::int64_t begin = 0; begin < stretch.bytes; begin += part_bytes_)
      post(stretch.data + begin, std::min(part_bytes_, stretch.bytes - begin));
  };
  for (int shift = 1; shift < size_; ++shift) {
    const int from = (rank_ - shift + size_) % size_;
    parts_of(from_rank[static_cast<std::size_t>(from)],
             [&](std::byte* data, std::int64_t bytes) { post_receive(0, data, bytes, from); });
  }
  for (int shift = 1; shift < size_; ++shift) {
    const int to = (rank_ + shift) % size_;
    parts_of(to_rank[static_cast<std::size_t>(to)],
             [&](const std::byte* data, std::int64_t bytes) { post_send(0, data, bytes, to); });
  }
  wait(0);
}

void MpiExchange::sum_everywhere(const View& data) {
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
  sum_in_rank_order(data.dtype, sources_, data.data, data.size(), block_);
}

}  // namespace espalier::parallel
