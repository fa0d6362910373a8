#include "check/job.hpp"
#include "config/grid.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "train/run_files.hpp"

namespace espalier::check {
namespace {

/// What the job would say of its input, as resolve does, and the files that the input names.
void add_resolution(Job& job, std::vector<Finding>& findings) {
  config::Parameters resolved = job.parameters;
  try {
    config::resolve(resolved, job.session.size());
    job.parameters = std::move(resolved);
    job.is_resolved = true;
    const parallel::GridShape shape = config::grid_shape(job.parameters);
    findings.push_back(
        ok("parameters", fmt::format("grid {}", parallel::ProcessGrid(shape, 0).describe())));
  } catch (const Error& error) {
    findings.push_back(problem("parameters", error.status(), error.what()));
  }
}

void add_plan(Job& job, std::vector<Finding>& findings) {
  if (job.parameters.plan.device.empty() || !job.is_resolved || job.session.rank() != 0) return;
  try {
    const config::HardwareParameters hardware = plan::hardware_of(job.parameters).front();
    job.planned_step = plan::predict_step(job.parameters, hardware);
    findings.push_back(ok("plan.device", fmt::format("a step is planned with {}", hardware.name)));
  } catch (const Error& error) {
    findings.push_back(problem("plan.device", error.status(), error.what()));
  }
}

}  // namespace

std::vector<Finding> check_input(Job& job) {
  std::vector<Finding> findings;
  add_resolution(job, findings);
  add_plan(job, findings);
  const std::string all = parallel::on_rank_0(job.session, [&] {
    std::string text;
    for (const std::string& sentence : train::missing_inputs(job.parameters))
      text += (text.empty() ? "" : "\n") + sentence;
    return text;
  });
  if (all.empty())
    findings.push_back(ok("files", "what the input names is there"));
  else
    findings.push_back(problem("files", ExitStatus::bad_data, all,
                               "mend the path, or make them (espalier tokenize)"));
  return findings;
}

}  // namespace espalier::check
