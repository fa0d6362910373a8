#include "parallel/comm/nccl_communicator.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "parallel/comm/nccl_library.hpp"
#include "parallel/comm/nccl_shards.hpp"
#include "parallel/comm/session.hpp"

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

/// Calls something about once a second until it goes.
class Watch {
 public:
  template <class Look>
  explicit Watch(Look look)
      : thread_([this, look] {
          std::unique_lock lock(mutex_);
          while (!changed_.wait_for(lock, std::chrono::seconds(1), [this] { return ends_; }))
            look();
        }) {}
  ~Watch() {
    {
      const std::scoped_lock lock(mutex_);
      ends_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ends_ = false;
  std::thread thread_;
};

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(std::unique_ptr<Communicator> host, std::shared_ptr<device::Gpu> gpu,
                   device::Stream stream, std::string group_name)
      : host_(std::move(host)),
        gpu_(std::move(gpu)),
        stream_(stream),
        group_name_(std::move(group_name)) {
    const std::string shared = ranks_that_share(host_->all_gather(gpu_->description().uuid));
    require(shared.empty(), ExitStatus::bad_configuration,
            "{} of the {} group share a GPU, which NCCL does not allow: use "
            "device.communicator = \"mpi\", or start one rank per GPU",
            shared, group_name_);
    ncclUniqueId id{};
    if (rank() == 0) check(nccl_.get_unique_id(&id), "ncclGetUniqueId");
    const std::string text = host_->broadcast(std::string(id.internal, sizeof(id.internal)), 0);
    std::memcpy(id.internal, text.data(), sizeof(id.internal));
    // A communicator belongs to the GPU that is the thread's when it is made.
    if (gpu_->backend() == device::Backend::cuda) {
      const cudaError_t set = cudaSetDevice(gpu_->ordinal());
      require(set == cudaSuccess, ExitStatus::internal, "cudaSetDevice failed on GPU {}: {}",
              gpu_->ordinal(), cudaGetErrorString(set));
    }
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 1;
    check(nccl_.init_rank(&comm_, size(), id, rank(), &config), "ncclCommInitRankConfig");
    watch_.emplace([this] { look_for_errors(); });
  }

  // While an exception leaves this rank, the others may be anywhere: nothing collective then.
  ~NcclCommunicator() override {
    watch_.reset();
    if (comm_ == nullptr) return;
    if (std::uncaught_exceptions() > 0) {
      if (!in_group_) nccl_.abort(comm_);  // kernels that wait for peers end
      return;
    }
    for (const ncclWindow_t window : windows_) nccl_.deregister_window(comm_, window);
    nccl_.destroy(comm_);
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
  /// All calls for the tensors in one group: as few launches as NCCL can make of them.
  template <class Call>
  void grouped(std::span<const RowShards> tensors, bool sums, Call&& call) {
    if (tensors.empty()) return;
    check(nccl_.group_start(), "ncclGroupStart");
    in_group_ = true;
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
    in_group_ = false;
    check(nccl_.group_end(), "ncclGroupEnd");
  }

  /// This rank's rows of an even call.
  View own_rows(const View& full, const ShardCall& call) const {
    return full.row_range(call.first_row + rank() * call.num_rows, call.num_rows);
  }

  /// Of the bytes of a collective a ring sends all but one rank's share.
  void count_sent(std::int64_t bytes) { bytes_sent_ += bytes * (size() - 1) / size(); }

  std::string explain(ncclResult_t result, const char* call) const {
    const char* last = nccl_.last_error != nullptr ? nccl_.last_error(comm_) : nullptr;
    return fmt::format("{} failed on rank {} of {} of the {} group, GPU {}: {}{}{}", call, rank(),
                       size(), group_name_, gpu_->ordinal(), nccl_.error_string(result),
                       last != nullptr && *last != '\0' ? ": " : "", last != nullptr ? last : "");
  }
  void check(ncclResult_t result, const char* call) const {
    if (result != ncclSuccess) fail(ExitStatus::internal, "{}", explain(result, call));
  }

  /// In the watching thread. The main thread may wait for a stream that never comes past.
  void look_for_errors() const {
    ncclResult_t state = ncclSuccess;
    const ncclResult_t asked = nccl_.get_async_error(comm_, &state);
    if (asked != ncclSuccess) state = asked;
    if (state == ncclSuccess || state == ncclInProgress) return;
    std::fprintf(stderr, "espalier: error: %s\n", explain(state, "a collective").c_str());
    std::fflush(stderr);
    MpiSession::abort(static_cast<int>(ExitStatus::internal));
  }

  const NcclLibrary& nccl_ = NcclLibrary::of_process();
  std::unique_ptr<Communicator> host_;
  std::shared_ptr<device::Gpu> gpu_;
  device::Stream stream_;
  std::string group_name_;
  ncclComm_t comm_ = nullptr;
  std::vector<ncclWindow_t> windows_;
  std::vector<ShardCall> calls_;  ///< of the tensor at hand; grows to the largest and stays
  bool in_group_ = false;
  std::int64_t bytes_sent_ = 0;
  std::optional<Watch> watch_;  ///< last: it ends first
};

}  // namespace

std::string why_no_nccl() {
  return NcclLibrary::of_process().why_not;
}

std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> host,
                                                     std::shared_ptr<device::Gpu> gpu,
                                                     device::Stream stream,
                                                     std::string group_name) {
  if (host->size() == 1) return host;
  const std::string why = why_no_nccl();
  require(why.empty(), ExitStatus::bad_configuration,
          "device.communicator = \"nccl\": {}. Put its folder into LD_LIBRARY_PATH, or use "
          "device.communicator = \"mpi\"",
          why);
  return std::make_unique<NcclCommunicator>(std::move(host), std::move(gpu), stream,
                                            std::move(group_name));
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
