#include "train/fault_injector.hpp"

#include <algorithm>
#include <csignal>
#include <limits>
#include <string>

#include "base/log.hpp"

namespace espalier::train {
namespace {

constexpr std::int64_t kStride = 7919;  // a prime

}  // namespace

FaultInjector::FaultInjector(const MonitoredRun& run) : run_(run) {
  for (const std::string& text : run.parameters.debug.faults)
    if (const auto fault = config::parse_fault(text)) left_.push_back(*fault);
}

StepFault FaultInjector::before_step(std::int64_t step) {
  using Kind = config::Fault::Kind;
  StepFault of_step;
  std::erase_if(left_, [&](const config::Fault& fault) {
    if (fault.step != step) return false;
    const bool is_here = fault.rank == run_.session.rank();
    if (fault.kind == Kind::loss_spike) {
      of_step.loss_factor *= 1000.0;
      of_step.gradient_factor *= 1000.0F;
    }
    if (!is_here) return true;
    log::warn("debug.faults: a fault is injected in step {}", step);
    if (fault.kind == Kind::nan_gradient)
      of_step.gradient_factor = std::numeric_limits<float>::quiet_NaN();
    if (fault.kind == Kind::flip_weight) flip_weight(step);
    if (fault.kind == Kind::stop_rank) std::raise(SIGSTOP);
    if (fault.kind == Kind::kill_rank) std::raise(SIGKILL);
    return true;
  });
  return of_step;
}

// Another place for each step, so that trials at random steps are trials at random places.
void FaultInjector::flip_weight(std::int64_t step) {
  device::Context& context = run_.rank_context.context;
  parallel::ParameterStore& store = *run_.model.memory.parameter_store;
  store.wait_for_gathers(context);
  std::vector<const parallel::LocalTensor*> tensors;
  for (const parallel::LocalTensor& tensor : store.tensors())
    if (tensor.weight.exists()) tensors.push_back(&tensor);
  if (tensors.empty()) return;
  const parallel::LocalTensor& tensor = *tensors[static_cast<std::size_t>(step) % tensors.size()];
  const std::int64_t place = step * kStride % tensor.weight.size();
  const device::View element = tensor.weight.row_range(place / tensor.weight.cols, 1)
                                   .col_range(place % tensor.weight.cols, 1);
  unsigned char bytes[sizeof(double)] = {};
  context.download(bytes, element);
  bytes[0] ^= 8U;  // an error in the last places, which no loss shows
  context.upload(element, bytes);
  log::warn("debug.faults: a bit of {} is flipped", tensor.spec->name);
}

}  // namespace espalier::train
