#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "io/checkpoint_files.hpp"
#include "io/hdf5.hpp"

namespace espalier::io {

/// The content of an HDF5 file in memory, with holes where nothing was written. HDF5 makes the
/// structure of a file here and the program itself brings it to the disk, because HDF5 1.10 does
/// not survive a disk that fills up while it closes a file: it crashes when the program ends. The
/// data of datasets, gigabytes, never pass through it.
class Hdf5Image {
 public:
  void write(std::uint64_t offset, const void* data, std::uint64_t bytes);
  void read(std::uint64_t offset, void* data, std::uint64_t bytes) const;  ///< holes read as zeros
  std::uint64_t size() const { return size_; }
  void resize(std::uint64_t bytes) { size_ = bytes; }

  /// action(offset, bytes) for what was written, in order; the last may reach beyond size().
  void for_each_block(
      const std::function<void(std::uint64_t, std::span<const std::byte>)>& action) const;
  /// Makes the file `path` of this content and size. Not flushed. Throws Error (io_error).
  FileDescriptor save_as(const std::filesystem::path& path) const;

 private:
  static constexpr std::uint64_t kBlockBytes = 64 * 1024;
  std::map<std::uint64_t, std::vector<std::byte>> blocks_;  ///< by number
  std::uint64_t size_ = 0;
};

/// Makes files opened with `access` live in `image`, which must outlive them. Needs hdf5_lock().
void use_image(hid_t access, Hdf5Image& image);

}  // namespace espalier::io
