#include "io/checkpoint_commit.hpp"

#include <signal.h>

#include <chrono>
#include <utility>

namespace espalier::io {

CheckpointCommit::CheckpointCommit(std::function<void()> publish,
                                   std::function<std::vector<std::string>()> prune) {
  thread_ = std::thread([this, publish = std::move(publish), prune = std::move(prune)] {
    sigset_t all;  // signals are for the main thread
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    std::exception_ptr failure;
    const auto begin = std::chrono::steady_clock::now();
    try {
      publish();
    } catch (...) {
      failure = std::current_exception();
    }
    {
      const std::lock_guard lock(mutex_);
      seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      failure_ = failure;
      complete_ = failure == nullptr;
      pruned_ = !complete_;
    }
    changed_.notify_all();
    if (failure != nullptr) return;
    std::vector<std::string> warnings;
    try {
      warnings = prune();
    } catch (const std::exception& error) {
      // The new checkpoint is complete; old ones that stay are no reason to end the run.
      warnings = {std::string("older checkpoints stay: ") + error.what()};
    }
    {
      const std::lock_guard lock(mutex_);
      warnings_ = std::move(warnings);
      pruned_ = true;
    }
    changed_.notify_all();
  });
}

CheckpointCommit::~CheckpointCommit() {
  thread_.join();
}

void CheckpointCommit::throw_failure() const {
  if (failure_ != nullptr) std::rethrow_exception(failure_);
}

bool CheckpointCommit::is_complete() {
  const std::lock_guard lock(mutex_);
  throw_failure();
  return complete_;
}

void CheckpointCommit::wait_complete() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return complete_ || failure_ != nullptr; });
  throw_failure();
}

std::vector<std::string> CheckpointCommit::wait_pruned() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return pruned_; });
  throw_failure();
  return std::exchange(warnings_, {});
}

}  // namespace espalier::io
