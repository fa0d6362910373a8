#pragma once

namespace espalier::testing {

/// While it lives, flock() fails with this error for the whole program, HDF5 included: ENOLCK as on
/// NFS without lockd, ENOSYS as on Lustre without -o flock.
class NoLocks {
 public:
  explicit NoLocks(int error_number);
  ~NoLocks();
  NoLocks(const NoLocks&) = delete;
  NoLocks& operator=(const NoLocks&) = delete;
};

/// How often flock() was asked so far while it failed.
int num_refused_locks();

}  // namespace espalier::testing
