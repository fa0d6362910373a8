#include "parallel/comm/mpi_pipeline_link.hpp"

#include <sched.h>

#include <algorithm>
#include <array>
#include <exception>

#include "base/activity.hpp"
#include "base/error.hpp"
#include "base/integers.hpp"
#include "parallel/comm/mpi_check.hpp"

namespace espalier::parallel {

using device::ConstView;
using device::View;
using pipeline::Action;

namespace {

device::Gpu::Rectangle whole(std::int64_t bytes) {
  return {.rows = 1, .row_bytes = bytes, .to_stride = bytes, .from_stride = bytes};
}

/// Of MPI's progress, while a message leaves: one hands on a few pieces of a long one. With a
/// receiver that waits, four to nine carry 0.25 to 4 MB.
constexpr int kCallsForSends = 8;

/// Micro-batches that have tags of their own: the standard promises tags up to 32767.
std::int64_t micro_batches_in_tags(MPI_Comm communicator, int num_stages) {
  int* highest = nullptr;
  int is_set = 0;
  check_mpi(MPI_Comm_get_attr(communicator, MPI_TAG_UB, &highest, &is_set), "MPI_Comm_get_attr");
  const std::int64_t tags = is_set != 0 ? std::int64_t{*highest} + 1 : 32768;
  return std::max<std::int64_t>(tags / (2 * std::int64_t{num_stages}), 1);
}

}  // namespace

MpiPipelineLink::MpiPipelineLink(MPI_Comm communicator, const pipeline::Placement& placement,
                                 std::shared_ptr<device::Gpu> gpu, device::Stream compute,
                                 std::int64_t max_part_bytes)
    : communicator_(communicator),
      placement_(placement),
      gpu_(std::move(gpu)),
      compute_(compute),
      max_part_bytes_(max_part_bytes),
      tag_micro_batches_(micro_batches_in_tags(communicator, placement.num_stages())) {
  check_mpi(MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  if (gpu_ == nullptr) return;
  copies_ = gpu_->create_stream(/*urgent=*/true);
  ready_ = gpu_->create_event(/*timed=*/false);
}

MpiPipelineLink::~MpiPipelineLink() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  // While an exception unwinds the stack the other ranks are elsewhere: nothing collective, and no
  // wait for messages that may never be taken.
  const bool all_is_well = finalized == 0 && std::uncaught_exceptions() == 0;
  for (Transfer& transfer : transfers_) {
    if (!transfer.is_open || !all_is_well) continue;
    for (MPI_Request& part : transfer.parts) {
      if (!transfer.is_send && part != MPI_REQUEST_NULL) MPI_Cancel(&part);
      MPI_Wait(&part, MPI_STATUS_IGNORE);
    }
  }
  if (gpu_ != nullptr) {
    for (const Pinned& pinned : pinned_) {
      if (pinned.is_copying && all_is_well) gpu_->synchronize(pinned.copied);
      gpu_->release_pinned(pinned.memory);
      gpu_->destroy(pinned.copied);
    }
    gpu_->destroy(ready_);
    gpu_->destroy(copies_);
  }
  if (all_is_well) MPI_Comm_free(&communicator_);
}

int MpiPipelineLink::tag_of(const Action& message) const {
  const std::int64_t micro_batch = message.micro_batch % tag_micro_batches_;
  const std::int64_t place = micro_batch * placement_.num_stages() + message.stage;
  return narrow<int>(2 * place + (pipeline::is_forward(message) ? 0 : 1));
}

// --- Transfers: entries that are used again, and the open ones in the order of posting. ---

MpiPipelineLink::Transfer& MpiPipelineLink::begin(const Action& message, bool is_send, int peer,
                                                  std::int64_t bytes) {
  ESPALIER_ASSERT(peer >= 0 && peer < placement_.ranks, "{} with pipeline rank {} of {}",
                  pipeline::describe(message), peer, placement_.ranks);
  const auto free = std::find_if(transfers_.begin(), transfers_.end(),
                                 [](const Transfer& transfer) { return !transfer.is_open; });
  const auto index = static_cast<std::size_t>(free - transfers_.begin());
  if (free == transfers_.end()) transfers_.emplace_back();
  order_.push_back(index);
  Transfer& transfer = transfers_[index];
  transfer.message = message;
  transfer.is_send = is_send;
  transfer.is_open = true;
  transfer.has_left = transfer.is_waited = false;
  transfer.peer = peer;
  transfer.bytes = bytes;
  transfer.pinned = -1;
  transfer.parts.clear();
  const std::string what = describe_message(message, placement_);
  transfer.waiting =
      activity::keep(is_send ? fmt::format("waiting for pipeline rank {} to take {}", peer, what)
                             : fmt::format("waiting for {} from pipeline rank {}", what, peer));
  return transfer;
}

MpiPipelineLink::Transfer& MpiPipelineLink::find(const Action& message, bool is_send) {
  for (const std::size_t index : order_) {
    Transfer& transfer = transfers_[index];
    if (transfer.is_send == is_send && !transfer.is_waited && transfer.message == message)
      return transfer;
  }
  fail(ExitStatus::internal, "{} is waited for and was not posted",
       describe_message(message, placement_));
}

void MpiPipelineLink::leave(Transfer& transfer) {
  auto* data = static_cast<std::byte*>(transfer.data);
  const int tag = tag_of(transfer.message);
  for (std::int64_t begin = 0; begin < transfer.bytes; begin += max_part_bytes_) {
    const int bytes = narrow<int>(std::min(max_part_bytes_, transfer.bytes - begin));
    MPI_Request& part = transfer.parts.emplace_back(MPI_REQUEST_NULL);
    if (transfer.is_send)
      check_mpi(MPI_Isend(data + begin, bytes, MPI_BYTE, transfer.peer, tag, communicator_, &part),
                "MPI_Isend");
    else
      check_mpi(MPI_Irecv(data + begin, bytes, MPI_BYTE, transfer.peer, tag, communicator_, &part),
                "MPI_Irecv");
  }
  if (transfer.is_send) bytes_sent_ += transfer.bytes;
  transfer.has_left = true;
}

bool MpiPipelineLink::is_done(Transfer& transfer) {
  if (!transfer.has_left) return false;
  int done = 0;
  check_mpi(MPI_Testall(narrow<int>(transfer.parts.size()), transfer.parts.data(), &done,
                        MPI_STATUSES_IGNORE),
            "MPI_Testall");
  return done != 0;
}

void MpiPipelineLink::close(Transfer& transfer) {
  transfer.is_open = false;
  std::erase(order_, static_cast<std::size_t>(&transfer - transfers_.data()));
}

bool MpiPipelineLink::is_sending() const {
  return std::any_of(order_.begin(), order_.end(), [&](std::size_t index) {
    const Transfer& t = transfers_[index];
    return t.is_send && std::any_of(t.parts.begin(), t.parts.end(),
                                    [](MPI_Request part) { return part != MPI_REQUEST_NULL; });
  });
}

void MpiPipelineLink::progress() {
  look_after_transfers();
  for (int calls = 1; calls < kCallsForSends && gpu_ == nullptr && is_sending(); ++calls)
    look_after_transfers();
}

void MpiPipelineLink::look_after_transfers() {
  for (std::size_t i = 0; i < order_.size();) {
    Transfer& transfer = transfers_[order_[i]];
    if (!transfer.has_left && is_copied(pinned_[static_cast<std::size_t>(transfer.pinned)]))
      leave(transfer);
    if (is_done(transfer) && transfer.is_waited) {
      pinned_[static_cast<std::size_t>(transfer.pinned)].is_held = false;
      close(transfer);  // the next one is at its place
    } else {
      ++i;
    }
  }
}

// --- Pinned memory. ---

int MpiPipelineLink::take_pinned(std::int64_t bytes) {
  for (std::size_t i = 0; i < pinned_.size(); ++i) {
    Pinned& pinned = pinned_[i];
    if (pinned.is_held || pinned.bytes < bytes || !is_copied(pinned)) continue;
    pinned.is_held = true;
    return static_cast<int>(i);
  }
  Pinned pinned{.memory = gpu_->allocate_pinned(bytes),
                .bytes = bytes,
                .copied = gpu_->create_event(/*timed=*/false),
                .is_held = true};
  pinned_.push_back(pinned);
  return static_cast<int>(pinned_.size()) - 1;
}

bool MpiPipelineLink::is_copied(Pinned& pinned) {
  if (pinned.is_copying && gpu_->is_done(pinned.copied)) pinned.is_copying = false;
  return !pinned.is_copying;
}

// --- The four calls. ---

void MpiPipelineLink::post_receive(const Action& message, int peer, View buffer) {
  ESPALIER_ASSERT(buffer.is_contiguous(), "{}", device::describe(buffer));
  progress();
  Transfer& transfer = begin(message, /*is_send=*/false, peer, buffer.size_bytes());
  transfer.buffer = buffer;
  transfer.data = buffer.data;
  if (gpu_ != nullptr) {
    transfer.pinned = take_pinned(transfer.bytes);
    transfer.data = pinned_[static_cast<std::size_t>(transfer.pinned)].memory;
  }
  leave(transfer);
}

void MpiPipelineLink::post_send(const Action& message, int peer, ConstView buffer) {
  ESPALIER_ASSERT(buffer.is_contiguous(), "{}", device::describe(buffer));
  progress();
  Transfer& transfer = begin(message, /*is_send=*/true, peer, buffer.size_bytes());
  if (gpu_ == nullptr) {
    transfer.data = const_cast<void*>(buffer.data);  // one member for both directions
    leave(transfer);
    return progress();  // whoever waits for it has it before this rank computes
  }
  transfer.pinned = take_pinned(transfer.bytes);
  Pinned& pinned = pinned_[static_cast<std::size_t>(transfer.pinned)];
  transfer.data = pinned.memory;
  gpu_->record(ready_, compute_);
  gpu_->wait(copies_, ready_);
  if (transfer.bytes > 0)
    gpu_->copy_to_host(pinned.memory, buffer.data, whole(transfer.bytes), copies_);
  gpu_->record(pinned.copied, copies_);
  pinned.is_copying = true;
  // The message leaves here and now: the host may next wait in a collective for a rank that waits
  // for it, and nothing would send it from there.
  gpu_->synchronize(pinned.copied);
  progress();
}

void MpiPipelineLink::wait_receive(const Action& message) {
  progress();
  Transfer& transfer = find(message, /*is_send=*/false);
  if (!is_done(transfer)) {
    const activity::Scope waiting(transfer.waiting);
    const auto has_left = [&](std::size_t index) { return transfers_[index].has_left; };
    // What still has to leave here may be what the peer needs first.
    while (!is_done(transfer) && !std::all_of(order_.begin(), order_.end(), has_left)) {
      sched_yield();
      progress();
    }
    check_mpi(
        MPI_Waitall(narrow<int>(transfer.parts.size()), transfer.parts.data(), MPI_STATUSES_IGNORE),
        "MPI_Waitall");
  }
  if (gpu_ != nullptr) {
    Pinned& pinned = pinned_[static_cast<std::size_t>(transfer.pinned)];
    if (transfer.bytes > 0)
      gpu_->copy_to_device(transfer.buffer.data, pinned.memory, whole(transfer.bytes), compute_);
    gpu_->record(pinned.copied, compute_);
    pinned.is_copying = true;
    pinned.is_held = false;
  }
  close(transfer);
}

void MpiPipelineLink::wait_send(const Action& message) {
  progress();
  Transfer& transfer = find(message, /*is_send=*/true);
  if (gpu_ != nullptr) {
    // The buffer is read. It must leave before the host goes where nothing looks after it.
    gpu_->synchronize(pinned_[static_cast<std::size_t>(transfer.pinned)].copied);
    transfer.is_waited = true;
    return progress();
  }
  if (!is_done(transfer)) {
    const activity::Scope waiting(transfer.waiting);
    check_mpi(
        MPI_Waitall(narrow<int>(transfer.parts.size()), transfer.parts.data(), MPI_STATUSES_IGNORE),
        "MPI_Waitall");
  }
  close(transfer);
}

}  // namespace espalier::parallel
