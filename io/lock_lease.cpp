#include "io/lock_lease.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/whole_file.hpp"
#include "io/checkpoint_files.hpp"

namespace espalier::io {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

namespace {

/// Every record has this length and is written in its place, so that a reader meets the old one or
/// the new one, and no name of a folder changes, which network file systems are slow to tell.
constexpr std::size_t kRecordBytes = 1024;

/// Opened anew each time: only then a network file system asks its server.
/// Nothing when it cannot be read, which says nothing about the lock.
std::optional<std::string> record_in(const fs::path& path) {
  return read_whole_file(path);
}

}  // namespace

std::optional<LockHolder> holder_in(const fs::path& path) {
  return LockHolder::parse(record_in(path).value_or(""));
}

void fail_held(const fs::path& path, const LockPurpose& purpose) {
  const std::optional<LockHolder> holder = holder_in(path);
  fail(ExitStatus::io_error, "{}: {}. Wait for its end, end it ({}), or {}", purpose.busy,
       holder ? holder->describe() : "it has not said who it is",
       holder ? holder->remedy() : "see the queue of your batch system", purpose.remedy);
}

LockLease::LockLease(const fs::path& path, const LockPurpose& purpose, const LeaseTimes& times,
                     const std::function<void(double)>& pause)
    : path_(path), times_(times) {
  do {
    if (!wait_until_free(times, pause)) fail_held(path, purpose);
    write_record();
    pause(times.settle);
  } while (!look());
  if (times.beat > 0.0) thread_ = std::thread([this] { count_on(); });
}

LockLease::~LockLease() {
  {
    const std::lock_guard lock(mutex_);
    end_ = true;
  }
  ended_.notify_all();
  if (thread_.joinable()) thread_.join();
  try {
    if (look()) FileDescriptor(path_, O_WRONLY | O_TRUNC);
  } catch (const std::exception&) {
    // What stays is the record of a process that has ended.
  }
}

bool LockLease::wait_until_free(const LeaseTimes& times,
                                const std::function<void(double)>& pause) const {
  constexpr double kBetweenLooks = 0.5;
  const std::optional<std::string> first = record_in(path_);
  bool counts = false;
  for (double waited = 0.0;; waited += kBetweenLooks) {
    const std::optional<std::string> record = record_in(path_);
    const std::optional<LockHolder> holder = LockHolder::parse(record.value_or(""));
    if (record && (!holder || holder->is_dead())) return true;
    counts = counts || record != first;
    if (waited >= times.silence) return holder && !counts && !holder->is_on_this_machine();
    if (waited == 0.0 && holder)
      log::info("waiting for the job that holds {}: {}", path_.string(), holder->describe());
    pause(kBetweenLooks);
  }
}

void LockLease::write_record() {
  std::string record = fmt::format("{}count {}\n", self_.text(), ++count_);
  record.resize(kRecordBytes, '\n');
  FileDescriptor file(path_, O_WRONLY | O_CREAT);
  file.write_at(record.data(), record.size(), 0);
  file.flush();
}

bool LockLease::look() {
  if (const auto record = record_in(path_)) held_ = LockHolder::parse(*record) == self_;
  looked_ = Clock::now();
  return held_;
}

bool LockLease::is_held() {
  const std::lock_guard lock(mutex_);
  if (held_ && std::chrono::duration<double>(Clock::now() - looked_).count() > times_.settle)
    look();
  return held_;
}

void LockLease::count_on() {
  sigset_t all;  // signals are for the main thread
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  std::unique_lock lock(mutex_);
  while (!ended_.wait_for(lock, std::chrono::duration<double>(times_.beat), [&] { return end_; })) {
    try {
      if (!look()) return;
      write_record();
    } catch (const std::exception&) {
      // The next one may get through. The main thread looks for itself when the count is late.
    }
  }
}

}  // namespace espalier::io
