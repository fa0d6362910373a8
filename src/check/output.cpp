#include <algorithm>
#include <filesystem>
#include <memory>

#include "check/file_system.hpp"
#include "check/job.hpp"
#include "check/output_probe.hpp"
#include "io/checkpoint_files.hpp"
#include "io/lock_probe.hpp"
#include "model/architecture.hpp"
#include "train/checkpointing.hpp"

namespace espalier::check {
namespace {

namespace fs = std::filesystem;

CheckpointNeed need_of(const config::Parameters& p, int num_ranks) {
  constexpr std::int64_t kBytesPerWeight = 12;  // master, exp_avg, exp_avg_sq
  constexpr std::int64_t kBesides = 8;          // master.h5, marker, folder, tokenizer
  CheckpointNeed need;
  need.bytes = kBytesPerWeight * model::Architecture::from(p.model).num_parameters();
  need.files = (p.checkpoint.layout == "shared" ? 1 : num_ranks) + kBesides;
  const auto there =
      static_cast<std::int64_t>(io::list_complete(train::checkpoint_directory(p)).size());
  // At most one a step, and one that a stop asks for.
  const config::CheckpointParameters& c = p.checkpoint;
  const std::int64_t to_come = (c.interval_minutes > 0.0 ? p.training.steps
                                : c.interval > 0         ? p.training.steps / c.interval
                                                         : 0) +
                               1;
  need.at_once = std::min(c.keep, there + to_come) + 1;
  need.there = std::min(there, p.checkpoint.keep);
  if (p.checkpoint.keep_every > 0)
    need.for_good = std::max<std::int64_t>(p.training.steps / p.checkpoint.keep_every - there, 0);
  return need;
}

/// Whether the run directory is free.
Finding look_at_run_lock(const fs::path& directory) {
  const io::LockState state = io::look_at_lock(directory / ".lock");
  const std::string who = state.holder ? state.holder->describe() : "it has not said who it is";
  const std::string remedy =
      fmt::format("wait for its end, end it ({}), or set output.directory to another folder",
                  state.holder ? state.holder->remedy() : "see the queue of your batch system");
  if (state.kind == io::LockState::Kind::held)
    return problem("run lock", ExitStatus::io_error,
                   fmt::format("another job is running in {}: {}", directory.string(), who),
                   remedy);
  if (state.kind == io::LockState::Kind::unknown)
    return warning("run lock",
                   fmt::format("{} was used by a job that has not been heard of for 10 s: {}",
                               directory.string(), who),
                   "if it still runs, " + remedy);
  return ok("run lock", "no other job works there");
}

/// A step that throws Error where it fails; the others are tried all the same.
template <class Try>
void add(std::vector<Finding>& findings, const char* what, Try&& attempt) {
  try {
    findings.push_back(attempt());
  } catch (const Error& error) {
    findings.push_back(problem(what, error.status(), error.what()));
  }
}

/// On rank 0.
void try_folder(const Job& job, const fs::path& nearest, const fs::path& probe,
                std::vector<Finding>& findings) {
  add(findings, "kind", [&] { return judge_kind(file_system_of(nearest), nearest); });
  if (job.is_resolved) {
    try {
      for (Finding& finding :
           judge_space(file_system_of(nearest), need_of(job.parameters, job.session.size())))
        findings.push_back(std::move(finding));
    } catch (const Error& error) {
      findings.push_back(problem("free space", error.status(), error.what()));
    }
  }
  findings.push_back(try_writing(probe));
  add(findings, "HDF5", [&] {
    io::try_hdf5(probe);
    return ok("HDF5", "writes and reads there");
  });
  add(findings, "locks", [&] {
    if (io::has_locks(probe)) return ok("locks", "flock works");
    return warning("locks",
                   "the file system has no locks: other jobs are kept out by a record that is "
                   "renewed, which takes 6 s more at the start and up to 30 s after a killed job",
                   "mount it with locks (Lustre: -o flock), or leave it so");
  });
}

}  // namespace

std::vector<Finding> check_output(Job& job) {
  std::vector<Finding> findings;
  std::unique_ptr<ProbeFolder> probe;
  const fs::path directory = job.parameters.output.directory;
  if (directory.empty()) {
    findings.push_back(warning("directory", "not tried: output.directory is empty"));
    return findings;
  }
  if (job.session.rank() == 0) {
    const fs::path nearest = nearest_folder(directory);
    std::error_code ignored;
    const bool is_there = fs::exists(directory, ignored);
    try {
      probe = std::make_unique<ProbeFolder>(nearest);
      findings.push_back(
          ok("directory", fmt::format("{} {}", directory.string(),
                                      is_there ? "is there and can be written"
                                               : "can be made in " + nearest.string())));
      try_folder(job, nearest, probe->path(), findings);
    } catch (const Error& error) {
      findings.push_back(
          problem("directory", error.status(),
                  fmt::format("output.directory = \"{}\": {}", directory.string(), error.what()),
                  "choose another place, change its permissions, or look at your quota"));
    }
    if (is_there) add(findings, "run lock", [&] { return look_at_run_lock(directory); });
  }
  const std::string own = probe ? probe->path().string() : std::string();
  if (job.session.size() > 1 && !job.session.world().broadcast(own, 0).empty())
    for (Finding& finding : try_visibility(job.session, job.hosts, own))
      findings.push_back(std::move(finding));
  job.session.world().barrier();  // the probe goes when nobody looks at it any more
  return findings;
}

}  // namespace espalier::check
