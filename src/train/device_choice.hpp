#pragma once
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "device/arena.hpp"
#include "device/gemm.hpp"
#include "device/gpu.hpp"
#include "io/checkpoint.hpp"
#include "parallel/comm/session.hpp"

namespace espalier::train {

/// The GPU of this rank, or null for the host (collective). The ranks of a node take its GPUs in
/// rank order, out of those that each of them sees (CUDA_VISIBLE_DEVICES, or Slurm, may show each
/// rank another one) and that the program has code for. `auto` is cuda where every rank has one of
/// its own, else host, which the log explains where GPUs are.
///
/// Throws Error (bad_configuration, on every rank) when a rank has no GPU or cannot open it, and
/// when a node has more ranks than GPUs, unless device.share_gpus; with `auto` only when another
/// node has enough.
std::shared_ptr<device::Gpu> choose_gpu(parallel::MpiSession& session,
                                        const config::DeviceParameters& parameters);

/// What choose_gpu will choose, without opening it and without a line in the log (collective): for
/// a plan, which can be made for cuda on a machine without a GPU.
device::Backend choose_backend(parallel::MpiSession& session,
                               const config::DeviceParameters& parameters);

/// Where `gpu` computes; null is the host.
device::Backend backend_of(const std::shared_ptr<device::Gpu>& gpu);

/// device.communicator.
parallel::CollectiveLibrary collective_library(const config::DeviceParameters& parameters);

/// Where the activations are NCCL's memory: registers them with the tensor group, so that its
/// collectives go from one GPU's activations to another's without copies between, and says in the
/// log whether they do (collective).
void register_activations(const parallel::GridCommunicators& communicators,
                          const device::Arena& activations);

/// A line per rank, for the banner (collective): "rank 0: node017, GPU 0 NVIDIA H100 80GB HBM3,
/// NUMA 0, mlx5_0". Neighbours that say the same share one: "ranks 0-3: node017, host".
std::string describe_devices(parallel::MpiSession& session,
                             const std::shared_ptr<device::Gpu>& gpu);

/// Throws Error (bad_configuration, on every rank) when matrix products are to be measured
/// (Gemm::set_tuning) and a rank has another GPU model or version of the library than rank 0, whose
/// algorithms mean nothing there (collective).
void require_same_products(parallel::MpiSession& session, const device::Gemm& gemm);

/// Every rank takes the matrix algorithms that rank 0 has measured, and only those, so that equal
/// products have equal bits everywhere, and rank 0 keeps them for the next run (collective). For
/// when every product has been met: nothing is measured later. Graphs that were captured before
/// keep the old ones (Context::use_graphs forgets them). The ranks of a stage have the same
/// products; of `num_stages` each adds those that the ones before it do not have.
void share_gemm_algorithms(parallel::MpiSession& session, device::Gemm& gemm, int num_stages = 1);

/// Among the small files of a checkpoint of a GPU run.
inline constexpr const char* kGemmChoicesFile = "gemm_choices.txt";
/// The matrix algorithms of this job as a file of its checkpoints; none where nothing was measured.
/// After share_gemm_algorithms.
std::vector<io::KeptFile> gemm_algorithms_to_keep(const device::Gemm& gemm);
/// Takes up the algorithms of the checkpoint in `folder`, so that the run goes on bit for bit
/// although the machine that measured them, or what it kept, is gone (collective). The log says so
/// when they are of another GPU model or library. Without such a file nothing happens.
void resume_gemm_algorithms(parallel::MpiSession& session, device::Gemm& gemm,
                            const std::filesystem::path& folder);

/// What a rank sees of its node.
struct VisibleGpus {
  std::string host;
  std::vector<std::string> uuids;  ///< by ordinal; empty where the program has no code for it
  std::string problem = {};        ///< why none of them can be used; empty where one can
  bool has_driver = false;         ///< a machine of GPUs, even where none is seen
};
/// For every rank the ordinal of its GPU: its own one as long as there are enough, the first that
/// are free in rank order; with `share`, further ranks take those with the fewest ranks. Throws
/// Error (bad_configuration, met by every rank) when there are not enough, or a rank sees none.
std::vector<int> assign_gpus(std::span<const VisibleGpus> ranks, bool share);

/// The same for `auto`: empty where no node has enough, with the first one's reason in `why_host`,
/// which is empty, too, where no node has a GPU or a driver for one: none is expected there.
/// That only some have is no job for the hosts of all, but for a person: a node has lost its GPU.
/// Throws as above, with the node to leave out.
std::vector<int> assign_gpus_or_host(std::span<const VisibleGpus> ranks, bool share,
                                     std::string& why_host);

}  // namespace espalier::train
