#include "io/direct_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/error.hpp"

namespace espalier::io {
namespace {

constexpr std::uint64_t kBufferBytes = std::uint64_t{16} << 20;
/// Smaller pieces are not worth a write of their own to the disk.
constexpr std::uint64_t kLeastBytes = 256 * 1024;

/// False when the file system does not take such a write after all.
bool write_pages(const FileDescriptor& file, const std::byte* from, std::uint64_t bytes,
                 std::uint64_t offset) {
  while (bytes > 0) {
    const ssize_t written = ::pwrite(file.get(), from, bytes, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EINVAL) return false;
    if (written <= 0) fail_io("write", file.path(), written == 0 ? EIO : errno);
    const auto count = static_cast<std::uint64_t>(written);
    if (count % DirectFile::page_bytes() != 0 && count != bytes)
      return false;  // the rest has lost its alignment
    from += count;
    offset += count;
    bytes -= count;
  }
  return true;
}

}  // namespace

void DirectFile::Free::operator()(std::byte* memory) const {
  std::free(memory);
}

std::uint64_t DirectFile::page_bytes() {
  static const auto bytes =
      std::max<std::uint64_t>(4096, static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)));
  return bytes;
}

DirectFile::DirectFile(FileDescriptor& file, bool wanted) : file_(file) {
  if (!wanted) return;
  try {
    direct_.emplace(file.path(), O_WRONLY | O_DIRECT);
  } catch (const Error&) {
    return;  // tmpfs and others have no such writes
  }
  buffer_.reset(static_cast<std::byte*>(std::aligned_alloc(page_bytes(), kBufferBytes)));
  if (!buffer_) direct_.reset();
}

void DirectFile::write_at(const void* data, std::uint64_t bytes, std::uint64_t offset) {
  const auto* from = static_cast<const std::byte*>(data);
  const std::uint64_t page = page_bytes();
  const std::uint64_t begin = (offset + page - 1) / page * page;
  const std::uint64_t end = (offset + bytes) / page * page;
  if (!direct_ || end < begin + kLeastBytes) return file_.write_at(data, bytes, offset);
  file_.write_at(from, begin - offset, offset);
  for (std::uint64_t at = begin; at < end;) {
    const std::uint64_t part = std::min(kBufferBytes, end - at);
    std::memcpy(buffer_.get(), from + (at - offset), part);
    if (!write_pages(*direct_, buffer_.get(), part, at)) {
      direct_.reset();
      return file_.write_at(from + (at - offset), offset + bytes - at, at);
    }
    at += part;
  }
  file_.write_at(from + (end - offset), offset + bytes - end, end);
}

}  // namespace espalier::io
