#include "plan/estimate/campaign.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <filesystem>

#include "base/error.hpp"
#include "base/text.hpp"
#include "config/changes.hpp"
#include "plan/estimate/planned_input.hpp"
#include "plan/estimate/run_input.hpp"

namespace espalier::plan {
namespace {

using config::CampaignPhase;
using config::HardwareParameters;
using config::Parameters;

std::string trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(" \t") + 1 - begin));
}

/// "section.key = a | b" taken apart.
struct Change {
  std::string key;
  std::vector<std::string> values;
};

/// Tables that say something of the campaign, not of a run of it.
constexpr std::array<std::string_view, 6> kNotOfRuns = {"plan.",     "search.",   "loss_law.",
                                                        "hardware.", "campaign.", "fit."};
/// What the plan decides for every run.
constexpr std::array<std::string_view, 12> kDecided = {"run.name",
                                                       "output.directory",
                                                       "parallel.tensor",
                                                       "parallel.context",
                                                       "parallel.data",
                                                       "parallel.pipeline",
                                                       "parallel.expert",
                                                       "parallel.stage_layers",
                                                       "parallel.sequence_parallel",
                                                       "parallel.zero_stage",
                                                       "training.micro_batch_size",
                                                       "memory.recompute"};

/// Errors of a phase, which begin with its number and name.
class PhaseErrors {
 public:
  PhaseErrors(std::size_t index, const std::string& name)
      : where_(name.empty() ? fmt::format("phase {} of [campaign]", index + 1)
                            : fmt::format("phase {} of [campaign], \"{}\"", index + 1, name)) {}
  void require(bool condition, const std::string& message) const {
    if (!condition)
      throw Error(ExitStatus::bad_configuration, fmt::format("{}: {}", where_, message),
                  Met::by_every_rank);
  }
  template <class Action>
  auto in(Action&& action) const {
    try {
      return action();
    } catch (const Error& error) {
      throw Error(error.status(), fmt::format("{}: {}", where_, error.what()), error.met());
    }
  }

 private:
  std::string where_;
};

Change parse_change(const std::string& text, const PhaseErrors& errors) {
  const std::size_t equals = text.find('=');
  errors.require(equals != std::string::npos,
                 fmt::format("the change \"{}\" is not of the form section.key=value, as in "
                             "\"model.rope_theta=1e5 | 1e6\"",
                             text));
  Change change{trimmed(text.substr(0, equals)), {}};
  std::string_view rest = std::string_view(text).substr(equals + 1);
  for (;;) {
    const std::size_t bar = rest.find('|');
    change.values.push_back(trimmed(rest.substr(0, bar)));
    // One empty value is a text like any other.
    const bool is_alone = change.values.size() == 1 && bar == std::string_view::npos;
    errors.require(is_alone || !change.values.back().empty(),
                   fmt::format("the change \"{}\" has an empty value", text));
    if (bar == std::string_view::npos) break;
    rest.remove_prefix(bar + 1);
  }
  for (const std::string_view table : kNotOfRuns)
    errors.require(!change.key.starts_with(table),
                   fmt::format("the change \"{}\" is not of a run: set {} in the campaign itself",
                               text, change.key));
  for (const std::string_view key : kDecided)
    errors.require(
        change.key != key,
        fmt::format("the change \"{}\" is in vain: the plan decides {}; remove it", text, key));
  return change;
}

/// As part of the name of a run and of its file.
std::string name_part(const std::string& value) {
  std::string name;
  for (const char c : value) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_';
    if (plain)
      name += c;
    else if (!name.empty() && name.back() != '-')
      name += '-';
  }
  while (!name.empty() && name.back() == '-') name.pop_back();
  return name;
}

/// The name and the overrides of one run of a phase.
struct Variant {
  std::string name;
  std::vector<std::string> overrides;
};

