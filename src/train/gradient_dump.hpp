#pragma once
#include <filesystem>

#include "optim/optimizer.hpp"
#include "parallel/comm/communicator.hpp"

namespace espalier::train {

/// debug.dump_gradients: the reduced gradients of a step, before clipping, as global tensors in one
/// HDF5 file. The ranks write one after another; meant for small models. Collective. Throws Error
/// (io_error).
void dump_gradients(device::Context& context, const std::filesystem::path& path,
                    optim::Optimizer& optimizer, parallel::Communicator& world);

}  // namespace espalier::train
