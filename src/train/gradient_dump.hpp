#pragma once
#include <filesystem>

#include "parallel/comm/communicator.hpp"
#include "parallel/parameter_store.hpp"

namespace espalier::train {

/// debug.dump_gradients: the reduced gradients of a step, before clipping, as global tensors in one
/// HDF5 file. The ranks write one after another; meant for small models. Collective. Throws Error
/// (io_error).
void dump_gradients(device::Context& context, const std::filesystem::path& path,
                    const parallel::ParameterStore& parameters, parallel::Communicator& world);

}  // namespace espalier::train
