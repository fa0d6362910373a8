#include "parallel/comm/nccl_pipeline_link.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <exception>
#include <optional>
#include <vector>

#include "base/error.hpp"
#include "base/integers.hpp"
#include "parallel/comm/mpi_check.hpp"
#include "parallel/comm/nccl_handle.hpp"

namespace espalier::parallel {

using device::ConstView;
using device::View;
using pipeline::Action;

namespace {

/// Of a message between two GPUs: enough for the fastest network, and little taken from the
/// computation while a receive waits.
constexpr int kMaxCtas = 4;
/// From here on a launch waits for the begin of the one before it, not for its end.
constexpr int kOldestDriver = 12030;

/// Messages of one direction that one stage takes in from a stage of another rank.
struct Edge {
  Edge(bool is_forward, int stage, int peer, bool is_sender, const std::string& id,
       const std::shared_ptr<device::Gpu>& gpu, const pipeline::Placement& placement)
      : forward(is_forward),
        taking_stage(stage),
        sends(is_sender),
        handle(id, is_sender ? 0 : 1, 2, gpu,
               fmt::format("the link of {} to stage {} with pipeline rank {} of {}",
                           is_forward ? "residual streams" : "gradients", stage, peer,
                           placement.ranks),
               kMaxCtas),
        stream(gpu->create_stream(/*urgent=*/true)) {}

  bool forward;
  int taking_stage;
  bool sends;
  NcclHandle handle;
  device::Stream stream;
};

class NcclPipelineLink final : public PipelineLink {
 public:
  NcclPipelineLink(MPI_Comm ranks, const pipeline::Placement& placement,
                   std::shared_ptr<device::Gpu> gpu, device::Stream compute)
      : placement_(placement), gpu_(std::move(gpu)), compute_(compute) {
    check_mpi(MPI_Comm_rank(ranks, &rank_), "MPI_Comm_rank");
    // All ranks go through the links in one order: who waits for its peer waits for one that is
    // not behind it. Every other stage first, so that most pairs of ranks are made at once and not
    // one pair after another along the pipeline.
    for (const bool forward : {true, false})
      for (const int first : {0, 1})
        for (int stage = first; stage < placement_.num_stages(); stage += 2)
          make_edge(ranks, forward, stage);
    ready_ = gpu_->create_event(/*timed=*/false);
    std::vector<const NcclHandle*> handles;
    for (const auto& edge : edges_) handles.push_back(&edge->handle);
    if (!handles.empty()) watch_.emplace(std::move(handles));
  }

  ~NcclPipelineLink() override {
    watch_.reset();
    std::vector<device::Stream> streams;
    for (const auto& edge : edges_) streams.push_back(edge->stream);
    edges_.clear();  // an abort ends kernels that a stream would wait for
    for (const Transfer& transfer : transfers_) gpu_->destroy(transfer.done);
    if (ready_ != nullptr) gpu_->destroy(ready_);
    for (const device::Stream stream : streams) gpu_->destroy(stream);
  }
  NcclPipelineLink(const NcclPipelineLink&) = delete;
  NcclPipelineLink& operator=(const NcclPipelineLink&) = delete;

  void post_receive(const Action& message, int peer, View buffer) override {
    post(message, peer, buffer, /*is_send=*/false);
  }
  void post_send(const Action& message, int peer, ConstView buffer) override {
    post(message, peer, buffer, /*is_send=*/true);
    bytes_sent_ += buffer.size_bytes();
  }
  void wait_receive(const Action& message) override { wait(message, /*is_send=*/false); }
  void wait_send(const Action& message) override { wait(message, /*is_send=*/true); }
  std::int64_t bytes_sent() const override { return bytes_sent_; }

 private:
  struct Transfer {
    Action message;
    bool is_send = false;
    bool is_open = false;  ///< else the entry, and its event, are free
    device::Event done = nullptr;
  };

  void make_edge(MPI_Comm ranks, bool forward, int stage) {
    const int from = forward ? stage - 1 : stage + 1;
    if (from < 0 || from >= placement_.num_stages()) return;
    const int sender = placement_.rank_of(from), taker = placement_.rank_of(stage);
    if (sender == taker || (rank_ != sender && rank_ != taker)) return;
    std::string id =
        rank_ == sender ? NcclHandle::new_id() : std::string(sizeof(ncclUniqueId::internal), '\0');
    const int bytes = narrow<int>(id.size());
    if (rank_ == sender)
      check_mpi(MPI_Send(id.data(), bytes, MPI_BYTE, taker, 0, ranks), "MPI_Send");
    else
      check_mpi(MPI_Recv(id.data(), bytes, MPI_BYTE, sender, 0, ranks, MPI_STATUS_IGNORE),
                "MPI_Recv");
    edges_.push_back(std::make_unique<Edge>(forward, stage, rank_ == sender ? taker : sender,
                                            rank_ == sender, id, gpu_, placement_));
    connect(*edges_.back());
  }

