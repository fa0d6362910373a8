#pragma once
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "config/parameters.hpp"
#include "io/run_lock.hpp"
#include "runs/run_status.hpp"

namespace espalier::train {

/// Keeps status.json of a run directory true while a job lives, on rank 0: a thread of its own
/// writes it every few seconds, so that it says what the job does also where that takes long, and a
/// slow disk does not stop the training. What cannot be written is told by `trouble`, and tried
/// again.
class StatusFile {
 public:
  /// `lock` must outlive the object. `first` is written at once.
  StatusFile(const io::RunLock& lock, runs::RunStatus first);
  /// The job failed, unless it was told how it ended.
  ~StatusFile();
  StatusFile(const StatusFile&) = delete;
  StatusFile& operator=(const StatusFile&) = delete;

  /// Changes what is said from the next writing on; cheap.
  void change(const std::function<void(runs::RunStatus&)>& how);
  /// The last word of this job, written before it returns.
  void end(runs::State state);
  runs::RunStatus now() const;
  /// Why the last writing failed, once for each new reason; else empty.
  std::string trouble();

 private:
  void write_on();
  void write();

  const io::RunLock& lock_;
  bool is_new_;
  mutable std::mutex mutex_;  ///< of what follows
  std::condition_variable ended_;
  runs::RunStatus status_;
  bool end_ = false;
  std::string trouble_, told_trouble_;
  std::thread thread_;  ///< last: it uses the others
};

/// What a job begins in its run directory before anything else: its number, and its status.
struct JobFiles {
  std::int64_t job = 0;                     ///< from 1
  double previous_sign_s = runs::kUnknown;  ///< since 1970: the job before was alive
  std::unique_ptr<StatusFile> status;
};
/// On rank 0; on the others `lock` is null, and nothing is begun.
JobFiles begin_job(const io::RunLock* lock, const config::Parameters& parameters, int num_ranks);

}  // namespace espalier::train
