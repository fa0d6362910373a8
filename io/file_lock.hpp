#pragma once
#include <filesystem>
#include <string>

namespace espalier::io {

/// A lock that one process at a time holds, on a file made for it. It goes with the process,
/// however it ends. On a file system without locks (NFS without lockd, Lustre without -o flock) the
/// file itself is the lock: one that a killed process left has to be removed by hand.
class FileLock {
 public:
  /// Takes the lock, waiting a moment for a process that is just ending. Throws Error (io_error)
  /// that says who holds it, and `use`: what it is for ("data/shards is being written").
  FileLock(const std::filesystem::path& path, const std::string& use);
  ~FileLock();  ///< removes the file
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  bool try_to_take();

  std::filesystem::path path_;
  std::string use_;
  int file_ = -1;
};

}  // namespace espalier::io
