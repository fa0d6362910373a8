#pragma once
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "io/lock_holder.hpp"

namespace espalier::io {

/// Seconds. A holder counts every `beat`, so that it meets a record that is not its own before
/// another job's `settle` is over; one that does not count for `silence` is dead.
struct LeaseTimes {
  double beat = 4.0;
  double settle = 6.0;  ///< above `beat`, and longer than any write of the record takes
  double silence = 30.0;
};

/// What a lock is for, as another job that wants it is told.
struct LockPurpose {
  std::string busy;    ///< "another job is running in runs/a"
  std::string remedy;  ///< what else the other may do: "set output.directory to another folder"
};

/// A lock where the file system has none (errno ENOLCK and the like): the holder writes who it is
/// into the file and counts on in it. Where nobody counts, nobody holds; a process of this machine
/// is looked for instead. Two jobs that find the file free at the same time both write, wait, and
/// read whose record stands: Fischer's algorithm (Lamport, A fast mutual exclusion algorithm, ACM
/// TOCS 5, 1987, section 2), right as long as no write takes longer than `settle`.
class LockLease {
 public:
  /// Takes the lease of the file, which exists. `pause` sleeps. Throws Error (io_error) that names
  /// the holder when there is one. `times.beat` 0: no thread counts (for tests).
  LockLease(const std::filesystem::path& path, const LockPurpose& purpose, const LeaseTimes& times,
            const std::function<void(double)>& pause);
  ~LockLease();  ///< empties the file, if the lease is still held
  LockLease(const LockLease&) = delete;
  LockLease& operator=(const LockLease&) = delete;
  /// False when another job's record stands in the file. Looks there itself when the count is
  /// late: this process may have been stopped for longer than others take for the end of it.
  bool is_held();

 private:
  bool wait_until_free(const LeaseTimes& times, const std::function<void(double)>& pause) const;
  void write_record();
  bool look();  ///< is_held() by the file; under mutex_
  void count_on();

  std::filesystem::path path_;
  LeaseTimes times_;
  LockHolder self_ = LockHolder::this_process();
  std::thread thread_;
  std::mutex mutex_;  ///< of what follows
  std::condition_variable ended_;
  bool end_ = false;
  bool held_ = true;
  std::uint64_t count_ = 0;
  std::chrono::steady_clock::time_point looked_;
};

/// The record in a lock's file; nothing when nobody's stands there.
std::optional<LockHolder> holder_in(const std::filesystem::path& path);

/// Throws the Error (io_error) of a lock that another job holds.
[[noreturn]] void fail_held(const std::filesystem::path& path, const LockPurpose& purpose);

}  // namespace espalier::io
