// Lets the imitated NCCL of tests/mpi/nccl into the emulated GPU's memory: it looks for these
// functions in the program that loads it.
#include <memory>
#include <vector>

#include "device/gpu.hpp"

namespace {
std::vector<std::unique_ptr<espalier::device::EmulatedAccess>> inside;
}  // namespace

extern "C" {
void imitated_nccl_enter_device_memory() {
  inside.push_back(std::make_unique<espalier::device::EmulatedAccess>());
}
void imitated_nccl_leave_device_memory() {
  inside.pop_back();
}
}