  /// NCCL connects two ranks in the first message between them, and there each waits on the host
  /// for the other. In a step the receives that are posted early would wait for each other; here
  /// all ranks come to the links in one order.
  void connect(const Edge& edge) {
    void* byte = gpu_->allocate("a first message of a pipeline's link", 1);
    const auto result = edge.sends
                            ? nccl_.send(byte, 1, ncclInt8, 1, edge.handle.get(), edge.stream)
                            : nccl_.receive(byte, 1, ncclInt8, 0, edge.handle.get(), edge.stream);
    edge.handle.check(result, edge.sends ? "ncclSend" : "ncclRecv");
    gpu_->synchronize(edge.stream);
    gpu_->release(byte);
  }

  const Edge& edge_of(const Action& message, bool is_send) const {
    for (const auto& edge : edges_)
      if (edge->forward == pipeline::is_forward(message) && edge->taking_stage == message.stage &&
          edge->sends == is_send)
        return *edge;
    fail(ExitStatus::internal, "{} has no link on pipeline rank {}",
         describe_message(message, placement_), rank_);
  }

  void post(const Action& message, int /*peer*/, const ConstView& buffer, bool is_send) {
    ESPALIER_ASSERT(buffer.is_contiguous(), "{}", device::describe(buffer));
    const Edge& edge = edge_of(message, is_send);
    Transfer& transfer = begin(message, is_send);
    gpu_->record(ready_, compute_);
    gpu_->wait(edge.stream, ready_);
    const auto bytes = static_cast<std::size_t>(buffer.size_bytes());
    const int other = is_send ? 1 : 0;  // a communicator of sender and taker
    if (is_send)
      edge.handle.check(
          nccl_.send(buffer.data, bytes, ncclInt8, other, edge.handle.get(), edge.stream),
          "ncclSend");
    else
      edge.handle.check(nccl_.receive(const_cast<void*>(buffer.data), bytes, ncclInt8, other,
                                      edge.handle.get(), edge.stream),
                        "ncclRecv");
    gpu_->record(transfer.done, edge.stream);
  }

  void wait(const Action& message, bool is_send) {
    const auto found = std::find_if(transfers_.begin(), transfers_.end(), [&](const Transfer& t) {
      return t.is_open && t.is_send == is_send && t.message == message;
    });
    ESPALIER_ASSERT(found != transfers_.end(), "{} is waited for and was not posted",
                    describe_message(message, placement_));
    gpu_->wait(compute_, found->done);
    found->is_open = false;
  }

  Transfer& begin(const Action& message, bool is_send) {
    auto free = std::find_if(transfers_.begin(), transfers_.end(),
                             [](const Transfer& transfer) { return !transfer.is_open; });
    if (free == transfers_.end()) {
      transfers_.push_back({.message = {}, .done = gpu_->create_event(/*timed=*/false)});
      free = transfers_.end() - 1;
    }
    free->message = message;
    free->is_send = is_send;
    free->is_open = true;
    return *free;
  }

  const NcclLibrary& nccl_ = NcclLibrary::of_process();
  pipeline::Placement placement_;
  std::shared_ptr<device::Gpu> gpu_;
  device::Stream compute_;
  int rank_ = 0;
  device::Event ready_ = nullptr;  ///< what the compute stream has when a message is posted
  std::vector<std::unique_ptr<Edge>> edges_;
  std::vector<Transfer> transfers_;
  std::int64_t bytes_sent_ = 0;
  std::optional<NcclWatch> watch_;  ///< last: it ends first
};

}  // namespace

std::unique_ptr<PipelineLink> make_nccl_pipeline_link(MPI_Comm ranks,
                                                      const pipeline::Placement& placement,
                                                      std::shared_ptr<device::Gpu> gpu,
                                                      device::Stream compute) {
  require_nccl();
  if (gpu->backend() == device::Backend::cuda) {
    int driver = 0;
    const cudaError_t asked = cudaDriverGetVersion(&driver);
    require(asked == cudaSuccess, ExitStatus::internal, "cudaDriverGetVersion failed: {}",
            cudaGetErrorString(asked));
    require(driver >= kOldestDriver, ExitStatus::bad_configuration,
            "device.communicator = \"nccl\": with parallel.pipeline > 1 it needs a driver of CUDA "
            "12.3 or later, and this one is of CUDA {}.{}: use device.communicator = \"mpi\"",
            driver / 1000, driver % 1000 / 10);
  }
  auto link = std::make_unique<NcclPipelineLink>(ranks, placement, std::move(gpu), compute);
  check_mpi(MPI_Comm_free(&ranks), "MPI_Comm_free");
  return link;
}

}  // namespace espalier::parallel
