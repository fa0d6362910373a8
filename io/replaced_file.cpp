#include "io/replaced_file.hpp"

#include <fcntl.h>

#include <system_error>

#include "io/checkpoint_files.hpp"

namespace espalier::io {

void replace_file(const std::filesystem::path& path, std::string_view text) {
  std::filesystem::path temporary = path;
  temporary += ".tmp";
  try {
    FileDescriptor file(temporary, O_WRONLY | O_CREAT | O_TRUNC);
    file.write_at(text.data(), text.size(), 0);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    throw;
  }
  rename_path(temporary, path);
}

}  // namespace espalier::io