std::vector<Variant> variants_of(const CampaignPhase& phase, const PhaseErrors& errors) {
  std::vector<Change> changes;
  std::size_t runs = 1;
  const Change* first = nullptr;  // of those with several values
  changes.reserve(phase.changes.size());
  for (const std::string& text : phase.changes) {
    const Change& change = changes.emplace_back(parse_change(text, errors));
    if (change.values.size() == 1) continue;
    if (first == nullptr) first = &change;
    errors.require(
        change.values.size() == first->values.size(),
        fmt::format("{} has {} values and {} has {}: they go together, value by value, and need as "
                    "many; to vary them apart make them two phases",
                    first->key, first->values.size(), change.key, change.values.size()));
    runs = first->values.size();
  }
  std::vector<Variant> variants;
  for (std::size_t i = 0; i < runs; ++i) {
    Variant variant{phase.name, {}};
    if (first != nullptr) variant.name += "-" + name_part(first->values[i]);
    for (const Change& change : changes)
      variant.overrides.push_back(
          fmt::format("{}={}", change.key, change.values[change.values.size() == 1 ? 0 : i]));
    variants.push_back(std::move(variant));
  }
  return variants;
}

std::string find_input(const CampaignPhase& phase, const std::string& folder,
                       const PhaseErrors& errors) {
  errors.require(!phase.input.empty(), "no input: name the run input that it starts from");
  const std::filesystem::path beside = std::filesystem::path(folder) / phase.input;
  std::error_code ignored;
  if (std::filesystem::exists(beside, ignored)) return beside.lexically_normal().string();
  errors.require(std::filesystem::exists(phase.input, ignored),
                 fmt::format("input = \"{}\" is neither at {} nor at {}", phase.input,
                             beside.lexically_normal().string(), phase.input));
  return phase.input;
}

void check_phase(const CampaignPhase& phase, const PhaseErrors& errors) {
  errors.require(!name_part(phase.name).empty() && name_part(phase.name) == phase.name,
                 "its name is part of the names of runs and files: give it one of letters, digits, "
                 "\".\", \"_\" and \"-\"");
  errors.require(phase.tokens == 0.0 || phase.share == 0.0,
                 fmt::format("tokens = {:.4g} and share = {:.4g} both say how long it is: keep one",
                             phase.tokens, phase.share));
  errors.require(phase.tokens == std::floor(phase.tokens) && phase.tokens < 9007199254740992.0,
                 fmt::format("tokens = {} is no number of tokens", phase.tokens));
}

void check_campaign(const Parameters& p) {
  const auto need = [](bool condition, const std::string& message) {
    if (!condition) throw Error(ExitStatus::bad_configuration, message, Met::by_every_rank);
  };
  Parameters heeded = p;  // a campaign says nothing of its runs but by changes of the phases
  heeded.run = {};
  Parameters::tables(heeded, [&](std::string_view table, std::string_view, const auto& values) {
    if (table == "plan" || table == "campaign" || table == "hardware" || table == "loss_law")
      return;
    const auto set = config::changes(table, std::decay_t<decltype(values)>(), values);
    need(set.empty(),
         set.empty() ? std::string()
                     : fmt::format("{} = {} is not heeded by a campaign: set it in the inputs of "
                                   "its phases, or as one of their changes",
                                   set.front().key, set.front().now));
  });
  need(!p.campaign.phases.empty(),
       "the campaign has no phases: write a [[campaign.phases]] for each, with name and input "
       "(inputs/plans/b200-60h.toml is one)");
  need(p.plan.hours > 0.0, "plan.hours is not set: how many hours the campaign has");
  need(p.plan.ranks > 0, "plan.ranks is not set: how many devices the campaign has");
  need(p.campaign.reserve < 1.0,
       fmt::format("campaign.reserve = {} leaves no time: keep less than all of plan.hours",
                   p.campaign.reserve));
  double shares = 0.0;
  for (const CampaignPhase& phase : p.campaign.phases) shares += phase.share;
  // Shares such as 0.1 + 0.2 + 0.7 are written in decimals.
  need(shares <= 1.0 + 1e-9,
       fmt::format("the shares of the phases add up to {:.4g}: together they may have 1, which is "
                   "plan.hours without campaign.reserve",
                   shares));
}

