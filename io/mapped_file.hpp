#pragma once
#include <cstddef>
#include <filesystem>
#include <span>

namespace espalier::io {

/// A whole file mapped for reading. Move-only owner; the bytes live as long as it does, also when
/// the file is unlinked meanwhile.
class MappedFile {
 public:
  /// Throws Error (io_error) when the file cannot be opened or mapped.
  explicit MappedFile(std::filesystem::path path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile();
  std::span<const std::byte> bytes() const { return bytes_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
};

}  // namespace espalier::io
