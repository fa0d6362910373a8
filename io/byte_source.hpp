#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

namespace espalier::io {

/// The bytes of a file, unpacked on the way when its name ends in .gz or .dz (gzip, also of several
/// members one after another) or .zst (Zstandard, also of several frames).
class ByteSource {
 public:
  /// Throws Error (bad_data) when the file is missing or cannot be opened.
  static std::unique_ptr<ByteSource> open(const std::filesystem::path& path);
  virtual ~ByteSource() = default;

  /// Fills the front of `out` and returns how much; 0 only at the end. Throws Error (bad_data) when
  /// the packed data is damaged or cut off, Error (io_error) when reading fails.
  virtual std::size_t read(std::span<char> out) = 0;
  /// Bytes of the file taken so far, as they lie on the disk.
  virtual std::uint64_t position() const = 0;
  /// Bytes of the file on the disk.
  virtual std::uint64_t size() const = 0;
};

/// `name` without .gz, .dz or .zst: its extension says what is inside.
std::filesystem::path unpacked_name(const std::filesystem::path& name);

}  // namespace espalier::io