/// The parameters of one run before it is laid out.
Parameters read_variant(const Parameters& campaign, const CampaignPhase& phase,
                        const std::string& path, const Variant& variant,
                        const PhaseErrors& errors) {
  Parameters p = read_planned_input(path, variant.overrides);
  const bool length_is_changed =
      std::any_of(variant.overrides.begin(), variant.overrides.end(), [](const std::string& text) {
        return text.starts_with("training.tokens=") || text.starts_with("training.steps=");
      });
  const bool phase_says = phase.tokens > 0.0 || phase.share > 0.0;
  errors.require(
      !phase_says || !length_is_changed,
      "both a change of training.tokens or training.steps and the tokens or share of the "
      "phase say how long it is: keep one");
  if (phase.tokens > 0.0) {
    p.training.steps = 0;
    p.training.tokens = static_cast<std::int64_t>(phase.tokens);
  }
  if (phase.share > 0.0) {
    p.training.tokens = 0;
    // Of the schedule no more than this is known yet.
    p.training.steps = p.schedule.warmup_steps + p.schedule.decay_steps + 1;
  }
  errors.require(has_length(p),
                 fmt::format("nothing says how long it is: set its tokens or share, or "
                             "training.tokens in {}",
                             path));
  p.run.name = variant.name;
  p.output.directory = "runs/" + variant.name;
  p.plan = campaign.plan;
  if (!config::changes("loss_law", config::LossLawParameters(), campaign.loss_law).empty())
    p.loss_law = campaign.loss_law;
  return p;
}

double seconds_per_token(const CampaignRun& run) {
  return 1.0 / run.layout.estimate.tokens_per_second;
}

/// Sets the length that a phase's share of the time allows, the same tokens for all its runs.
void set_length_by_share(std::vector<CampaignRun*> runs, double hours, const PhaseErrors& errors) {
  double seconds = 0.0;
  for (const CampaignRun* run : runs)
    if (run->fits()) seconds += seconds_per_token(*run);
  if (seconds == 0.0) return;  // none fits into memory
  const double tokens = hours * 3600.0 / seconds;
  for (CampaignRun* run : runs) {
    Parameters& p = run->layout.parameters;
    const double batch = static_cast<double>(p.training.global_batch_size) *
                         static_cast<double>(p.training.sequence_length);
    p.training.steps = static_cast<std::int64_t>(tokens / batch);
    errors.require(p.training.steps > 0,
                   fmt::format("its share of the time, {:.3g} h, is {:.3g} tokens for each of its "
                               "{} run(s), which is not one step of {}: {:.3g} tokens",
                               hours, tokens, runs.size(), run->name, batch));
  }
}

/// Whether both compute the same, whatever they are called.
bool are_the_same(const CampaignRun& a, const CampaignRun& b) {
  const auto text = [](Parameters p) {
    p.run = {};
    p.output = {};
    p.training.tokens = 0;
    return config::to_toml(p);
  };
  return text(a.layout.parameters) == text(b.layout.parameters);
}

}  // namespace

double CampaignRun::tokens() const {
  const config::TrainingParameters& t = layout.parameters.training;
  return static_cast<double>(t.steps) * static_cast<double>(t.global_batch_size) *
         static_cast<double>(t.sequence_length);
}

double CampaignPlan::needed() const {
  return runs.empty() ? 0.0 : runs.back().ends;
}
double CampaignPlan::over() const {
  // What a share was turned into whole steps of is never more than it.
  return std::max(0.0, needed() - usable * (1.0 + 1e-9));
}
double CampaignPlan::hours_of(std::size_t phase) const {
  double sum = 0.0;
  for (const CampaignRun& run : runs)
    if (run.phase == phase) sum += run.hours();
  return sum;
}
bool CampaignPlan::fits() const {
  return over() == 0.0 &&
         std::all_of(runs.begin(), runs.end(), [](const CampaignRun& run) { return run.fits(); });
}

