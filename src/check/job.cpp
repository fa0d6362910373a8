#include "check/job.hpp"

#include <algorithm>
#include <array>
#include <exception>

#include "base/held_warnings.hpp"
#include "train/stopped_early.hpp"

namespace espalier::check {
namespace {

struct Group {
  const char* name;
  std::vector<Finding> (*check)(Job&);
};

// The trainer's order, so that the first problem is the one that the job meets.
constexpr std::array kGroups{
    Group{"input", check_input},
    Group{"MPI", check_mpi},
    Group{"processor", check_processor},
    Group{"GPUs", check_gpus},
    Group{"output", check_output},
    Group{"memory", check_memory},
    Group{"groups of ranks", check_collectives},
    Group{"data", check_data},
    Group{"checkpoint", check_checkpoint},
    Group{"time", check_time},
};

std::vector<Finding> findings_of(const Group& group, Job& job) {
  std::vector<Finding> findings;
  const bool alone = job.session.size() == 1;
  try {
    findings = group.check(job);
  } catch (const Error& error) {
    // The others would wait for a rank that fails alone.
    if (error.met() != Met::by_every_rank && !alone) throw;
    findings.push_back(problem("check", error.status(), error.what()));
  } catch (const std::exception& exception) {
    if (!alone) throw;
    findings.push_back(problem("check", ExitStatus::internal, exception.what()));
  }
  return findings;
}

/// Warnings of the rooms that were asked, as findings: a line for each different one.
void add_warnings(Job& job, log::KeptWords& kept, std::vector<Finding>& findings) {
  std::string mine;
  for (const log::KeptWords::Word& word : kept.take())
    if (word.is_warning && mine.find(word.text) == std::string::npos)
      mine += (mine.empty() ? "" : "\n") + word.text;
  const std::vector<std::string> all = job.session.world().all_gather(mine);
  std::vector<std::string> said;
  for (const std::string& text : all) {
    if (text.empty() || std::find(said.begin(), said.end(), text) != said.end()) continue;
    said.push_back(text);
    findings.push_back(warning("said by the program", text));
  }
}

}  // namespace

std::vector<Answer> on_every_rank(parallel::MpiSession& session,
                                  const std::function<std::string()>& action) {
  std::string mine;  // '=' and the text, or '!', the status and the message
  try {
    mine = "=" + action();
  } catch (const Error& error) {
    mine = fmt::format("!{:03}{}", static_cast<int>(error.status()), error.what());
  } catch (const std::exception& exception) {
    mine = fmt::format("!{:03}{}", static_cast<int>(ExitStatus::internal), exception.what());
  }
  std::vector<Answer> answers;
  for (const std::string& text : session.world().all_gather(mine))
    answers.push_back(text[0] == '=' ? Answer{text.substr(1)}
                                     : Answer{text.substr(4), static_cast<ExitStatus>(
                                                                  std::stoi(text.substr(1, 3)))});
  return answers;
}

Errors errors_of(const std::vector<Answer>& answers, const std::vector<std::string>& hosts) {
  Errors errors;
  std::vector<std::string> said;
  for (std::size_t rank = 0; rank < answers.size(); ++rank) {
    const Answer& answer = answers[rank];
    if (!answer.is_error() || std::find(said.begin(), said.end(), answer.text) != said.end())
      continue;
    said.push_back(answer.text);
    std::vector<std::int64_t> ranks;
    for (std::size_t other = rank; other < answers.size(); ++other)
      if (answers[other].text == answer.text && answers[other].is_error())
        ranks.push_back(static_cast<std::int64_t>(other));
    if (errors.status == ExitStatus::ok) errors.status = answer.status;
    errors.text += fmt::format("{}{} ({}): {}", errors.text.empty() ? "" : "\n",
                               log::describe_ranks(ranks), hosts[rank], answer.text);
  }
  return errors;
}

std::vector<Finding> check_all(Job& job, bool& stopped) {
  std::vector<Finding> all;
  for (const Group& group : kGroups) {
    stopped = train::any_asked_to_stop(job.session);
    if (stopped) break;
    log::KeptWords kept;
    std::vector<Finding> findings = findings_of(group, job);
    add_warnings(job, kept, findings);
    for (Finding& finding : findings) {
      finding.group = group.name;
      all.push_back(std::move(finding));
    }
  }
  return all;
}

bool looks_from_elsewhere(const std::vector<std::string>& hosts, int rank) {
  if (rank == 0) return false;
  if (rank + 1 == static_cast<int>(hosts.size())) return true;
  const auto here = hosts.begin() + rank;
  return std::find(hosts.begin(), here, *here) == here;
}

}  // namespace espalier::check
