#pragma once
#include <filesystem>
#include <optional>

#include "io/file_lock.hpp"

namespace espalier::io {

/// One job at a time in a run directory. Only the job that has this object reads, decides
/// and writes there; so it is made before the first look into the directory, and by one rank. The
/// lock is that of the file `.lock` in it.
class RunLock {
 public:
  /// Creates the directory. Throws as FileLock.
  explicit RunLock(const std::filesystem::path& directory, LockPatience patience = {});
  /// A directory in which nothing was left goes, when it was made for the lock.
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

  const std::filesystem::path& directory() const { return directory_; }
  void require_held() const { lock_->require_held(); }  ///< FileLock::require_held

 private:
  std::filesystem::path directory_;
  bool made_directory_ = false;
  std::optional<FileLock> lock_;
};

}  // namespace espalier::io
