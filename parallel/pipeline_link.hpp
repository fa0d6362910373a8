#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "device/context.hpp"
#include "parallel/comm/session.hpp"
#include "parallel/schedule/lowering.hpp"

namespace espalier::parallel {

/// Messages between the stages of a pipeline: the residual stream forward, its gradient backward.
/// The steps of a pipeline::RankProgram but `compute` are its calls, in their order. A message has
/// the name that lowering.hpp gives it, {forward or backward_inputs, stage that takes it in,
/// micro-batch}, and travels between ranks at the same place of their stages: a peer is a rank
/// along the pipeline. Both ends post the messages of one direction and stage in the same order.
///
/// Posting does not wait. Buffers are contiguous, of the same size at both ends, and belong to the
/// link from post to wait. On a GPU a wait is for what the compute stream does next, and a send is
/// of what it has so far.
///
/// While it waits the process is said to wait for the message (base/activity.hpp): "waiting for the
/// residual stream of micro-batch 3 from pipeline rank 1".
class PipelineLink {
 public:
  virtual ~PipelineLink() = default;

  /// From here on the message may arrive in `buffer`.
  virtual void post_receive(const pipeline::Action& message, int peer, device::View buffer) = 0;
  /// It has arrived.
  virtual void wait_receive(const pipeline::Action& message) = 0;
  virtual void post_send(const pipeline::Action& message, int peer, device::ConstView buffer) = 0;
  /// The buffer may be written again; whether the message has arrived is another question.
  virtual void wait_send(const pipeline::Action& message) = 0;
  /// Lets messages travel that need this process for it; every other call does so, too. For the
  /// middle of a computation: costs next to nothing while none is under way.
  virtual void progress() {}

  /// Bytes this rank has sent so far.
  virtual std::int64_t bytes_sent() const = 0;
};

/// "the residual stream of micro-batch 3", "the gradient of micro-batch 3"; of several chunks
/// "the residual stream of micro-batch 3 for stage 5".
std::string describe_message(const pipeline::Action& message, const pipeline::Placement& placement);

/// The links of this rank for memory where `context` computes. MPI: host memory as it is, GPU
/// memory through pinned host memory. NCCL: a communicator for each direction and stage whose
/// neighbour is on another rank, over the two, in streams of its own. `placement` has as many ranks
/// as the pipeline axis. Collective over the session; throws as make_communicators does.
std::unique_ptr<PipelineLink> make_pipeline_link(
    MpiSession& session, const ProcessGrid& grid, const pipeline::Placement& placement,
    const device::Context& context, CollectiveLibrary library = CollectiveLibrary::automatic);

/// What one rank has sent and received over one of its links.
struct LinkCost {
  std::int64_t messages = 0;
  std::int64_t bytes = 0;
  bool operator==(const LinkCost&) const = default;
};

/// Counts messages and hands them on, or, without a link, does nothing else: then buffers may be
/// planned. Says (Error, internal) when a message is waited for that is not posted, or is posted
/// twice.
class CountingLink final : public PipelineLink {
 public:
  /// A link: direction (forward: true), and the rank along the pipeline at its other end.
  using Key = std::pair<bool, int>;
  explicit CountingLink(std::unique_ptr<PipelineLink> inner = nullptr) : inner_(std::move(inner)) {}

  const std::map<Key, LinkCost>& sent() const { return sent_; }
  const std::map<Key, LinkCost>& received() const { return received_; }
  /// Whether something is posted and not waited for.
  bool is_idle() const { return receives_.empty() && sends_.empty(); }

  void post_receive(const pipeline::Action& message, int peer, device::View buffer) override;
  void wait_receive(const pipeline::Action& message) override;
  void post_send(const pipeline::Action& message, int peer, device::ConstView buffer) override;
  void wait_send(const pipeline::Action& message) override;
  void progress() override;
  std::int64_t bytes_sent() const override;

 private:
  std::unique_ptr<PipelineLink> inner_;  ///< null: counts alone
  std::map<Key, LinkCost> sent_, received_;
  std::vector<pipeline::Action> receives_, sends_;  ///< under way
};

}  // namespace espalier::parallel
