#pragma once
#include <span>
#include <string>

#include "config/parameters.hpp"

namespace espalier::io {

/// Sets `parameters` from TOML text, then from overrides "section.key=value" (the value as TOML; a
/// bare word is a string). model.file is read first, relative to the folder of `file_name`, when it
/// exists there, else relative to the working directory. Throws Error (bad_configuration): an
/// unknown key names file, line and the nearest key; a wrong type or range names what is allowed.
void read_parameters(const std::string& text, const std::string& file_name,
                     std::span<const std::string> overrides, config::Parameters& parameters);

/// The same, with the mistakes returned in place of thrown, so that more can be looked for: what is
/// wrong keeps its default. A text that is not TOML, and a malformed override, are thrown.
config::Mistakes read_parameters_noting(const std::string& text, const std::string& file_name,
                                        std::span<const std::string> overrides,
                                        config::Parameters& parameters);

}  // namespace espalier::io
