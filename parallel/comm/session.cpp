#include "parallel/comm/session.hpp"

#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <exception>
#include <set>

#include "base/error.hpp"
#include "parallel/comm/mpi_check.hpp"
#include "parallel/comm/mpi_communicator.hpp"
#include "parallel/comm/mpi_pipeline_link.hpp"
#include "parallel/comm/nccl_communicator.hpp"
#include "parallel/comm/nccl_pipeline_link.hpp"
#include "parallel/comm/nccl_shards.hpp"
#include "parallel/comm/staged_communicator.hpp"

namespace espalier::parallel {
namespace {

/// How long a rank sleeps between two looks at whether all have come.
constexpr useconds_t kNap_us = 2000;

MPI_Comm duplicate_of(MPI_Comm all) {
  MPI_Comm duplicate = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(all, &duplicate), "MPI_Comm_dup");
  return duplicate;
}

/// Those of `all` with the same colour, in their order; null for those without (MPI_UNDEFINED).
/// Collective.
MPI_Comm part_of(MPI_Comm all, int colour, int rank) {
  MPI_Comm part = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split(all, colour, rank, &part), "MPI_Comm_split");
  return part;
}

/// Whether GPU memory travels by NCCL: the same answer, or the same error, on every rank.
/// Collective.
bool uses_nccl(Communicator& world, const device::Gpu& gpu, CollectiveLibrary library) {
  const bool automatic = library == CollectiveLibrary::automatic;
  if (library == CollectiveLibrary::mpi) return false;
  if (automatic && gpu.backend() != device::Backend::cuda) return false;
  const bool here = why_no_nccl().empty();
  const std::vector<std::string> gpus =
      world.all_gather(here ? gpu.description().uuid : std::string());
  if (automatic) return nccl_serves(gpus);
  const bool everywhere = std::find(gpus.begin(), gpus.end(), "") == gpus.end();
  if (!everywhere) return true;  // making the communicator says what is missing
  if (const std::string shared = ranks_that_share(gpus); !shared.empty())
    throw Error(ExitStatus::bad_configuration,
                fmt::format("device.communicator = \"nccl\": {} share a GPU, which NCCL does not "
                            "allow: use \"mpi\", or start one rank per GPU",
                            shared),
                Met::by_every_rank);
  return true;
}

}  // namespace

MpiSession::MpiSession(int* argc, char*** argv) {
  int initialized = 0;
  check_mpi(MPI_Initialized(&initialized), "MPI_Initialized");
  if (initialized == 0) {
    int provided = MPI_THREAD_SINGLE;
    check_mpi(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
    require(provided >= MPI_THREAD_FUNNELED, ExitStatus::internal,
            "{} does not support MPI_THREAD_FUNNELED, which the host threads need",
            library_version());
    owns_mpi_ = true;
  }
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  world_ =
      std::make_unique<MpiCommunicator>(duplicate_of(MPI_COMM_WORLD), std::make_shared<Staging>());
  rank_ = world_->rank();
  size_ = world_->size();
}

MpiSession::MpiSession(std::unique_ptr<MpiCommunicator> world) : world_(std::move(world)) {
  rank_ = world_->rank();
  size_ = world_->size();
}

// While an exception leaves this rank, the others may be waiting in a collective: MPI_Finalize
// would wait with them for ever. The one catch of the program then calls abort.
MpiSession::~MpiSession() {
  world_.reset();
  if (owns_mpi_ && (size_ == 1 || std::uncaught_exceptions() == 0)) MPI_Finalize();
}

Communicator& MpiSession::world() {
  return *world_;
}

std::unique_ptr<MpiSession> MpiSession::first_ranks(int size) {
  ESPALIER_ASSERT(size >= 1 && size <= size_, "the first {} of {} ranks", size, size_);
  MPI_Comm part = part_of(world_->handle(), rank_ < size ? 0 : MPI_UNDEFINED, rank_);
  if (part == MPI_COMM_NULL) return nullptr;
  return std::unique_ptr<MpiSession>(
      new MpiSession(std::make_unique<MpiCommunicator>(part, std::make_shared<Staging>())));
}

void MpiSession::wait_asleep() {
  MPI_Request all_are_here = MPI_REQUEST_NULL;
  check_mpi(MPI_Ibarrier(world_->handle(), &all_are_here), "MPI_Ibarrier");
  for (int done = 0; done == 0;) {
    check_mpi(MPI_Test(&all_are_here, &done, MPI_STATUS_IGNORE), "MPI_Test");
    if (done == 0) usleep(kNap_us);
  }
}

std::vector<std::string> MpiSession::host_names() {
  std::array<char, 256> name{};
  const int failed = gethostname(name.data(), name.size() - 1);
  return world_->all_gather(failed == 0 ? std::string(name.data()) : std::string("unknown"));
}

std::string MpiSession::library_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  check_mpi(MPI_Get_library_version(text.data(), &length), "MPI_Get_library_version");
  // "Open MPI v4.1.4, package: ..." or "MPICH Version: 4.0.2\nMPICH Release date: ..."
  std::string version(text.data(), static_cast<std::size_t>(length));
  version = version.substr(0, version.find_first_of(",\n"));
  if (const auto v = version.find(" v"); v != std::string::npos) version.erase(v + 1, 1);
  std::replace(version.begin(), version.end(), '\t', ' ');
  return version;
}

void MpiSession::abort(int status) {
  int initialized = 0;
  int finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  if (initialized != 0 && finalized == 0) MPI_Abort(MPI_COMM_WORLD, status);
  std::_Exit(status);
}

const char* gradient_group_name(Span span) {
  if (span == Span::tokens_shared) return "data";
  if (span == Span::expert_data) return "expert data";
  return span == Span::kv_tokens ? "kv replicas x data" : "tensor x data";
}

