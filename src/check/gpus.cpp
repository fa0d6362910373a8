#include "check/job.hpp"
#include "parallel/comm/nccl_communicator.hpp"
#include "train/device_choice.hpp"

namespace espalier::check {
namespace {

using device::Backend;
using device::Gpu;

std::string capability_text(int capability) {
  return fmt::format("{}.{}", capability / 10, capability % 10);
}

void add_nccl(Job& job, std::vector<Finding>& findings) {
  const std::string& wanted = job.parameters.device.communicator;
  if (wanted == "mpi") {
    findings.push_back(ok("NCCL", "not asked for (device.communicator = \"mpi\")"));
    return;
  }
  const auto answers = on_every_rank(job.session, [] {
    const std::string why = parallel::why_no_nccl();
    if (!why.empty()) throw Error(ExitStatus::bad_configuration, why);
    return why;
  });
  const Errors errors = errors_of(answers, job.hosts);
  const char* remedy =
      "put libnccl.so.2 (2.26 or later) into LD_LIBRARY_PATH on every node, or use "
      "device.communicator = \"mpi\"";
  if (errors.text.empty())
    findings.push_back(ok("NCCL", "found on every rank"));
  else if (wanted == "nccl")
    findings.push_back(problem("NCCL", ExitStatus::bad_configuration, errors.text, remedy));
  else
    findings.push_back(warning(
        "NCCL", errors.text + "\ncollectives would go through host memory, much slower", remedy));
}

}  // namespace

std::vector<Finding> check_gpus(Job& job) {
  std::vector<Finding> findings;
  const std::string& backend = job.parameters.device.backend;
  if (!job.is_resolved) {
    findings.push_back(warning("GPUs", "not tried: the input must make sense first"));
    return findings;
  }
  try {
    job.rank_context.emplace(job.session, job.parameters);
  } catch (const Error& error) {
    if (error.met() != Met::by_every_rank && job.session.size() > 1) throw;
    findings.push_back(problem("GPUs", error.status(), error.what()));
    return findings;
  }
  if (job.rank_context->gpu == nullptr) {
    if (backend == "host")
      findings.push_back(ok("GPUs", "none is asked for (device.backend = \"host\")"));
    else
      findings.push_back(ok("GPUs", fmt::format("none (rank 0: {}): the host computes",
                                                Gpu::why_none(Backend::cuda))));
    return findings;
  }
  const std::string devices = train::describe_devices(job.session, job.rank_context->gpu);
  if (job.rank_context->gpu->backend() == Backend::emulated) {
    findings.push_back(
        warning("GPUs", "emulated on the host, for tests: very slow", "device.backend = \"auto\""));
    return findings;
  }
  const Gpu::Description& d = job.rank_context->gpu->description();
  findings.push_back(ok("GPUs", devices));
  findings.push_back(ok("driver and code",
                        fmt::format("{}; compute capability {}, for which this program has code",
                                    d.versions, capability_text(d.compute_capability))));
  add_nccl(job, findings);
  return findings;
}

}  // namespace espalier::check
