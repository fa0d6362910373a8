#pragma once
#include <mpi.h>

#include <vector>

#include "parallel/pipeline_link.hpp"

namespace espalier::parallel {

/// Link over MPI, on a communicator of its own whose ranks are those along the pipeline. A tag has
/// direction, stage and micro-batch, the latter modulo what MPI_TAG_UB leaves for it: messages with
/// the same tag arrive in order.
///
/// Host memory travels from and to where it lies. Where MPI cannot copy from one process to another
/// (Open MPI without CMA, as in containers), a long message passes piece by piece through a shared
/// buffer that both ends must look after: until it has gone, every call here asks MPI several
/// times. GPU memory passes through pinned host memory: a send leaves when the copy out is done,
/// which is looked for at every later call; a receive is copied in, in the compute stream, when it
/// is waited for. There the host waits for what arrives.
class MpiPipelineLink final : public PipelineLink {
 public:
  /// No message of MPI is longer: it counts with int.
  static constexpr std::int64_t kMaxPartBytes = std::int64_t{1} << 30;

  /// Takes `communicator` over and frees it. Collective. `gpu` null: the host, without a stream.
  MpiPipelineLink(MPI_Comm communicator, const pipeline::Placement& placement,
                  std::shared_ptr<device::Gpu> gpu, device::Stream compute,
                  std::int64_t max_part_bytes = kMaxPartBytes);
  ~MpiPipelineLink() override;
  MpiPipelineLink(const MpiPipelineLink&) = delete;
  MpiPipelineLink& operator=(const MpiPipelineLink&) = delete;

  void post_receive(const pipeline::Action& message, int peer, device::View buffer) override;
  void wait_receive(const pipeline::Action& message) override;
  void post_send(const pipeline::Action& message, int peer, device::ConstView buffer) override;
  void wait_send(const pipeline::Action& message) override;
  void progress() override;
  std::int64_t bytes_sent() const override { return bytes_sent_; }

 private:
  /// Pinned host memory and the moment when the copy from or to it is done.
  struct Pinned {
    void* memory = nullptr;
    std::int64_t bytes = 0;
    device::Event copied = nullptr;
    bool is_held = false;     ///< by a transfer
    bool is_copying = false;  ///< until `copied`
  };
  struct Transfer {
    pipeline::Action message;
    bool is_send = false;
    bool is_open = false;    ///< else the entry is free
    bool has_left = false;   ///< its requests are MPI's
    bool is_waited = false;  ///< the caller has its buffer again
    int peer = 0;
    void* data = nullptr;  ///< what MPI reads or writes
    device::View buffer;   ///< of a receive on a GPU: where it goes
    std::int64_t bytes = 0;
    int pinned = -1;
    const char* waiting = "";  ///< activity
    std::vector<MPI_Request> parts;
  };

  int tag_of(const pipeline::Action& message) const;
  Transfer& begin(const pipeline::Action& message, bool is_send, int peer, std::int64_t bytes);
  Transfer& find(const pipeline::Action& message, bool is_send);
  void leave(Transfer& transfer);  ///< hands it to MPI
  bool is_done(Transfer& transfer);
  void close(Transfer& transfer);
  void look_after_transfers();
  bool is_sending() const;
  int take_pinned(std::int64_t bytes);
  bool is_copied(Pinned& pinned);

  MPI_Comm communicator_;
  pipeline::Placement placement_;
  std::shared_ptr<device::Gpu> gpu_;
  device::Stream compute_, copies_ = nullptr;
  device::Event ready_ = nullptr;  ///< what the compute stream has when a send is posted
  std::int64_t max_part_bytes_;
  std::int64_t tag_micro_batches_;  ///< micro-batches with tags of their own
  /// In the order of posting, so that what waits for a copy leaves in it; entries are used again.
  std::vector<Transfer> transfers_;
  std::vector<std::size_t> order_;
  std::vector<Pinned> pinned_;
  std::int64_t bytes_sent_ = 0;
};

}  // namespace espalier::parallel
