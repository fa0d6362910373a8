#include "parallel/comm/nccl_communicator.hpp"

#include <algorithm>
#include <array>
#include <exception>
#include <optional>
#include <vector>

#include "base/error.hpp"
#include "parallel/comm/nccl_handle.hpp"
#include "parallel/comm/nccl_shards.hpp"
#include "parallel/comm/row_exchange.hpp"

namespace espalier::parallel {

using device::ConstView;
using device::View;

namespace {

ncclDataType_t type_of(DType dtype) {
  ESPALIER_ASSERT(dtype == DType::f32 || dtype == DType::bf16, "sum of {}", name_of(dtype));
  return dtype == DType::f32 ? ncclFloat32 : ncclBfloat16;
}

std::size_t count_of(const ConstView& view) {
  ESPALIER_ASSERT(view.is_contiguous(), "{}", device::describe(view));
  return static_cast<std::size_t>(view.size());
}

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(std::unique_ptr<Communicator> host, std::shared_ptr<device::Gpu> gpu,
                   device::Stream stream, std::string group_name, bool exchanges_rows)
      : host_(std::move(host)),
        gpu_(std::move(gpu)),
        stream_(stream),
        group_name_(std::move(group_name)) {
    const std::string shared = ranks_that_share(host_->all_gather(gpu_->description().uuid));
    require(shared.empty(), ExitStatus::bad_configuration,
            "{} of the {} group share a GPU, which NCCL does not allow: use "
            "device.communicator = \"mpi\", or start one rank per GPU",
            shared, group_name_);
    const std::string id = rank() == 0 ? NcclHandle::new_id() : std::string();
    handle_.emplace(host_->broadcast(id, 0), rank(), size(), gpu_,
                    fmt::format("the {} group", group_name_));
    comm_ = handle_->get();
    connect(exchanges_rows);
    watch_.emplace(std::vector<const NcclHandle*>{&*handle_});
  }

  ~NcclCommunicator() override {
    watch_.reset();
    if (std::uncaught_exceptions() > 0) return;
    for (const ncclWindow_t window : windows_) nccl_.deregister_window(comm_, window);
  }
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }

  void all_reduce_sum(View data) override {
    check(nccl_.all_reduce(data.data, data.data, count_of(data), type_of(data.dtype), ncclSum,
                           comm_, stream_),
          "ncclAllReduce");
    count_sent(2 * data.size_bytes());
  }
  void all_gather(View out, ConstView in) override {
    ESPALIER_ASSERT(out.size_bytes() == size() * in.size_bytes() && out.is_contiguous(),
                    "all-gather of {} to {}", device::describe(in), device::describe(out));
    check(nccl_.all_gather(in.data, out.data, count_of(in) * size_of(in.dtype), ncclInt8, comm_,
                           stream_),
          "ncclAllGather");
    count_sent(out.size_bytes());
  }
  void reduce_scatter_sum(View out, ConstView in) override {
    ESPALIER_ASSERT(in.size() == size() * out.size() && in.is_contiguous(),
                    "reduce-scatter of {} to {}", device::describe(in), device::describe(out));
    check(nccl_.reduce_scatter(in.data, out.data, count_of(out), type_of(out.dtype), ncclSum, comm_,
                               stream_),
          "ncclReduceScatter");
    count_sent(in.size_bytes());
  }

  void reduce_scatter_shards(std::span<const RowShards> tensors) override {
    grouped(tensors, /*sums=*/true, [&](const View& full, const ShardCall& call) {
      const View rows = full.row_range(call.first_row, call.num_rows);
      const std::size_t count = count_of(rows);
      const ncclDataType_t type = type_of(full.dtype);
      switch (call.kind) {
        case ShardCall::Kind::even:
          return check(nccl_.reduce_scatter(rows.data, own_rows(full, call).data, count, type,
                                            ncclSum, comm_, stream_),
                       "ncclReduceScatter");
        case ShardCall::Kind::whole:
          return check(nccl_.all_reduce(rows.data, rows.data, count, type, ncclSum, comm_, stream_),
                       "ncclAllReduce");
        case ShardCall::Kind::owner:
          return check(
              nccl_.reduce(rows.data, rows.data, count, type, ncclSum, call.owner, comm_, stream_),
              "ncclReduce");
      }
    });
  }
  void all_gather_shards(std::span<const RowShards> tensors) override {
    grouped(tensors, /*sums=*/false, [&](const View& full, const ShardCall& call) {
      const View rows = full.row_range(call.first_row, call.num_rows);
      const std::size_t bytes = count_of(rows) * size_of(full.dtype);
      if (call.kind == ShardCall::Kind::even)
        check(
            nccl_.all_gather(own_rows(full, call).data, rows.data, bytes, ncclInt8, comm_, stream_),
            "ncclAllGather");
      else
        check(nccl_.broadcast(rows.data, rows.data, bytes, ncclInt8, call.owner, comm_, stream_),
              "ncclBroadcast");
    });
  }
  void broadcast(View data, int root) override {
    check(nccl_.broadcast(data.data, data.data, count_of(data) * size_of(data.dtype), ncclInt8,
                          root, comm_, stream_),
          "ncclBroadcast");
    count_sent(data.size_bytes());
  }

