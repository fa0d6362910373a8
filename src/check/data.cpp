#include <algorithm>

#include "check/job.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "train/trainer.hpp"

namespace espalier::check {
namespace {

/// An action of rank 0 whose error becomes a finding; whether it went well, on every rank.
/// Collective.
template <class Action>
bool on_rank_0(Job& job, const char* what, std::vector<Finding>& findings, Action&& action) {
  try {
    const std::string text = parallel::on_rank_0(job.session, action);
    findings.push_back(ok(what, text));
    return true;
  } catch (const Error& error) {
    findings.push_back(problem(what, error.status(), error.what()));
    return false;
  }
}

/// The shards of `where` from each host: another one may not have mounted them.
void open_elsewhere(Job& job, std::vector<Finding>& findings) {
  const auto answers = on_every_rank(job.session, [&] {
    if (looks_from_elsewhere(job.hosts, job.session.rank()))
      const train::TrainingData data(job.parameters, job.tokenizer_identity.value_or(""), false);
    return std::string();
  });
  const Errors errors = errors_of(answers, job.hosts);
  if (errors.text.empty())
    findings.push_back(ok("on every host", "the training shards open"));
  else
    findings.push_back(problem("on every host", errors.status, errors.text,
                               "put the shards on a file system that all nodes share"));
}

std::string open_training(Job& job) {
  const config::Parameters& p = job.parameters;
  job.limited = p;
  const train::TrainingData data(p, job.tokenizer_identity.value_or(""), p.data.verify_checksum);
  train::agree_on_begin(job.limited->data, data, true);
  train::limit_steps_to_data(*job.limited, data, job.position);
  job.data_identity = data.identity();
  job.data_tokenizer = data.tokenizer_identity();
  std::string text = data.describe(train::samples_of_run(*job.limited, job.position));
  if (job.limited->training.steps < p.training.steps)
    text += fmt::format("; it lasts for {} of {} steps (data.end_of_data = \"stop\")",
                        job.limited->training.steps, p.training.steps);
  return text;
}

}  // namespace

std::vector<Finding> check_data(Job& job) {
  std::vector<Finding> findings;
  const config::Parameters& p = job.parameters;
  if (!job.is_resolved) {
    findings.push_back(warning("data", "not tried: the input must make sense first"));
    return findings;
  }
  if (job.session.rank() == 0) find_checkpoint(job);  // says what of the data is left
  const bool has_tokenizer = on_rank_0(job, "tokenizer", findings, [&] {
    const std::string identity = train::tokenizer_identity(p);
    if (identity.empty()) return std::string("data.tokenizer is not set: any shards are taken");
    return fmt::format("{}, identity {}", p.data.tokenizer, identity);
  });
  if (has_tokenizer)
    job.tokenizer_identity =
        parallel::on_rank_0(job.session, [&] { return train::tokenizer_identity(p); });
  if (on_rank_0(job, "training shards", findings, [&] { return open_training(job); }) &&
      job.session.size() > 1)
    open_elsewhere(job, findings);
  if (!p.data.validation.empty())
    on_rank_0(job, "validation shards", findings, [&] {
      return train::Dataset(p.data.validation, "validation", p.model.vocab_size,
                            p.training.sequence_length, job.tokenizer_identity.value_or(""),
                            p.data.verify_checksum)
          .describe();
    });
  return findings;
}

}  // namespace espalier::check
