#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/text.hpp"
#include "check/job.hpp"
#include "train/run_control.hpp"

namespace espalier::check {
namespace {

Finding judge_limit(const train::RunControl& control, double margin_s) {
  if (control.has_limit())
    return ok("limit", fmt::format("{}, of which run.time_margin = {:.0f} s stay free",
                                   control.describe_limit(), margin_s));
  if (std::getenv("SLURM_JOB_ID") == nullptr)
    return ok("limit", "none (neither SLURM_JOB_END_TIME nor run.time_limit)");
  return warning("limit",
                 "this is a Slurm job whose end is not known: SLURM_JOB_END_TIME is not set (Slurm "
                 "before 23.02), nor run.time_limit; the job would be killed at its end, without a "
                 "checkpoint",
                 "start jobs by jobscripts/submit.sh, which sets it, or set run.time_limit");
}

}  // namespace

std::vector<Finding> check_time(Job& job) {
  std::vector<Finding> findings;
  const config::Parameters& p = job.parameters;
  double limit_s = 0.0;
  try {
    const train::RunControl control(p.run);
    limit_s = control.limit_s();
    findings.push_back(judge_limit(control, p.run.time_margin));
  } catch (const Error& error) {
    findings.push_back(problem("limit", error.status(), error.what()));
    return findings;
  }
  if (!job.planned_step || job.session.rank() != 0) return findings;
  const config::Parameters& limited = job.limited ? *job.limited : p;
  const double step_s = job.planned_step->step();
  const auto left = std::max<std::int64_t>(limited.training.steps - job.position.step, 0);
  const double left_s = step_s * static_cast<double>(left);
  const double usable_s = limit_s - p.run.time_margin;
  std::string text = fmt::format("a step is planned with {:.3g} s, the {} steps left take {}",
                                 step_s, with_commas(left), human_duration(left_s));
  if (std::isinf(limit_s)) {
    findings.push_back(ok("length", text));
  } else if (usable_s < 2.0 * step_s) {
    findings.push_back(warning("length", text + ": the job is over before two steps are done",
                               "a longer job (sbatch --time, run.time_limit)"));
  } else {
    const double jobs = std::max(std::ceil(left_s / usable_s), 1.0);
    findings.push_back(ok("length", fmt::format("{}: {:.0f} job{} of this length", text, jobs,
                                                jobs == 1.0 ? "" : "s")));
  }
  return findings;
}

}  // namespace espalier::check