  void exchange_rows(View out, ConstView in, std::span<const std::int64_t> send_rows,
                     std::span<const std::int64_t> receive_rows) override {
    check_row_exchange(out, in, send_rows, receive_rows, rank(), size());
    const auto row_bytes = in.cols * static_cast<std::int64_t>(size_of(in.dtype));
    handle_->begin_group();
    std::int64_t sent = 0, received = 0;
    for (int peer = 0; peer < size(); ++peer) {
      const auto at = static_cast<std::size_t>(peer);
      const ConstView there = in.row_range(sent, send_rows[at]);
      const View here = out.row_range(received, receive_rows[at]);
      sent += send_rows[at];
      received += receive_rows[at];
      if (peer == rank()) {
        copy_rows(here, there);
        continue;
      }
      // The other end leaves out the same: a call of nothing would be a launch.
      if (there.rows > 0)
        check(nccl_.send(there.data, count_of(there) * size_of(in.dtype), ncclInt8, peer, comm_,
                         stream_),
              "ncclSend");
      if (here.rows > 0)
        check(nccl_.receive(here.data, count_of(here) * size_of(out.dtype), ncclInt8, peer, comm_,
                            stream_),
              "ncclRecv");
      bytes_sent_ += there.rows * row_bytes;
    }
    handle_->end_group();
  }
  void all_gather_counts(std::span<std::int64_t> all, std::span<const std::int64_t> mine) override {
    host_->all_gather_counts(all, mine);
  }

  void all_reduce_sum(std::span<double> values) override { host_->all_reduce_sum(values); }
  void all_reduce_max(std::span<double> values) override { host_->all_reduce_max(values); }
  void all_reduce_min(std::span<double> values) override { host_->all_reduce_min(values); }
  std::vector<double> all_gather(double value) override { return host_->all_gather(value); }
  std::string broadcast(std::string text, int root) override {
    return host_->broadcast(std::move(text), root);
  }
  void barrier() override { host_->barrier(); }
  std::vector<std::string> all_gather(const std::string& text) override {
    return host_->all_gather(text);
  }
  std::int64_t bytes_sent() const override { return bytes_sent_ + host_->bytes_sent(); }

  bool register_memory(View memory) {
    // A rank that is not asked in would leave the others waiting in NCCL.
    const bool can = nccl_.register_window != nullptr && nccl_.deregister_window != nullptr &&
                     memory.data != nullptr;
    const double bytes = can ? static_cast<double>(memory.size_bytes()) : 0.0;
    std::array<double, 2> smallest{bytes, -bytes};
    host_->all_reduce_min(smallest);
    if (smallest[0] == 0.0 || smallest[0] != -smallest[1]) return false;
    ncclWindow_t window = nullptr;
    const ncclResult_t result =
        nccl_.register_window(comm_, memory.data, static_cast<std::size_t>(memory.size_bytes()),
                              &window, NCCL_WIN_COLL_SYMMETRIC);
    // One rank's refusal is everyone's, or the ranks would use different kernels.
    std::vector<double> mine{result == ncclSuccess && window != nullptr ? 1.0 : 0.0};
    host_->all_reduce_min(mine);
    if (mine[0] > 0.0)
      windows_.push_back(window);
    else if (window != nullptr)
      check(nccl_.deregister_window(comm_, window), "ncclCommWindowDeregister");
    return mine[0] > 0.0;
  }

