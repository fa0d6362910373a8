#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>

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

/// One job at a time in a run directory. Whoever has this object, and nobody else, reads, decides
/// and writes there; so it is made before the first look into the directory, and by one rank.
///
/// The kernel's lock of the file `.lock` goes with the process, however it ends: what a dead job
/// left stops nobody. A file system without locks is told, and a lease (lock_lease.hpp) stands in.
class RunLock {
 public:
  /// Creates the directory. Throws Error (io_error): another job runs there (host, process, job and
  /// since when are named), or the file cannot be made.
  explicit RunLock(const std::filesystem::path& directory, LockPatience patience = {});
  /// A directory in which nothing was left but the lock goes, when it was made for the lock.
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

  const std::filesystem::path& directory() const { return directory_; }
  /// Throws Error (io_error) when another job has taken the lock, which can only happen to a lease:
  /// nothing more may be written. Cheap; before every write.
  void require_held() const;

 private:
  bool take_of_kernel(const LockPatience& patience);

  std::filesystem::path directory_;
  bool made_directory_ = false;
  FileDescriptor file_;
  std::unique_ptr<LockLease> lease_;
};

}  // namespace espalier::io
