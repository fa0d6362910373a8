#include "io/output_file.hpp"

#include "base/error.hpp"

namespace espalier::io {

namespace fs = std::filesystem;

void require_new_output(const fs::path& path, const std::string& key) {
  std::error_code ignored;
  require(!fs::exists(fs::symlink_status(path, ignored)), ExitStatus::bad_configuration,
          "{}: is there already, and nothing is overwritten. Remove it, or choose another {}",
          path.string(), key);
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  require(path.has_filename() && fs::is_directory(folder, ignored), ExitStatus::bad_configuration,
          "{}: {} is no folder to write a file into. Make it, or correct {}", path.string(),
          folder.string(), key);
}

}  // namespace espalier::io