std::vector<Span> distinct_groups(const ProcessGrid& grid, std::span<const Span> spans) {
  std::set<Span> distinct;
  for (const Span span : spans)
    if (span != Span::tied && grid.size_of(span) > 1) distinct.insert(grid.simplest(span));
  return {distinct.begin(), distinct.end()};
}

namespace {

/// The spans of all ranks: stages have other tensors, and every rank must make the same groups.
/// Collective.
std::vector<Span> spans_of_all(Communicator& world, std::span<const Span> spans) {
  std::vector<double> wanted(static_cast<std::size_t>(Span::world) + 1);
  for (const Span span : spans) wanted[static_cast<std::size_t>(span)] = 1.0;
  world.all_reduce_max(wanted);
  std::vector<Span> all;
  for (std::size_t i = 0; i < wanted.size(); ++i)
    if (wanted[i] > 0.0) all.push_back(static_cast<Span>(i));
  return all;
}

}  // namespace

bool needs_tied(std::span<const Span> spans) {
  return std::find(spans.begin(), spans.end(), Span::tied) != spans.end();
}

GridCommunicators make_communicators(MpiSession& session, const ProcessGrid& grid,
                                     std::span<const Span> gradient_spans,
                                     const device::Context* context, CollectiveLibrary library,
                                     bool overlap_tensor) {
  if (grid.size() != session.size()) {
    throw Error(ExitStatus::bad_configuration,
                fmt::format("the process grid {} does not fit a job of {} ranks; change "
                            "parallel.tensor, parallel.data or the number of ranks",
                            grid.describe(), session.size()),
                Met::by_every_rank);
  }
  ESPALIER_ASSERT(grid.rank() == session.rank(), "grid of rank {} on rank {}", grid.rank(),
                  session.rank());

  const auto staging = std::make_shared<Staging>();
  MPI_Comm all = session.mpi_world().handle();
  const bool on_host = context == nullptr || context->on_host();
  const bool through_nccl = !on_host && uses_nccl(session.world(), *context->gpu(), library);
  const auto make = [&](Span span, const device::Queue& queue,
                        const char* group_name) -> std::unique_ptr<Communicator> {
    auto host =
        std::make_unique<MpiCommunicator>(part_of(all, grid.first_of(span), grid.rank()), staging,
                                          MpiCommunicator::kMaxMessageBytes, grid.block_of(span));
    if (on_host) return host;
    // A group of one rank only copies, now and then.
    if (through_nccl && host->size() > 1)
      return make_nccl_communicator(std::move(host), context->shared_gpu(), queue.stream,
                                    group_name);
    return std::make_unique<StagedCommunicator>(std::move(host), context->shared_gpu(),
                                                queue.stream);
  };
  using CommunicationStream = device::Context::CommunicationStream;
  const device::Queue none;
  const device::Queue& compute = on_host ? none : context->queue();
  const auto beside = [&](CommunicationStream stream) -> const device::Queue& {
    return on_host ? none : context->communication_queue(stream);
  };
  GridCommunicators result;
  result.tensor = make(Span::tensor, compute, "tensor");
  if (overlap_tensor && grid.shape().tensor > 1)
    result.tensor_overlap =
        make(Span::tensor, beside(CommunicationStream::tensor), "tensor (overlap)");
  if (grid.shape().context > 1)
    result.context = make(Span::context, beside(CommunicationStream::context), "context");
  const std::vector<Span> spans = spans_of_all(session.world(), gradient_spans);
  for (const Span span : distinct_groups(grid, spans))
    result.gradients[span] =
        make(span, beside(CommunicationStream::data), gradient_group_name(span));
  if (grid.views().expert > 1) result.expert = make(Span::expert, compute, "expert");
  if (grid.shape().pipeline > 1 && needs_tied(spans)) {
    result.tied = make(Span::tied, beside(CommunicationStream::data), "tied");
    if (result.tied->size() == 1) result.tied = nullptr;  // a stage between
  }
  result.world = std::make_unique<MpiCommunicator>(duplicate_of(all), staging);
  return result;
}

std::unique_ptr<PipelineLink> make_pipeline_link(MpiSession& session, const ProcessGrid& grid,
                                                 const pipeline::Placement& placement,
                                                 const device::Context& context,
                                                 CollectiveLibrary library) {
  ESPALIER_ASSERT(placement.ranks == grid.shape().pipeline && grid.size() == session.size(),
                  "a pipeline of {} ranks on {}, {} ranks", placement.ranks, grid.describe(),
                  session.size());
  MPI_Comm ranks =
      part_of(session.mpi_world().handle(), grid.first_of(Span::pipeline), grid.rank());
  if (context.on_host())
    return std::make_unique<MpiPipelineLink>(ranks, placement, nullptr, nullptr);
  if (uses_nccl(session.world(), *context.gpu(), library))
    return make_nccl_pipeline_link(ranks, placement, context.shared_gpu(), context.queue().stream);
  return std::make_unique<MpiPipelineLink>(ranks, placement, context.shared_gpu(),
                                           context.queue().stream);
}

device::MemorySource registered_memory(MpiSession& session, const ProcessGrid& grid,
                                       const device::Context& context, CollectiveLibrary library) {
  if (grid.shape().tensor == 1 || context.on_host()) return {};
  if (!uses_nccl(session.world(), *context.gpu(), library)) return {};
  return {.allocate = allocate_for_nccl, .release = release_for_nccl};
}

bool register_buffers(const GridCommunicators& communicators, device::View memory) {
  return register_with_nccl(*communicators.tensor, memory);
}

}  // namespace espalier::parallel
