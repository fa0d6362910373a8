#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "base/error.hpp"
#include "io/file_kind.hpp"

namespace espalier::io {

/// A packed file whose data is damaged or cut off.
class DamagedFileError : public Error {
 public:
  explicit DamagedFileError(const std::string& message) : Error(ExitStatus::bad_data, message) {}
};

/// The bytes of a file or stream ("-": standard input), unpacked on the way when its first bytes or
/// its name say that it is packed (io/file_kind.hpp): gzip, bzip2, xz or Zstandard, also several
/// parts one after another. Everything is read in order and once.
class ByteSource {
 public:
  /// Throws Error (bad_data) when the file is missing, a folder, or cannot be opened.
  static std::unique_ptr<ByteSource> open(const std::filesystem::path& path);
  /// Of the bytes `begin` to `end` of the file as it lies on the disk, which is no stream; a packed
  /// file must have a packed part that begins at `begin`.
  static std::unique_ptr<ByteSource> open(const std::filesystem::path& path, std::uint64_t begin,
                                          std::uint64_t end);
  virtual ~ByteSource() = default;

  /// Fills the front of `out` and returns how much; 0 only at the end. Throws
  /// DamagedFileError, and as InputFile::read.
  virtual std::size_t read(std::span<char> out) = 0;
  /// Bytes of the file taken so far, as they lie on the disk.
  virtual std::uint64_t position() const = 0;
  /// Bytes of the file on the disk; a stream: 0.
  virtual std::uint64_t size() const = 0;
};

}  // namespace espalier::io
