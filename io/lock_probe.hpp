#pragma once
#include <filesystem>
#include <optional>
#include <string>

#include "io/lock_holder.hpp"

namespace espalier::io {

// What FileLock would meet, without taking the lock for longer than a look, and without a file that
// stays.

/// Whether this error of flock means that the file system, its server or its mount has no locks.
bool means_no_locks(int error);

/// Whether files in `folder` can be locked: a file is made there and removed. Throws Error
/// (io_error) when that is not possible.
bool has_locks(const std::filesystem::path& folder);

/// How the lock of `path` stands.
struct LockState {
  enum class Kind {
    free,
    held,
    unknown,  ///< no locks there, and a record of another host that has not been renewed here
  } kind = Kind::free;
  std::optional<LockHolder> holder = {};  ///< as the file says
};
/// Without locks the record of the holder is watched for `watch_s` seconds, or until it is renewed.
/// Throws Error (io_error).
LockState look_at_lock(const std::filesystem::path& path, double watch_s = 10.0);

/// Makes a small HDF5 file in `folder` as checkpoints are made, reads it and removes it. Throws
/// Error (io_error).
void try_hdf5(const std::filesystem::path& folder);

}  // namespace espalier::io
