#include "io/file_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>

#include "base/error.hpp"

namespace espalier::io {
namespace {

std::string this_process() {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  return fmt::format("process {} on {}", ::getpid(), host.data());
}

/// Who wrote it: the holder, or one that was killed.
std::string holder_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string holder;
  std::getline(file, holder);
  return holder.empty() ? "another process" : holder;
}

/// Whether the open file still has its name: its holder may have removed it meanwhile.
bool has_name(int file, const std::filesystem::path& path) {
  struct stat opened {
  }, named{};
  return ::fstat(file, &opened) == 0 && ::stat(path.c_str(), &named) == 0 &&
         opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

}  // namespace

FileLock::FileLock(const std::filesystem::path& path, const std::string& use)
    : path_(path), use_(use) {
  constexpr int kAttempts = 20;
  for (int attempt = 0; !try_to_take(); ++attempt) {
    require(attempt < kAttempts, ExitStatus::io_error,
            "{} by another job: {} holds {}. Wait for its end, or choose another name", use_,
            holder_of(path_), path_.string());
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  const std::string text = this_process() + "\n";
  if (::ftruncate(file_, 0) != 0 ||
      ::write(file_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    // Only for the message that another process would print.
  }
}

bool FileLock::try_to_take() {
  // Who makes the file has it, also where there are no locks.
  bool made = true;
  file_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (file_ < 0 && errno == EEXIST) {
    made = false;
    file_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
    if (file_ < 0 && errno == ENOENT) return false;  // just removed
  }
  require(file_ >= 0, ExitStatus::io_error, "{}: the lock file cannot be made: {}", path_.string(),
          std::strerror(errno));
  int status = 0;
  do {
    status = ::flock(file_, LOCK_EX | LOCK_NB);
  } while (status != 0 && errno == EINTR);
  const bool held_elsewhere = status != 0 && errno == EWOULDBLOCK;
  const bool no_locks = status != 0 && !held_elsewhere;
  if (!held_elsewhere && !(no_locks && !made) && has_name(file_, path_)) return true;
  ::close(file_);
  file_ = -1;
  require(!(no_locks && !made), ExitStatus::io_error,
          "{} by another job, or was when that job was killed: {} made {}, and this file system "
          "has no locks. If that process is no longer there, remove the file",
          use_, holder_of(path_), path_.string());
  return false;
}

FileLock::~FileLock() {
  if (file_ < 0) return;
  // Removed while it is held: who opened it before sees that it has lost its name, and tries again.
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
  ::close(file_);
}

}  // namespace espalier::io
