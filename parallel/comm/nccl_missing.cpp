#include "base/error.hpp"
#include "parallel/comm/nccl_communicator.hpp"
#include "parallel/comm/nccl_pipeline_link.hpp"

namespace espalier::parallel {

std::string why_no_nccl() {
  return "this program was built without NCCL (nccl.h was not found)";
}

std::string nccl_version() {
  return {};
}

std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> host,
                                                     std::shared_ptr<device::Gpu>, device::Stream,
                                                     std::string, bool) {
  if (host->size() == 1) return host;
  throw Error(ExitStatus::bad_configuration,
              fmt::format("device.communicator = \"nccl\": {}; use device.communicator = \"mpi\"",
                          why_no_nccl()),
              Met::by_every_rank);
}

std::unique_ptr<PipelineLink> make_nccl_pipeline_link(MPI_Comm, const pipeline::Placement&,
                                                      std::shared_ptr<device::Gpu>,
                                                      device::Stream) {
  throw Error(ExitStatus::bad_configuration,
              fmt::format("device.communicator = \"nccl\": {}; use device.communicator = \"mpi\"",
                          why_no_nccl()),
              Met::by_every_rank);
}

void* allocate_for_nccl(std::int64_t) {
  return nullptr;
}
void release_for_nccl(void*) noexcept {}
bool register_with_nccl(Communicator&, device::View) {
  return false;
}

}  // namespace espalier::parallel
