#pragma once
#include <string>

#include "plan/estimate/estimate.hpp"

namespace espalier::plan {

/// A run input as a document: what was planned and what is expected of it as comments, then every
/// key that differs from its default, and those that a layout decides. Reading it gives the
/// layout's parameters, without the tables that only plans have.
std::string run_input(const Layout& layout, const config::HardwareParameters& hardware);

/// "qwen3-32b-1024-b200": the run's name, ranks and the device, as a name of a file.
std::string run_input_name(const Layout& layout, const config::HardwareParameters& hardware);

/// Throws Error (bad_configuration) where write_run_input would for a file that is there.
void require_new_run_input(const std::string& folder, const Layout& layout,
                           const config::HardwareParameters& hardware);
/// Writes it as <folder>/<run_input_name>.toml and returns that path. Throws Error
/// (bad_configuration) where such a file is, (io_error) where it cannot be written.
std::string write_run_input(const std::string& folder, const Layout& layout,
                            const config::HardwareParameters& hardware);

}  // namespace espalier::plan
