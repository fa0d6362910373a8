#pragma once
#include <filesystem>
#include <functional>
#include <memory>

#include "io/checkpoint_files.hpp"
#include "io/lock_lease.hpp"

namespace espalier::io {

/// How long to wait for the job before, whose ranks may still be ending.
struct LockPatience {
  double seconds = 10.0;
  LeaseTimes lease = {};
  std::function<void(double seconds)> pause = {};  ///< for tests; empty: sleeps
  bool without_locks = false;                      ///< for tests: as on a file system that has none
};

/// A lock that one job at a time holds, on a file made for it. The kernel's lock goes with the
/// process, however it ends: what a dead job left does not block another. A file system without
/// locks (NFS without lockd, Lustre without -o flock) is told, and a lease (lock_lease.hpp) stands
/// in.
class FileLock {
 public:
  /// Makes the folder of `path`, too. Throws Error (io_error): another job holds the lock (host,
  /// process, job and since when are named), or the file cannot be made.
  FileLock(const std::filesystem::path& path, LockPurpose purpose, LockPatience patience = {});
  /// Removes the file; one with a lease stays, empty.
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  /// False when another job has taken the lock, which can only happen to a lease.
  bool is_held() const { return lease_ == nullptr || lease_->is_held(); }
  /// Throws Error (io_error) when another job has taken the lock, which can only happen to a lease:
  /// nothing more may be written. Cheap.
  void require_held() const;

 private:
  bool take_of_kernel(const LockPatience& patience);

  std::filesystem::path path_;
  LockPurpose purpose_;
  FileDescriptor file_;
  std::unique_ptr<LockLease> lease_;
};

}  // namespace espalier::io
