#pragma once
#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <vector>

#include "io/byte_source.hpp"
#include "io/input_file.hpp"

namespace espalier::io {

/// What unpackers share: the packed bytes at hand, and what is said of bad ones. What was unpacked
/// before the damage is given out first.
class PackedSource : public ByteSource {
 public:
  PackedSource(std::unique_ptr<InputFile> file, const char* kind);
  std::size_t read(std::span<char> out) final;
  std::uint64_t position() const override { return file_->position() - input_.size(); }
  std::uint64_t size() const override { return file_->size(); }

 protected:
  /// Makes packed bytes available; false at the end of the file.
  bool refill();
  /// As read(), but that damaged() and cut_off() may be called.
  virtual std::size_t unpack(std::span<char> out) = 0;
  /// Throw DamagedFileError. `num_unpacked` bytes of this call are good.
  [[noreturn]] void damaged(const char* reason, std::size_t num_unpacked = 0);
  [[noreturn]] void cut_off(std::size_t num_unpacked = 0);
  std::span<char> input_;

 private:
  std::unique_ptr<InputFile> file_;
  const char* kind_;              ///< "gzip"
  std::size_t num_unpacked_ = 0;  ///< before the damage
  std::exception_ptr damage_;     ///< for the next call
  std::vector<char> chunk_;
};

// One per format, each in its own file. Several packed parts one after another are one text.
std::unique_ptr<ByteSource> unpack_gzip(std::unique_ptr<InputFile> file);
std::unique_ptr<ByteSource> unpack_bzip2(std::unique_ptr<InputFile> file);
std::unique_ptr<ByteSource> unpack_xz(std::unique_ptr<InputFile> file);
std::unique_ptr<ByteSource> unpack_zstd(std::unique_ptr<InputFile> file);

/// Where the frames of a Zstandard file begin, in bytes, found by their headers without unpacking
/// anything: the first is 0. Skippable frames belong to the frame before them. Empty: the file is
/// damaged, or no Zstandard file.
std::vector<std::uint64_t> zstd_frame_begins(const std::filesystem::path& path);

}  // namespace espalier::io
