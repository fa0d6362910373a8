#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>

namespace espalier::io {

/// The name of standard input.
inline constexpr const char* kStandardInput = "-";

/// Whether the name means something that can be read only once: standard input ("-"), a pipe, a
/// named pipe, a terminal, another device.
bool is_stream(const std::filesystem::path& path);

/// The bytes of a file or stream as they come, in order and once. Move-only owner.
class InputFile {
 public:
  /// Opens it; a named pipe need not have its writer yet. Throws Error (bad_data) when it is
  /// missing, a folder, a block device or a socket, or cannot be opened.
  explicit InputFile(const std::filesystem::path& path);
  /// Bytes `begin` to `end` (or the end of the file) of a file that is no stream, alone. Positions
  /// count from the file's first byte.
  InputFile(const std::filesystem::path& path, std::uint64_t begin, std::uint64_t end);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  /// The next `count` bytes, which stay unread; fewer only at the end. Throws as read().
  std::string_view peek(std::size_t count);
  /// Fills the front of `out` and returns how much; 0 only at the end. Throws Error (io_error) when
  /// reading fails, Error (stopped_early) when a stop is requested and this is a stream.
  std::size_t read(std::span<char> out);
  std::uint64_t position() const {
    return position_;
  }                                             ///< behind the last byte that read() gave out
  std::uint64_t size() const { return size_; }  ///< on the disk; a pipe: 0
  const std::filesystem::path& path() const { return path_; }

 private:
  std::size_t read_from_system(std::span<char> out);
  void wait_for_stream();

  std::filesystem::path path_;
  int file_ = -1;
  bool owned_ = true;  ///< standard input is not
  bool is_stream_ = false;
  std::string peeked_;
  std::uint64_t position_ = 0;
  std::uint64_t size_ = 0;
  std::uint64_t left_ = std::numeric_limits<std::uint64_t>::max();  ///< of the range
};

}  // namespace espalier::io
