#pragma once
#include <string>

namespace espalier::io {

/// Replaces a leading "~" or "~name" of a path, as shells do where they see it (behind
/// `output.directory=` and in a file they do not), by that person's home directory. Returns what is
/// wrong when there is none; nothing: done, or no such beginning. A folder that is really called ~
/// is written "./~".
std::string expand_home(std::string& path);

}  // namespace espalier::io
