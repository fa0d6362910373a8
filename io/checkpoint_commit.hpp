#pragma once
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace espalier::io {

/// The end of a save on rank 0, in a thread of its own: the flushes and names that make the
/// checkpoint complete take some 0.1 s on a parallel file system, and the removal of an old one of
/// gigabytes longer. The training goes on meanwhile.
class CheckpointCommit {
 public:
  /// `publish` makes the checkpoint complete or throws; `prune`, after it, removes older ones and
  /// returns what a person should be warned of. What both use must outlive the object.
  CheckpointCommit(std::function<void()> publish, std::function<std::vector<std::string>()> prune);
  ~CheckpointCommit();  ///< waits for the thread
  CheckpointCommit(const CheckpointCommit&) = delete;
  CheckpointCommit& operator=(const CheckpointCommit&) = delete;

  /// The checkpoint has its marker. Throws what publish threw, as the next two do.
  bool is_complete();
  void wait_complete();  ///< until is_complete
  /// Until the older ones are removed, too; the warnings of it, once.
  std::vector<std::string> wait_pruned();
  double seconds() const { return seconds_; }  ///< that publish took; once complete

 private:
  void throw_failure() const;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool complete_ = false;
  bool pruned_ = false;
  double seconds_ = 0.0;
  std::vector<std::string> warnings_;
  std::exception_ptr failure_;
  std::thread thread_;
};

}  // namespace espalier::io
