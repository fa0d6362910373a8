#pragma once
#include <span>
#include <string>

#include "config/parameters.hpp"

namespace espalier::commands {

/// The input of a command that works on a trained model: what the checkpoint was written with, on
/// the grid and with the files and tables that `input` names (null: their defaults, and the
/// checkpoint's [generate]), then `overrides`. evaluation.checkpoint and generate.checkpoint become
/// the folder found.
///
/// `named`: a checkpoint folder, a folder of checkpoints or a run folder, of which the newest is
/// taken; empty: the newest of input's output.directory. Throws Error (bad_data): none there, or
/// damaged.
config::Parameters parameters_of_checkpoint(const std::string& named,
                                            const config::Parameters* input,
                                            std::span<const std::string> overrides);

}  // namespace espalier::commands
