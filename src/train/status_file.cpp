#include "train/status_file.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <string_view>
#include <utility>
#include <vector>

#include "base/activity.hpp"
#include "base/process_age.hpp"
#include "base/stop_request.hpp"
#include "device/phase.hpp"
#include "io/checkpoint_files.hpp"
#include "io/event_log.hpp"
#include "io/lock_holder.hpp"
#include "io/replaced_file.hpp"
#include "train/checkpointing.hpp"

namespace espalier::train {
namespace {

/// Between two writings.
constexpr double kInterval = 5.0;

/// What a person wants to know of a training that goes on.
runs::State state_while(runs::State said, std::string_view activity) {
  if (said != runs::State::training) return said;
  if (activity == device::name_of(device::Phase::validation)) return runs::State::validating;
  if (activity == device::name_of(device::Phase::checkpoint)) return runs::State::saving;
  return said;
}

}  // namespace

StatusFile::StatusFile(const io::RunLock& lock, runs::RunStatus first)
    : lock_(lock),
      is_new_(!std::filesystem::exists(lock.directory() / runs::kStatusName)),
      status_(std::move(first)) {
  status_.interval_s = kInterval;
  write();
  thread_ = std::thread([this] { write_on(); });
}

StatusFile::~StatusFile() {
  try {
    if (runs::is_over(now().state)) return;
    const bool began = now().state != runs::State::starting;
    // A request during the start leaves it by an error, too.
    end(stop_requested() && !began ? runs::State::stopped : runs::State::failed);
    // A job that never began leaves a folder as it was.
    if (!began && is_new_) std::filesystem::remove(lock_.directory() / runs::kStatusName);
  } catch (const std::exception&) {  // the job ends with an error of its own
  }
}

void StatusFile::change(const std::function<void(runs::RunStatus&)>& how) {
  const std::scoped_lock guard(mutex_);
  how(status_);
}

void StatusFile::end(runs::State state) {
  {
    const std::scoped_lock guard(mutex_);
    status_.state = state;
    end_ = true;
  }
  ended_.notify_all();
  if (thread_.joinable()) thread_.join();
  write();
}

runs::RunStatus StatusFile::now() const {
  const std::scoped_lock guard(mutex_);
  return status_;
}

std::string StatusFile::trouble() {
  const std::scoped_lock guard(mutex_);
  if (trouble_ == told_trouble_) return {};
  told_trouble_ = trouble_;
  return trouble_;
}

void StatusFile::write_on() {
  std::unique_lock guard(mutex_);
  while (
      !ended_.wait_for(guard, std::chrono::duration<double>(kInterval), [this] { return end_; })) {
    guard.unlock();
    write();
    guard.lock();
  }
}

void StatusFile::write() {
  runs::RunStatus status = now();
  const activity::Now doing = activity::now();
  status.state = state_while(status.state, doing.name);
  status.activity = runs::is_over(status.state) ? "" : doing.name;
  status.updated = runs::now_s();
  status.elapsed_s = process_age_s();
  std::string trouble;
  try {
    lock_.require_held();
    io::replace_file(lock_.directory() / runs::kStatusName, to_json(status));
  } catch (const std::exception& exception) {
    trouble = exception.what();
  }
  const std::scoped_lock guard(mutex_);
  if (!trouble.empty()) trouble_ = trouble;
}

JobFiles begin_job(const io::RunLock* lock, const config::Parameters& parameters, int num_ranks) {
  JobFiles files;
  if (lock == nullptr) return files;
  const std::filesystem::path& directory = lock->directory();
  for (const io::Event& event : io::read_events(directory)) {
    files.job = std::max(files.job, event.job);
    files.previous_sign_s = event.time_s;
  }
  runs::RunStatus first;
  if (const auto previous = runs::read_status(directory)) {
    files.job = std::max(files.job, previous->job);
    if (!(files.previous_sign_s > previous->updated)) files.previous_sign_s = previous->updated;
    // What stays true until this job says otherwise.
    first.validation_step = previous->validation_step;
    first.validation_loss = previous->validation_loss;
    first.bits_per_byte = previous->bits_per_byte;
  }
  first.job = ++files.job;
  const std::vector<io::CheckpointFolder> saved =
      io::list_complete(checkpoint_directory(parameters));
  if (!saved.empty()) {
    first.checkpoint_step = saved.back().step;
    first.checkpoint_time = runs::file_time_s(saved.back().path / io::kMarkerName);
  }
  const io::LockHolder self = io::LockHolder::this_process();
  const char* slurm_job = std::getenv("SLURM_JOB_ID");
  first.run = parameters.run.name;
  first.steps = parameters.training.steps;
  first.step = std::max<std::int64_t>(first.checkpoint_step, 0);
  first.host = self.host;
  first.pid = self.pid;
  first.slurm_job = slurm_job == nullptr ? "" : slurm_job;
  first.ranks = num_ranks;
  first.started = runs::now_s() - process_age_s();
  files.status = std::make_unique<StatusFile>(*lock, std::move(first));
  return files;
}

}  // namespace espalier::train
