// A campaign as people and programs read it.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.hpp"
#include "base/text.hpp"
#include "model/architecture.hpp"
#include "plan/estimate/campaign.hpp"

namespace espalier::plan {
namespace {

using report::Cell;

Cell nothing() {
  return Cell(std::numeric_limits<double>::quiet_NaN(), "");
}
Cell fixed(double value, int decimals) {
  return {value, fmt::format("{:.{}f}", value, decimals)};
}
Cell billions(double value) {
  return {value, fmt::format("{:.2f}", value / 1e9)};
}
Cell count(double value) {
  return {value, with_commas(std::llround(value))};
}

/// "1 x 8, 4, none"
std::string short_layout(const config::Parameters& p) {
  return fmt::format("{}, {}, {}", short_grid(p), p.training.micro_batch_size, p.memory.recompute);
}

double num_parameters(const CampaignRun& run) {
  return static_cast<double>(
      model::Architecture::from(run.layout.parameters.model).num_parameters());
}

report::Table for_people(const CampaignPlan& plan) {
  report::Table table({{"run", "run"},
                       {"parameters", "1e9 par."},
                       {"tokens", "1e9 tok."},
                       {"loss", "loss"},
                       {"hours", "hours"},
                       {"ends", "ends"},
                       {"memory", "GiB"},
                       {"speed", "tokens/s"},
                       {"layout", "layout"}});
  for (const CampaignRun& run : plan.runs) {
    const Estimate& e = run.layout.estimate;
    std::vector<Cell> row = {run.name, billions(num_parameters(run)), billions(run.tokens()),
                             fixed(expected_loss(run.layout.parameters), 3)};
    row.push_back(run.is_done() ? fixed(run.hours(), 2) : nothing());
    row.push_back(run.is_done() ? fixed(run.ends, 2) : nothing());
    row.push_back(fixed(static_cast<double>(e.memory_bytes) / (1 << 30), 1));
    row.push_back(run.fits() ? count(e.tokens_per_second) : nothing());
    row.push_back(!run.fits()           ? std::string("does not fit")
                  : run.same_as.empty() ? short_layout(run.layout.parameters)
                                        : fmt::format("as {}", run.same_as));
    table.add(std::move(row));
  }
  return table;
}

report::Table of_phases(const CampaignPlan& plan) {
  report::Table table({{"phase", "phase"},
                       {"runs", "runs"},
                       {"tokens", "1e9 tokens"},
                       {"hours", "hours"},
                       {"share", "of the time, %"},
                       {"begins", "begins, h"},
                       {"ends", "ends, h"},
                       {"fits", "fits"}});
  for (std::size_t phase = 0; phase < plan.phases.size(); ++phase) {
    double runs = 0.0, tokens = 0.0, begins = -1.0, ends = 0.0;
    bool in_memory = true;
    for (const CampaignRun& run : plan.runs) {
      if (run.phase != phase) continue;
      in_memory = in_memory && run.fits();
      if (begins < 0.0) begins = run.begins;
      ends = run.ends;
      if (!run.is_done()) continue;
      runs += 1.0;
      tokens += run.tokens();
    }
    const double hours = plan.hours_of(phase);
    const double late = std::min(ends - plan.usable, hours);
    const bool in_time = late <= 1e-9 * plan.usable;
    table.add({plan.phases[phase], count(runs), billions(tokens), fixed(hours, 2),
               fixed(100.0 * hours / plan.usable, 1), fixed(begins, 2), fixed(ends, 2),
               !in_memory ? std::string("not in memory")
               : in_time  ? std::string("yes")
                          : fmt::format("{:.2f} h over", late)});
  }
  return table;
}

/// How many more tokens the hours that are left would do, where that is worth a word.
std::string room_for_more(const CampaignPlan& plan) {
  const double factor = plan.needed() > 0.0 ? plan.usable / plan.needed() : 1.0;
  if (factor < 1.05) return {};
  return fmt::format(": every run could have {:.2f} times its tokens",
                     std::floor(100.0 * factor) / 100.0);
}

/// What is wrong, and what would help.
std::string verdict(const CampaignPlan& plan, double reserve) {
  std::string text;
  for (const CampaignRun& run : plan.runs) {
    if (run.fits()) continue;
    text += fmt::format(
        "\"{}\" does not fit: at least {:.1f} GiB of {:.4g} are needed ({}); use more devices, "
        "shorter sequences or a smaller model\n",
        run.name, static_cast<double>(run.layout.estimate.memory_bytes) / (1 << 30),
        plan.hardware.memory_gib, short_layout(run.layout.parameters));
  }
  const double free = plan.usable - plan.needed();
  if (plan.over() == 0.0)
    return text + fmt::format("all of it takes {:.2f} h, {:.2f} less than there are{}\n",
                              plan.needed(), std::max(0.0, free), room_for_more(plan));
  text += fmt::format("all of it takes {:.2f} h, {:.2f} more than there are; it would fit\n",
                      plan.needed(), plan.over());
  for (const std::string& way : ways_to_fit(plan, reserve)) text += fmt::format("  {}\n", way);
  return text;
}

report::Table for_programs(const std::vector<CampaignPlan>& plans) {
  report::Table table({{"device", ""},        {"ranks", ""},
                       {"phase", ""},         {"run", ""},
                       {"same_as", ""},       {"parameters", ""},
                       {"tokens", ""},        {"steps", ""},
                       {"expected_loss", ""}, {"fits_in_memory", ""},
                       {"fits_in_time", ""},  {"hours", ""},
                       {"begins", ""},        {"ends", ""},
                       {"memory_bytes", ""},  {"tokens_per_second", ""},
                       {"mfu_causal", ""},    {"tensor", ""},
                       {"data", ""},          {"micro_batch_size", ""},
                       {"recompute", ""},     {"zero_stage", ""}});
  const auto whole = [](std::int64_t value) { return count(static_cast<double>(value)); };
  for (const CampaignPlan& plan : plans)
    for (const CampaignRun& run : plan.runs) {
      const config::Parameters& p = run.layout.parameters;
      const Estimate& e = run.layout.estimate;
      const auto if_done = [&](double value) {
        return run.is_done() ? fixed(value, 6) : nothing();
      };
      table.add({plan.hardware.name,
                 whole(plan.ranks),
                 plan.phases[run.phase],
                 run.name,
                 run.same_as,
                 count(num_parameters(run)),
                 count(run.tokens()),
                 whole(p.training.steps),
                 fixed(expected_loss(p), 6),
                 run.fits() ? "yes" : "no",
                 run.ends <= plan.usable * (1.0 + 1e-9) ? "yes" : "no",
                 if_done(run.hours()),
                 if_done(run.begins),
                 if_done(run.ends),
                 whole(e.memory_bytes),
                 run.fits() ? fixed(e.tokens_per_second, 1) : nothing(),
                 run.fits() ? fixed(e.mfu_causal, 4) : nothing(),
                 whole(p.parallel.tensor),
                 whole(p.parallel.data),
                 whole(p.training.micro_batch_size),
                 p.memory.recompute,
                 whole(p.parallel.zero_stage)});
    }
  return table;
}

}  // namespace

std::string print_campaign(const std::string& name, const std::vector<CampaignPlan>& plans,
                           double reserve, report::Format format) {
  if (format == report::Format::csv || format == report::Format::json)
    return for_programs(plans).print(format);
  std::string text;
  for (const CampaignPlan& plan : plans) {
    text += text.empty() ? "" : "\n";
    text += fmt::format(
        "{}: {:.4g} h on {} x {}, of which {:.4g} h are kept (campaign.reserve = {})\n\n", name,
        plan.hours, with_commas(plan.ranks), plan.hardware.name, plan.hours - plan.usable, reserve);
    text += for_people(plan).print(format);
    const bool has_context = std::any_of(
        plan.runs.begin(), plan.runs.end(),
        [](const CampaignRun& run) { return run.layout.parameters.parallel.context > 1; });
    text += "\nlayout: " + layout_legend(has_context) + "\n\n";
    text += of_phases(plan).print(format) + "\n" + verdict(plan, reserve);
  }
  return text;
}

}  // namespace espalier::plan