 private:
  /// NCCL connects ranks when they first talk: it takes memory, and each waits on the host for the
  /// other. Here that is not in the middle of a step, beside kernels that wait for other ranks, and
  /// a GPU without room for it is found out at the start.
  void connect(bool for_rows) {
    void* words = gpu_->allocate(fmt::format("first message of the {} group", group_name_),
                                 std::max(size(), 4));
    if (for_rows) {
      handle_->begin_group();
      for (int peer = 0; peer < size(); ++peer) {
        if (peer == rank()) continue;
        auto* const byte = static_cast<std::byte*>(words);
        check(nccl_.send(byte + rank(), 1, ncclInt8, peer, comm_, stream_), "ncclSend");
        check(nccl_.receive(byte + peer, 1, ncclInt8, peer, comm_, stream_), "ncclRecv");
      }
      handle_->end_group();
    } else {
      check(nccl_.all_reduce(words, words, 1, ncclFloat32, ncclSum, comm_, stream_),
            "ncclAllReduce");
    }
    gpu_->synchronize(stream_);
    gpu_->release(words);
  }
  void copy_rows(View to, ConstView from) {
    const std::int64_t bytes = from.size_bytes();
    if (bytes > 0) gpu_->copy_on_device(to.data, from.data, {1, bytes, bytes, bytes}, stream_);
  }
  /// All calls for the tensors in one group: as few launches as NCCL can make of them.
  template <class Call>
  void grouped(std::span<const RowShards> tensors, bool sums, Call&& call) {
    if (tensors.empty()) return;
    handle_->begin_group();
    for (const RowShards& tensor : tensors) {
      const auto& [full, begins] = tensor;
      ESPALIER_ASSERT(std::ssize(begins) == size() + 1 &&
                          std::is_sorted(begins.begin(), begins.end()) && begins.front() >= 0 &&
                          begins.back() <= full.rows,
                      "a division of {} over {} ranks", device::describe(full), size());
      const auto row_bytes = full.cols * static_cast<std::int64_t>(size_of(full.dtype));
      shard_calls(begins, row_bytes, sums, calls_);
      for (const ShardCall& one : calls_) call(full, one);
      count_sent((begins.back() - begins.front()) * row_bytes);
    }
    handle_->end_group();
  }

  /// This rank's rows of an even call.
  View own_rows(const View& full, const ShardCall& call) const {
    return full.row_range(call.first_row + rank() * call.num_rows, call.num_rows);
  }

  /// Of the bytes of a collective a ring sends all but one rank's share.
  void count_sent(std::int64_t bytes) { bytes_sent_ += bytes * (size() - 1) / size(); }

  void check(ncclResult_t result, const char* call) const { handle_->check(result, call); }

  const NcclLibrary& nccl_ = NcclLibrary::of_process();
  std::unique_ptr<Communicator> host_;
  std::shared_ptr<device::Gpu> gpu_;
  device::Stream stream_;
  std::string group_name_;
  std::optional<NcclHandle> handle_;
  ncclComm_t comm_ = nullptr;  ///< the handle's
  std::vector<ncclWindow_t> windows_;
  std::vector<ShardCall> calls_;  ///< of the tensor at hand; grows to the largest and stays
  std::int64_t bytes_sent_ = 0;
  std::optional<NcclWatch> watch_;  ///< last: it ends first
};

}  // namespace

std::string why_no_nccl() {
  return NcclLibrary::of_process().why_not;
}

std::string nccl_version() {
  const NcclLibrary& nccl = NcclLibrary::of_process();
  int version = 0;
  if (!nccl.why_not.empty() || nccl.get_version(&version) != ncclSuccess) return {};
  return NcclLibrary::version_text(version);
}

std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> host,
                                                     std::shared_ptr<device::Gpu> gpu,
                                                     device::Stream stream, std::string group_name,
                                                     bool exchanges_rows) {
  if (host->size() == 1) return host;
  require_nccl();
  return std::make_unique<NcclCommunicator>(std::move(host), std::move(gpu), stream,
                                            std::move(group_name), exchanges_rows);
}

void* allocate_for_nccl(std::int64_t bytes) {
  const NcclLibrary& nccl = NcclLibrary::of_process();
  void* memory = nullptr;
  if (!nccl.why_not.empty() || nccl.allocate == nullptr || nccl.release == nullptr) return nullptr;
  return nccl.allocate(&memory, static_cast<std::size_t>(bytes)) == ncclSuccess ? memory : nullptr;
}

void release_for_nccl(void* memory) noexcept {
  if (memory != nullptr) NcclLibrary::of_process().release(memory);
}

bool register_with_nccl(Communicator& communicator, View memory) {
  auto* nccl = dynamic_cast<NcclCommunicator*>(&communicator);
  return nccl != nullptr && nccl->register_memory(memory);
}

}  // namespace espalier::parallel
