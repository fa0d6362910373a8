#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

#include "io/checkpoint_files.hpp"

namespace espalier::io {

/// Writes large pieces of a file past the page cache (O_DIRECT): no memory has to be found for
/// gigabytes that nobody reads soon, and what is cached of other files stays. What is not whole
/// pages goes through the cache, and so does everything where the file system cannot do it.
class DirectFile {
 public:
  /// `file` is open for writing and outlives this; nothing else writes to the same pages meanwhile.
  /// `wanted`: false leaves all to the cache.
  DirectFile(FileDescriptor& file, bool wanted);

  /// What is written past the cache is whole pages of this size: what file systems ask for (4096),
  /// or a page of the cache where that is larger (64 KiB on some Arm kernels).
  static std::uint64_t page_bytes();
  /// Throws Error (io_error). `data` needs no alignment.
  void write_at(const void* data, std::uint64_t bytes, std::uint64_t offset);
  bool is_direct() const { return direct_.has_value(); }

 private:
  struct Free {
    void operator()(std::byte* memory) const;
  };
  FileDescriptor& file_;
  std::optional<FileDescriptor> direct_;
  std::unique_ptr<std::byte[], Free> buffer_;  ///< kBufferBytes, aligned to pages
};

}  // namespace espalier::io