CampaignPlan plan_campaign(const Parameters& campaign, const std::string& folder,
                           const HardwareParameters& hardware) {
  check_campaign(campaign);
  CampaignPlan plan{.hardware = hardware,
                    .ranks = campaign.plan.ranks,
                    .hours = campaign.plan.hours,
                    .usable = campaign.plan.hours * (1.0 - campaign.campaign.reserve),
                    .phases = {},
                    .runs = {}};
  double now = 0.0;
  for (std::size_t i = 0; i < campaign.campaign.phases.size(); ++i) {
    const CampaignPhase& phase = campaign.campaign.phases[i];
    const PhaseErrors errors(i, phase.name);
    check_phase(phase, errors);
    const std::string path = find_input(phase, folder, errors);
    const std::size_t first = plan.runs.size();
    plan.phases.push_back(phase.name);
    for (const Variant& variant : variants_of(phase, errors)) {
      for (const CampaignRun& other : plan.runs)
        errors.require(
            other.name != variant.name,
            fmt::format("there are two runs \"{}\": give the phases other names", variant.name));
      CampaignRun run{.phase = i, .name = variant.name, .layout = {}, .same_as = {}};
      run.layout = errors.in([&] {
        return layouts(read_variant(campaign, phase, path, variant, errors), hardware, plan.ranks)
            .front();
      });
      plan.runs.push_back(std::move(run));
    }
    std::vector<CampaignRun*> own;
    for (std::size_t r = first; r < plan.runs.size(); ++r) own.push_back(&plan.runs[r]);
    if (phase.share > 0.0) set_length_by_share(own, phase.share * plan.usable, errors);
    for (CampaignRun* run : own) {
      Layout& layout = run->layout;
      // A schedule may not go with the length that the share gave.
      errors.in([&] {
        config::resolve(layout.parameters, static_cast<int>(plan.ranks), config::Use::planning);
      });
      for (const CampaignRun& other : plan.runs) {
        if (&other == run) break;
        if (other.same_as.empty() && are_the_same(other, *run)) {
          run->same_as = other.name;
          break;
        }
      }
      if (run->fits())
        layout.estimate.hours = run->tokens() / layout.estimate.tokens_per_second / 3600.0;
      run->begins = now;
      run->ends = now += run->is_done() ? layout.estimate.hours : 0.0;
    }
  }
  return plan;
}

std::vector<std::string> write_campaign(std::span<const CampaignPlan> plans,
                                        const std::string& folder) {
  std::vector<std::pair<const Layout*, const HardwareParameters*>> done;
  for (const CampaignPlan& plan : plans)
    for (const CampaignRun& run : plan.runs)
      if (run.is_done()) done.emplace_back(&run.layout, &plan.hardware);
  for (const auto& [layout, hardware] : done) require_new_run_input(folder, *layout, *hardware);
  std::vector<std::string> paths;
  for (const auto& [layout, hardware] : done)
    paths.push_back(write_run_input(folder, *layout, *hardware));
  return paths;
}

namespace {

/// "64.83e9", rounded down.
std::string billions(double tokens) {
  const double digit = std::pow(10.0, std::floor(std::log10(tokens)) - 3.0);
  return fmt::format("{:.4g}e9", std::floor(tokens / digit) * digit / 1e9);
}

/// The shortest run whose hours are enough; where no one is, the last runs, as few as are.
std::string runs_to_leave_out(const CampaignPlan& plan) {
  const double over = plan.over();
  const CampaignRun* shortest = nullptr;
  for (const CampaignRun& run : plan.runs)
    if (run.hours() >= over && (shortest == nullptr || run.hours() < shortest->hours()))
      shortest = &run;
  if (shortest != nullptr)
    return fmt::format("\"{}\" ({:.3g} h)", shortest->name, shortest->hours());
  double saved = 0.0;
  std::string names;
  for (std::size_t i = plan.runs.size(); i-- > 0 && saved < over;) {
    const CampaignRun& run = plan.runs[i];
    if (run.hours() == 0.0) continue;
    saved += run.hours();
    names = fmt::format("\"{}\"{}{}", run.name, names.empty() ? "" : ", ", names);
  }
  return fmt::format("{} ({:.3g} h)", names, saved);
}

}  // namespace

std::vector<std::string> ways_to_fit(const CampaignPlan& plan, double reserve) {
  std::vector<std::string> ways;
  const double over = plan.over();
  if (over == 0.0) return ways;
  ways.push_back(fmt::format("{:.3g} of the tokens of every run",
                             0.001 * std::floor(1000.0 * plan.usable / plan.needed())));
  for (std::size_t phase = 0; phase < plan.phases.size(); ++phase) {
    const double hours = plan.hours_of(phase);
    if (hours <= over) continue;
    double most = 0.0;
    for (const CampaignRun& run : plan.runs)
      if (run.phase == phase && run.fits()) most = std::max(most, run.tokens());
    ways.push_back(fmt::format("\"{}\" with {} tokens a run in place of {}", plan.phases[phase],
                               billions(most * (hours - over) / hours), billions(most)));
  }
  ways.push_back("without " + runs_to_leave_out(plan));
  ways.push_back(
      fmt::format("plan.hours = {:.1f}", std::ceil(10.0 * plan.needed() / (1.0 - reserve)) / 10.0));
  return ways;
}

}  // namespace espalier::plan
