#pragma once
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "device/arena.hpp"
#include "device/context.hpp"
#include "parallel/comm/communicator.hpp"
#include "parallel/layout/grid.hpp"

namespace espalier::parallel {

class MpiCommunicator;

/// Owns MPI for the life of the program: MPI_Init_thread (FUNNELED) and MPI_Finalize. Works as one
/// rank when started without mpirun; joins an MPI that runs already, and then leaves it running.
class MpiSession {
 public:
  MpiSession(int* argc, char*** argv);
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// All ranks. Lives as long as the session.
  Communicator& world();
  /// The same, for what is built upon MPI itself.
  MpiCommunicator& mpi_world() { return *world_; }
  /// A session of the first `size` ranks alone, as if the job had no others; null on those
  /// (collective). It must end before this one does.
  std::unique_ptr<MpiSession> first_ranks(int size);
  /// A barrier whose ranks sleep while they wait: for a long time, in which others of the same host
  /// compute (collective).
  void wait_asleep();
  /// Host name of every rank (collective).
  std::vector<std::string> host_names();
  static std::string library_version();  ///< "Open MPI 4.1.4"
  /// Ends the whole job now with `status`; does not return.
  [[noreturn]] static void abort(int status);

 private:
  explicit MpiSession(std::unique_ptr<MpiCommunicator> world);
  int rank_ = 0;
  int size_ = 1;
  bool owns_mpi_ = false;
  std::unique_ptr<MpiCommunicator> world_;
};

/// The communicators of a rank's groups. Collective over the session.
struct GridCommunicators {
  std::unique_ptr<Communicator> tensor;
  /// The tensor group once more, for collectives beside the computation; null without.
  std::unique_ptr<Communicator> tensor_overlap;
  /// Along it keys and values of the same sequences pass; null without context parallelism.
  std::unique_ptr<Communicator> context;
  /// For gradients and weights (TensorSpec::gradient_span), by ProcessGrid::simplest of their
  /// spans. Over MPI sums are taken within each block of ProcessGrid::block_of consecutive ranks
  /// first, in rank order, and then over the blocks; NCCL's order is its own.
  std::map<Span, std::unique_ptr<Communicator>> gradients;
  /// Along it the rows of tokens are sent to their experts; null where the experts of a layer are
  /// all on this rank.
  std::unique_ptr<Communicator> expert;
  /// The ranks of the first and the last stage at this place, which hold the same embedding; null
  /// where this rank has no such peer, or nothing asked for it (Span::tied).
  std::unique_ptr<Communicator> tied;
  std::unique_ptr<Communicator> world;
};
/// What messages and counts call the group of a gradient's span.
const char* gradient_group_name(Span span);
/// The groups of more than one rank that these spans of gradients need: each once, by
/// ProcessGrid::simplest, in order. Without Span::tied, which is a sum before those.
std::vector<Span> distinct_groups(const ProcessGrid& grid, std::span<const Span> spans);
/// Whether Span::tied is among them.
bool needs_tied(std::span<const Span> spans);
/// What carries collectives of GPU memory; on the host it is always MPI. Automatic is NCCL where
/// every rank has it and a GPU of its own, else MPI through host memory.
enum class CollectiveLibrary { automatic, mpi, nccl };
/// Communicators for memory where `context` computes (null: the host): those of `gradient_spans`
/// in its communication stream for gradients and weights, that of the context group in one of its
/// own, those of the tensor and expert groups in its compute stream. Ranks of other stages may name
/// other spans: each rank gets those of all. Span::tied among them asks for `tied`. `world` is for
/// host values and texts. `overlap_tensor`: tensor_overlap too, in the communication stream of the
/// tensor group.
GridCommunicators make_communicators(MpiSession& session, const ProcessGrid& grid,
                                     std::span<const Span> gradient_spans,
                                     const device::Context* context = nullptr,
                                     CollectiveLibrary library = CollectiveLibrary::automatic,
                                     bool overlap_tensor = false);

/// Where buffers for the tensor group's collectives should lie, so that peers reach them directly
/// (register_buffers): NCCL's memory, where tensor groups have more than one rank and the library
/// is NCCL; else no source. Collective.
device::MemorySource registered_memory(MpiSession& session, const ProcessGrid& grid,
                                       const device::Context& context,
                                       CollectiveLibrary library = CollectiveLibrary::automatic);

/// Registers `memory` of registered_memory with the tensor group's communicator, as
/// register_with_nccl has it: all of it, the same size and use on every rank; no data where this
/// rank has none. Collective over the tensor group. False when peers do not reach it, which changes
/// no result.
bool register_buffers(const GridCommunicators& communicators, device::View memory);

}  // namespace espalier::parallel
