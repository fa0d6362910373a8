#include "io/input_file.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.hpp"
#include "base/stop_request.hpp"

namespace espalier::io {

bool is_stream(const std::filesystem::path& path) {
  if (path == kStandardInput) return true;
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode);
}

InputFile::InputFile(const std::filesystem::path& path) : path_(path) {
  const bool is_standard = path == kStandardInput;
  owned_ = !is_standard;
  is_stream_ = is_stream(path);
  // Without O_NONBLOCK, opening a named pipe waits for its writer, and no signal ends the wait.
  file_ = is_standard ? STDIN_FILENO
                      : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | (is_stream_ ? O_NONBLOCK : 0));
  struct stat status {};
  const bool found = file_ >= 0 && ::fstat(file_, &status) == 0;
  const int error = errno;
  const char* wrong = !found                    ? std::strerror(error)
                      : S_ISDIR(status.st_mode) ? "it is a folder, not a text file"
                      : S_ISBLK(status.st_mode) ? "it is a disk, not a text file"
                                                : nullptr;
  if (wrong != nullptr) {
    if (owned_ && file_ >= 0) ::close(file_);
    fail(ExitStatus::bad_data, "{}: the text cannot be opened: {}",
         is_standard ? "- (standard input)" : path.string(), wrong);
  }
  if (S_ISREG(status.st_mode)) size_ = static_cast<std::uint64_t>(status.st_size);
  ::posix_fadvise(file_, 0, 0, POSIX_FADV_SEQUENTIAL);
}

InputFile::InputFile(const std::filesystem::path& path, std::uint64_t begin, std::uint64_t end)
    : InputFile(path) {
  if (begin > 0 && ::lseek(file_, static_cast<off_t>(begin), SEEK_SET) < 0)
    fail(ExitStatus::io_error, "{}: byte {} cannot be reached: {}", path_.string(), begin,
         std::strerror(errno));
  position_ = begin;
  left_ = end > begin ? end - begin : 0;
}

InputFile::~InputFile() {
  if (owned_ && file_ >= 0) ::close(file_);
}

std::string_view InputFile::peek(std::size_t count) {
  while (peeked_.size() < count) {
    const std::size_t held = peeked_.size();
    peeked_.resize(count);
    const std::size_t more = read_from_system(std::span(peeked_).subspan(held));
    peeked_.resize(held + more);
    if (more == 0) break;
  }
  return std::string_view(peeked_).substr(0, count);
}

std::size_t InputFile::read(std::span<char> out) {
  std::size_t count = std::min(peeked_.size(), out.size());
  if (count > 0) {
    std::copy_n(peeked_.begin(), count, out.begin());
    peeked_.erase(0, count);
  } else {
    count = read_from_system(out);
  }
  position_ += count;
  return count;
}

std::size_t InputFile::read_from_system(std::span<char> out) {
  for (;;) {
    if (is_stream_) wait_for_stream();
    const ssize_t count = ::read(file_, out.data(), std::min<std::uint64_t>(out.size(), left_));
    if (count >= 0) {
      left_ -= static_cast<std::uint64_t>(count);
      return static_cast<std::size_t>(count);
    }
    if (errno == EINTR || errno == EAGAIN) continue;
    fail(ExitStatus::io_error, "{}: cannot be read at byte {}: {}", path_.string(),
         position_ + peeked_.size(), std::strerror(errno));
  }
}

/// Until there is something to read, or the end: in pieces, because a request to stop does not end
/// the waiting of read().
void InputFile::wait_for_stream() {
  pollfd wanted{.fd = file_, .events = POLLIN, .revents = 0};
  for (;;) {
    if (stop_requested())
      fail(ExitStatus::stopped_early, "stopped by a signal while reading {}", path_.string());
    const int ready = ::poll(&wanted, 1, 100);
    if (ready > 0 || (ready < 0 && errno != EINTR)) return;
  }
}

}  // namespace espalier::io
