// espalier plan search: the shapes and tokens with the lowest expected loss for a budget of FLOPs.
#include <algorithm>

#include "base/log.hpp"
#include "commands/commands.hpp"
#include "commands/plan_search_table.hpp"
#include "io/output_file.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "plan/scaling/candidate_input.hpp"
#include "plan/scaling/nearest_miss.hpp"
#include "plan/scaling/search_chart.hpp"
#include "plan/scaling/search_space.hpp"

namespace espalier::commands {
namespace {

using plan::OnDevice;
using plan::PlannedCandidate;
using plan::SearchOnDevices;
using plan::SearchSpace;
using report::Format;

/// Lines for the head of a run input: what its best layout needs where it is possible.
std::string remarks_on(const SearchOnDevices& devices, const PlannedCandidate& row) {
  std::string text;
  for (std::size_t i = 0; i < row.on.size(); ++i)
    if (const OnDevice& on = row.on[i]; on.verdict == OnDevice::Verdict::possible)
      text += fmt::format("# Estimate:  {} x {}: {:.1f} GiB each, {:.3g} h, {:.0f} tokens/s\n",
                          devices.ranks, devices.devices[i].name,
                          static_cast<double>(on.layout.estimate.memory_bytes) / (1 << 30),
                          on.layout.estimate.hours, on.layout.estimate.tokens_per_second);
  return text;
}

std::string write_row(const config::Parameters& p, const SearchSpace& space,
                      const SearchOnDevices& devices) {
  const PlannedCandidate& row = devices.possible[static_cast<std::size_t>(p.plan.write_row - 1)];
  config::Parameters run = plan::run_of(p, row.candidate);
  // The first device that can train it decides the grid.
  for (const OnDevice& on : row.on) {
    if (on.verdict != OnDevice::Verdict::possible) continue;
    const config::Parameters& laid_out = on.layout.parameters;
    run.parallel = laid_out.parallel;
    run.memory = laid_out.memory;
    run.training.micro_batch_size = laid_out.training.micro_batch_size;
    break;
  }
  // What `espalier train --dry-run` would refuse is not written.
  config::Parameters resolved = run;
  config::resolve(resolved, config::declared_ranks(run), config::Use::planning);
  const plan::CandidateInput input =
      plan::candidate_input(run, row.candidate, space, remarks_on(devices, row));
  plan::write_candidate_input(p.plan.write, input);
  return fmt::format("row {}: {}/{}.toml (model) and {}-run.toml (input of espalier train)",
                     p.plan.write_row, p.plan.write, input.name, input.name);
}

/// Of the candidates that are left.
std::string picture(const config::Parameters& p, const SearchSpace& space,
                    const plan::SearchResult& result, const SearchOnDevices& devices) {
  plan::SearchResult left = result;
  left.candidates.clear();
  for (const PlannedCandidate& row : devices.possible) left.candidates.push_back(row.candidate);
  return plan::loss_chart(space, left, static_cast<std::size_t>(p.plan.write_row - 1),
                          fmt::format("{}: {:.4g} FLOPs", p.run.name, space.budget))
      .svg();
}

void require_row(const config::Parameters& p, const SearchOnDevices& devices) {
  require(p.plan.write_row <= std::ssize(devices.possible), ExitStatus::bad_configuration,
          "plan.write_row = {}: the search has {} candidates; name a row from 1 to {}",
          p.plan.write_row, devices.possible.size(), devices.possible.size());
}

/// What is printed.
std::string search_and_write(const config::Parameters& p, bool dry_run) {
  const Format format = report::format_from_name(p.plan.format);
  if (!p.plan.plot.empty()) io::require_new_output(p.plan.plot, "plan.plot");
  const SearchSpace space = plan::space_of(p);
  if (dry_run) return describe_search(p, space) + "dry run: nothing was searched or written\n";
  const plan::SearchResult result = plan::search(space);
  require(!result.candidates.empty(), ExitStatus::bad_configuration, "{}",
          plan::why_nothing_passes(space));
  const std::size_t most = is_for_people(format) && p.plan.rows > 0
                               ? static_cast<std::size_t>(std::max(p.plan.rows, p.plan.write_row))
                               : 0;
  const SearchOnDevices devices =
      plan::on_devices(p, result, plan::devices_of_search(p), most, plan::layouts,
                       [](std::size_t done, std::size_t all) {
                         log::live(fmt::format("memory and time of candidate {} of {}", done, all));
                       });
  const std::string dropped = plan::why_dropped(p, devices);
  require(!devices.possible.empty(), ExitStatus::bad_configuration,
          "none of the {} candidates can be trained:\n{}\nUse more ranks (plan.ranks), another "
          "plan.device or more plan.hours, a smaller search.budget, or smaller shapes "
          "(search.parameters_max)",
          result.candidates.size(), dropped);
  require_row(p, devices);

  std::string text;
  const std::string table = search_table(p, space, devices, format);
  const std::string statistics = search_statistics(p, space, result, devices, format);
  if (format == Format::csv) text = table;
  if (format == Format::json)
    text = fmt::format("{{\n\"statistics\": {},\n\"candidates\": {}}}\n",
                       statistics.substr(0, statistics.size() - 1), table);
  if (is_for_people(format)) {
    const bool is_text = format == Format::text;
    if (is_text) text += describe_search(p, space);
    text += fmt::format("\n{}\n{}", table, statistics);
    if (!dropped.empty()) text += "\n" + dropped + "\n";
    if (is_text) text += "\n" + describe_selected(p, devices);
  }
  // The picture is drawn before anything is written.
  const std::string svg = p.plan.plot.empty() ? std::string() : picture(p, space, result, devices);
  std::string written;
  if (!p.plan.write.empty()) written += write_row(p, space, devices) + "\n";
  if (!p.plan.plot.empty()) {
    report::write_svg(p.plan.plot, svg);
    written += fmt::format("picture: {}\n", p.plan.plot);
  }
  if (is_for_people(format)) text += written;
  return text;
}

}  // namespace

ExitStatus plan_search(parallel::MpiSession& session, config::Parameters& parameters,
                       bool dry_run) {
  std::string text =
      parallel::on_rank_0(session, [&] { return search_and_write(parameters, dry_run); });
  while (!text.empty() && text.back() == '\n') text.pop_back();
  log::line(text);
  return ExitStatus::ok;
}

}  // namespace espalier::commands
