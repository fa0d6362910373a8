#include "io/checkpoint.hpp"
#include "base/held_warnings.hpp"
#include "base/text.hpp"
#include "check/job.hpp"
#include "io/checkpoint_files.hpp"
#include "model/architecture.hpp"
#include "model/tensor_table.hpp"
#include "train/checkpointing.hpp"
#include "train/initial_weights.hpp"
#include "train/restart.hpp"

namespace espalier::check {
namespace {

void look_at(Job& job, std::vector<Finding>& findings) {
  const io::CheckpointInfo& info = job.reader->info();
  const config::Parameters earlier = train::require_continuable(
      *job.reader, job.continued, job.parameters,
      model::tensor_table(model::Architecture::from(job.parameters.model)), job.data_tokenizer);
  findings.push_back(
      ok("checkpoint",
         fmt::format("would be continued: {} (step {}, {} samples, written by {})",
                     job.continued.string(), info.step,
                     with_commas(static_cast<std::int64_t>(info.samples_consumed)), info.grid)));
  log::KeptWords::take();
  train::tell_changes_of_course(info, job.continued, earlier,
                                job.limited ? *job.limited : job.parameters, job.data_identity);
  std::string changes;
  for (const log::KeptWords::Word& word : log::KeptWords::take())
    changes += (changes.empty() ? "" : "\n") + word.text;
  if (changes.empty())
    findings.push_back(ok("changed keys", "none that changes the course of the run"));
  else
    findings.push_back(
        warning("changed keys", changes, "give the old values again, if that is not meant"));
}

}  // namespace

void find_checkpoint(Job& job) {
  try {
    const auto complete = io::list_complete(train::checkpoint_directory(job.parameters));
    for (auto folder = complete.rbegin(); folder != complete.rend() && !job.reader; ++folder) {
      try {
        job.reader.emplace(folder->path);
        job.continued = folder->path;
        job.position = {job.reader->info().step, job.reader->info().samples_consumed};
      } catch (const Error& error) {
        if (error.status() != ExitStatus::bad_data) throw;
        job.damaged.push_back({folder->path, error.what()});
      }
    }
  } catch (const Error& error) {
    job.unreadable = error;
  }
}

std::vector<Finding> check_checkpoint(Job& job) {
  std::vector<Finding> findings;
  if (!job.is_resolved) {
    findings.push_back(warning("checkpoint", "not tried: the input must make sense first"));
    return findings;
  }
  if (job.session.rank() != 0) return findings;
  const config::Parameters& p = job.parameters;
  for (const train::DamagedCheckpoint& one : job.damaged)
    if (job.reader)
      findings.push_back(warning(
          "damaged", fmt::format("{} would be passed over: {}", one.path.string(), one.why)));
  try {
    if (job.unreadable) throw Error(*job.unreadable);
    if (job.reader) {
      look_at(job, findings);
    } else if (!job.damaged.empty()) {
      train::fail_all_damaged(job.damaged);
    } else if (p.model.initial_weights.empty()) {
      findings.push_back(ok("checkpoint", "none: a new run, weights from training.seed"));
    } else {
      const train::InitialWeights initial(p,
                                          model::tensor_table(model::Architecture::from(p.model)));
      findings.push_back(ok("checkpoint", "none: a new run, weights from " + initial.describe()));
    }
  } catch (const Error& error) {
    findings.push_back(problem("checkpoint", error.status(), error.what()));
  }
  return findings;
}

}  // namespace espalier::check
