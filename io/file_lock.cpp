#include "io/file_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <system_error>
#include <thread>

#include "base/error.hpp"
#include "base/log.hpp"
#include "io/lock_probe.hpp"

namespace espalier::io {

namespace fs = std::filesystem;

namespace {

void sleep_for(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

/// Whether the name still stands for the file that is open: the holder before may have removed it.
bool is_there(const FileDescriptor& file) {
  struct stat opened {
  }, named{};
  return ::fstat(file.get(), &opened) == 0 && ::stat(file.path().c_str(), &named) == 0 &&
         opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

}  // namespace

FileLock::FileLock(const fs::path& path, LockPurpose purpose, LockPatience patience)
    : path_(path), purpose_(std::move(purpose)) {
  if (!patience.pause) patience.pause = sleep_for;
  if (take_of_kernel(patience)) {
    const std::string record = LockHolder::this_process().text();
    file_.resize(0);
    file_.write_at(record.data(), record.size(), 0);
    return;
  }
  log::warn(
      "the file system of {} has no locks: other jobs are kept out by a record in that file that "
      "its holder renews, which takes {:.0f} s at the start, and up to {:.0f} s where a job on "
      "another host was killed",
      path_.string(), patience.lease.settle, patience.lease.silence);
  lease_ = std::make_unique<LockLease>(path_, purpose_, patience.lease, patience.pause);
}

/// False when the file system has no locks.
bool FileLock::take_of_kernel(const LockPatience& patience) {
  constexpr double kBetweenTries = 0.1;
  bool said = false;
  for (double waited = 0.0;; waited += kBetweenTries) {
    // Each time: the holder before may have removed the folder, too.
    if (path_.has_parent_path()) create_folder(path_.parent_path());
    file_ = FileDescriptor(path_, O_RDWR | O_CREAT);
    if (patience.without_locks) return false;
    int status;
    do {
      status = ::flock(file_.get(), LOCK_EX | LOCK_NB);
    } while (status != 0 && errno == EINTR);
    if (status == 0 && is_there(file_)) return true;
    if (status != 0 && means_no_locks(errno)) return false;
    if (status != 0 && errno != EWOULDBLOCK) fail_io("lock", path_, errno);
    if (waited >= patience.seconds) fail_held(path_, purpose_);
    if (const auto holder = holder_in(path_); holder && !said && waited > 1.0) {
      log::info("waiting for the job that holds {}: {}", path_.string(), holder->describe());
      said = true;
    }
    patience.pause(kBetweenTries);
  }
}

FileLock::~FileLock() {
  if (lease_) return;
  // While the lock is held: whoever waits for it sees afterwards that the name has gone.
  std::error_code ignored;
  fs::remove(path_, ignored);
}

void FileLock::require_held() const {
  if (is_held()) return;
  const auto holder = holder_in(path_);
  fail(ExitStatus::io_error,
       "another job has taken {} while this one stood still: {}. This one ends, so that they do "
       "not write into each other's files",
       path_.string(), holder ? holder->describe() : "it has not said who it is");
}

}  // namespace espalier::io
