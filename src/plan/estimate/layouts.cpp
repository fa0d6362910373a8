// Every legal layout of a run on a number of devices, and which of them is the best.
#include <algorithm>
#include <array>
#include <optional>
#include <set>

#include "base/text.hpp"
#include "config/experts.hpp"
#include "config/grid.hpp"
#include "plan/context_sizes.hpp"
#include "plan/estimate/estimate.hpp"
#include "plan/estimate/layout_memory.hpp"
#include "plan/memory_fit.hpp"
#include "plan/memory_plan.hpp"
#include "plan/time/pipeline_time.hpp"
#include "train/step/programs.hpp"

namespace espalier::plan {
namespace {

constexpr std::array kRecomputeModes = {"none", "selective", "mlp", "full"};
/// parallel.data has no more.
constexpr std::int64_t kMostRanks = 1 << 20;

std::vector<std::int64_t> divisors(std::int64_t number) {
  std::vector<std::int64_t> small, large;
  for (std::int64_t d = 1; d * d <= number; ++d) {
    if (number % d != 0) continue;
    small.push_back(d);
    if (d * d != number) large.push_back(number / d);
  }
  small.insert(small.end(), large.rbegin(), large.rend());
  return small;
}

bool resolves(config::Parameters& p, std::int64_t ranks) {
  try {
    config::resolve(p, static_cast<int>(ranks), config::Use::planning);
    return true;
  } catch (const Error&) {
    return false;
  }
}

/// A bubble as long as the computation, or longer, helps nobody: a pipeline has at least as many
/// micro-batches as ranks.
bool fills_pipeline(const config::Parameters& p) {
  return p.parallel.pipeline == 1 ||
         p.training.global_batch_size / (p.parallel.data * p.training.micro_batch_size) >=
             p.parallel.pipeline;
}

/// Which schedules a pipeline may have.
struct ScheduleChoice {
  std::string name;
  std::int64_t chunks = 0;
};

/// Those that are tried in place of 1f1b, of which each is somewhere the best. gpipe is not among
/// them: it takes as long as 1f1b and keeps more.
std::vector<ScheduleChoice> open_schedules(const config::Parameters& p) {
  std::vector<ScheduleChoice> all{{"1f1b"}, {"zb-h1"}};
  const std::vector<std::int64_t> several =
      p.plan.chunks > 1 ? std::vector{p.plan.chunks} : std::vector<std::int64_t>{2, 4};
  for (const char* name : {"interleaved", "zb1p"})
    for (const std::int64_t chunks : several) all.push_back({name, chunks});
  all.push_back({"zb-v", 2});
  all.push_back({"dualpipe-v", 2});
  return all;
}

config::Parameters with_schedule(config::Parameters p, const ScheduleChoice& choice) {
  p.parallel.schedule = choice.name;
  p.parallel.chunks = choice.chunks;
  return p;
}

/// What config::resolve asks of the schedule of a layout that is legal with 1f1b.
bool fits_schedule(const config::Parameters& p) {
  const parallel::GridShape shape = config::grid_shape(p);
  const std::int64_t chunks = config::num_chunks(p.parallel);
  return p.parallel.pipeline * chunks <= p.model.num_hidden_layers + 2 &&
         pipeline::misfit_of(pipeline::schedule_from_name(p.parallel.schedule),
                             {.ranks = shape.pipeline,
                              .micro_batches = static_cast<int>(train::num_micro_batches(p, shape)),
                              .chunks = static_cast<int>(chunks)})
             .none();
}

/// With sequence parallelism, or without it where that is what makes the layout legal; with the
/// asked schedule of a pipeline, or 1f1b where that is.
std::optional<config::Parameters> legal(const config::Parameters& asked, std::int64_t ranks) {
  if (!fills_pipeline(asked)) return std::nullopt;
  std::vector<config::Parameters> candidates{asked};
  if (asked.parallel.pipeline > 1 &&
      (asked.parallel.schedule != "1f1b" || asked.parallel.chunks > 1))
    candidates.push_back(with_schedule(asked, {"1f1b"}));
  for (config::Parameters& p : candidates) {
    p.parallel.sequence_parallel = true;
    if (config::Parameters with = p; resolves(with, ranks)) return with;
    p.parallel.sequence_parallel = false;
    if (p.parallel.tensor > 1 && resolves(p, ranks)) return p;
  }
  return std::nullopt;
}

/// Chunks that the schedule cannot have are wrong with all layouts.
void require_chunks_fit(const config::Parameters& p) {
  const bool is_of_plan = p.plan.schedule != "all" && (p.plan.schedule != p.parallel.schedule ||
                                                       p.plan.chunks != p.parallel.chunks);
  const ScheduleChoice asked = is_of_plan ? ScheduleChoice{p.plan.schedule, p.plan.chunks}
                                          : ScheduleChoice{p.parallel.schedule, p.parallel.chunks};
  if (asked.chunks == 0) return;
  const std::string why =
      pipeline::misfit_of(pipeline::schedule_from_name(asked.name),
                          {.ranks = 1, .chunks = static_cast<int>(asked.chunks)})
          .chunks;
  if (!why.empty())
    throw Error(
        ExitStatus::bad_configuration,
        fmt::format("{}.chunks = {}: {}", is_of_plan ? "plan" : "parallel", asked.chunks, why),
        Met::by_every_rank);
}

/// The input on one rank, with nothing of a layout. What is wrong with it is wrong with all
/// layouts, and is thrown.
config::Parameters on_one_rank(config::Parameters p) {
  p.parallel.tensor = p.parallel.data = p.training.micro_batch_size = 1;
  p.parallel.context = p.parallel.pipeline = p.parallel.expert = 1;
  p.parallel.stage_layers.clear();
  if (p.plan.schedule != "all") {
    p.parallel.schedule = p.plan.schedule;
    p.parallel.chunks = p.plan.chunks;
  }
  p.parallel.zero_stage = 1;
  p.memory.recompute = kRecomputeModes.front();
  p.memory.recompute_blocks.clear();
  config::resolve(p, 1, config::Use::planning);
  return p;
}

/// on_one_rank -> legal grids of that many ranks, with their smallest micro-batch.
std::vector<config::Parameters> legal_grids(const config::Parameters& base, std::int64_t ranks) {
  std::vector<config::Parameters> grids;
  const std::vector<std::int64_t> experts = config::has_experts(base.model)
                                                ? divisors(base.model.num_experts)
                                                : std::vector<std::int64_t>{1};
  const std::vector<std::int64_t> contexts = context_sizes(base.training.sequence_length);
  for (const std::int64_t pipeline : divisors(ranks)) {
    if (pipeline > base.model.num_hidden_layers + 2 || pipeline > base.training.global_batch_size)
      break;
    for (const std::int64_t tensor : divisors(ranks / pipeline)) {
      if (tensor > base.model.num_attention_heads) break;
      for (const std::int64_t context : contexts) {
        if (ranks / pipeline / tensor % context != 0) continue;
        const std::int64_t data = ranks / pipeline / tensor / context;
        if (base.training.global_batch_size % data != 0) continue;
        for (const std::int64_t expert : experts) {
          if (tensor * context * data % expert != 0) continue;
          config::Parameters p = base;
          p.parallel.pipeline = pipeline;
          p.parallel.tensor = tensor;
          p.parallel.context = context;
          p.parallel.data = data;
          p.parallel.expert = expert;
          // Some are legal with longer micro-batches alone, whose tokens divide over tensor ranks.
          for (const std::int64_t micro : divisors(p.training.global_batch_size / data)) {
            p.training.micro_batch_size = micro;
            if (!legal(p, ranks)) continue;
            grids.push_back(p);
            break;
          }
        }
      }
    }
  }
  return grids;
}

/// The nearest numbers of ranks below and above that have a layout. Data ranks divide the samples
/// of a step, context ranks long samples, tensor ranks the heads, and a pipeline has a block on
/// most ranks: these are the numbers to ask for.
std::vector<std::int64_t> usable_ranks_near(const config::Parameters& base, std::int64_t ranks) {
  std::set<std::int64_t> candidates;
  std::set<std::int64_t> parts;  // data x context
  for (const std::int64_t data : divisors(base.training.global_batch_size))
    for (const std::int64_t context : context_sizes(base.training.sequence_length))
      if (data <= kMostRanks / context) parts.insert(data * context);
  for (const std::int64_t part : parts)
    for (std::int64_t tensor = 1; tensor <= base.model.num_attention_heads; ++tensor)
      for (std::int64_t stages = 1; stages <= base.model.num_hidden_layers + 2; ++stages)
        if (part * tensor * stages <= kMostRanks) candidates.insert(part * tensor * stages);
  const auto is_usable = [&](std::int64_t n) { return !legal_grids(base, n).empty(); };
  const auto above = candidates.upper_bound(ranks);
  std::vector<std::int64_t> near;
  const auto below = std::find_if(std::reverse_iterator(above), candidates.rend(), is_usable);
  if (below != candidates.rend()) near.push_back(*below);
  const auto next = std::find_if(above, candidates.end(), is_usable);
  if (next != candidates.end()) near.push_back(*next);
  return near;
}

[[noreturn]] void fail_without_layout(const config::Parameters& base, std::int64_t ranks) {
  std::string numbers;
  const std::vector<std::int64_t> contexts = context_sizes(base.training.sequence_length);
  for (const std::int64_t n : usable_ranks_near(base, ranks))
    numbers += fmt::format("{}{}", numbers.empty() ? "" : " or ", with_commas(n));
  throw Error(
      ExitStatus::bad_configuration,
      fmt::format(
          "no layout uses {} ranks: tensor x {}data x pipeline must be {}, tensor must "
          "divide the heads ({} of queries, {} of keys), intermediate size and vocabulary "
          "of the model, {}data must divide training.global_batch_size = {}, and a pipeline "
          "of {} blocks has at most {} ranks and as many micro-batches. Use {} ranks, or "
          "another global batch",
          with_commas(ranks), contexts.size() > 1 ? "context x " : "", ranks,
          base.model.num_attention_heads, base.model.num_key_value_heads,
          contexts.size() > 1
              ? fmt::format("context must divide training.sequence_length = {} and be at "
                            "most {}, ",
                            base.training.sequence_length, contexts.back())
              : "",
          base.training.global_batch_size, base.model.num_hidden_layers,
          base.model.num_hidden_layers + 2, numbers),
      Met::by_every_rank);
}

std::vector<config::Parameters> legal_layouts(const config::Parameters& base, std::int64_t ranks) {
  std::vector<config::Parameters> all;
  for (const config::Parameters& grid : legal_grids(base, ranks))
    for (const std::int64_t micro : divisors(grid.training.global_batch_size / grid.parallel.data))
      for (const std::int64_t zero : {1, 0}) {
        // With experts, stages or sequences over ranks it is never what makes a run fast.
        if (zero == 0 && (grid.parallel.data == 1 || grid.parallel.pipeline > 1 ||
                          grid.parallel.expert > 1 || grid.parallel.context > 1))
          continue;
        for (const char* recompute : kRecomputeModes) {
          config::Parameters p = grid;
          p.training.micro_batch_size = micro;
          p.parallel.zero_stage = zero;
          p.memory.recompute = recompute;
          if (const auto layout = legal(p, ranks)) all.push_back(*layout);
        }
      }
  return all;
}

bool comes_before(const Layout& a, const Layout& b) {
  const auto by_memory = [](const Layout& x, const Layout& y) {
    const auto key = [](const Layout& l) {
      const config::Parameters& p = l.parameters;
      return std::tuple(l.estimate.memory_bytes, p.parallel.pipeline, p.parallel.tensor,
                        p.parallel.context, p.parallel.expert, -p.training.micro_batch_size,
                        -p.parallel.zero_stage, p.memory.recompute);
    };
    return key(x) < key(y);
  };
  if (a.estimate.fits != b.estimate.fits) return a.estimate.fits;
  if (a.estimate.fits && a.estimate.tokens_per_second != b.estimate.tokens_per_second)
    return a.estimate.tokens_per_second > b.estimate.tokens_per_second;
  return by_memory(a, b);
}

std::string gib(std::int64_t bytes) {
  return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / static_cast<double>(1 << 30));
}

/// The fewest ranks, up to 64 times as many, on which something fits; none.
std::optional<Layout> fitting_on_more(const config::Parameters& base,
                                      const config::HardwareParameters& hardware,
                                      std::int64_t ranks) {
  for (std::int64_t n = 2 * ranks; n <= std::min(64 * ranks, kMostRanks); n *= 2) {
    LayoutMemory memory(hardware);
    std::optional<Layout> smallest;
    for (const config::Parameters& p : legal_layouts(base, n)) {
      if (p.training.micro_batch_size > 1) continue;
      Layout layout{p, memory.of(p)};
      if (layout.estimate.fits && (!smallest || comes_before(layout, *smallest)))
        smallest = std::move(layout);
    }
    if (smallest) return smallest;
  }
  return std::nullopt;
}

std::int64_t num_micro_batches(const config::Parameters& p) {
  return p.training.global_batch_size / p.parallel.data / p.training.micro_batch_size;
}

/// Estimates of layouts of one run on one kind of device.
class Estimates {
 public:
  Estimates(const config::Parameters& run, const config::HardwareParameters& hardware)
      : hardware_(hardware), run_(RunFigures::of(run)), memory_(hardware), times_(hardware) {}

  Layout of(config::Parameters p) {
    Layout layout{.parameters = std::move(p), .estimate = {}};
    layout.estimate = memory_.of(layout.parameters);
    if (layout.estimate.fits) add(layout, times_.of(layout.parameters));
    return layout;
  }

  /// With the schedule that is the fastest of those that fit, or with the one that needs least
  /// where none fits.
  Layout with_best_schedule(const config::Parameters& p) {
    struct Candidate {
      Layout layout;
      double at_least;
    };
    std::vector<Candidate> fitting;
    std::optional<Layout> smallest;
    for (const ScheduleChoice& choice : open_schedules(p)) {
      Layout layout{.parameters = with_schedule(p, choice), .estimate = {}};
      if (!fits_schedule(layout.parameters)) continue;
      layout.estimate = memory_.of(layout.parameters);
      if (layout.estimate.fits)
        fitting.push_back({layout, times_.at_least(layout.parameters)});
      else if (!smallest || layout.estimate.memory_bytes < smallest->estimate.memory_bytes)
        smallest = layout;
    }
    if (fitting.empty()) return *smallest;
    std::stable_sort(fitting.begin(), fitting.end(), [](const Candidate& a, const Candidate& b) {
      return a.at_least < b.at_least;
    });
    Candidate* best = nullptr;
    StepTime best_time;
    for (Candidate& candidate : fitting) {
      if (best != nullptr && candidate.at_least >= best_time.step()) break;
      const StepTime time = times_.of(candidate.layout.parameters);
      if (best != nullptr && time.step() >= best_time.step()) continue;
      best = &candidate;
      best_time = time;
    }
    add(best->layout, best_time);
    return std::move(best->layout);
  }

 private:
  void add(Layout& layout, const StepTime& time) const {
    add_times(layout.estimate, time, layout.parameters, hardware_, run_);
  }

  const config::HardwareParameters& hardware_;
  RunFigures run_;
  LayoutMemory memory_;
  StepTimes times_;
};

}  // namespace

bool leaves_schedule_open(const config::Parameters& p) {
  const config::ParallelParameters unsaid;
  return p.plan.schedule == "all" && p.parallel.schedule == unsaid.schedule &&
         p.parallel.chunks == unsaid.chunks;
}

std::vector<Layout> layouts(const config::Parameters& parameters,
                            const config::HardwareParameters& hardware, std::int64_t ranks) {
  require_chunks_fit(parameters);
  const config::Parameters base = on_one_rank(parameters);
  if (ranks < 1 || ranks > kMostRanks)
    throw Error(ExitStatus::bad_configuration,
                fmt::format("plan.ranks = {}: 1 to {} devices can be planned for", ranks,
                            with_commas(kMostRanks)),
                Met::by_every_rank);
  Estimates estimates(base, hardware);
  std::vector<Layout> all;
  for (config::Parameters& p : legal_layouts(base, ranks))
    all.push_back(p.parallel.pipeline > 1 && leaves_schedule_open(parameters)
                      ? estimates.with_best_schedule(p)
                      : estimates.of(std::move(p)));
  if (all.empty()) fail_without_layout(base, ranks);
  std::stable_sort(all.begin(), all.end(), comes_before);
  return all;
}

Layout best_layout(const config::Parameters& parameters, const config::HardwareParameters& hardware,
                   std::int64_t ranks) {
  std::vector<Layout> all = layouts(parameters, hardware, ranks);
  if (!all.front().estimate.fits)
    throw Error(ExitStatus::bad_configuration, why_none_fits(parameters, hardware, all),
                Met::by_every_rank);
  return std::move(all.front());
}

std::string why_none_fits(const config::Parameters& parameters,
                          const config::HardwareParameters& hardware,
                          const std::vector<Layout>& all) {
  const Layout& nearest = all.front();
  const std::int64_t ranks = nearest.estimate.ranks;
  std::string text = fmt::format(
      "none of the {} layouts on {} x {} fits into its {:.1f} GiB: the nearest needs {}: {}",
      with_commas(std::ssize(all)), with_commas(ranks), hardware.name, hardware.memory_gib,
      gib(nearest.estimate.memory_bytes), describe_layout(nearest.parameters));
  const bool on_gpu = hardware.kind == "gpu";
  const TrainingMemory plan = TrainingMemory::planned(
      nearest.parameters,
      {config::grid_shape(nearest.parameters),
       largest_rank(nearest.parameters, config::grid_shape(nearest.parameters), room_on(hardware))},
      on_gpu ? device::Backend::cuda : device::Backend::host,
      static_cast<int>(hardware.compute_capability));
  for (const TrainingMemory::Line& line : plan.lines())
    text +=
        fmt::format("\n  {:<17} {:>12}", line.name, human_bytes(static_cast<double>(line.bytes)));
  if (nearest.estimate.library_bytes > 0)
    text += fmt::format("\n  {:<17} {:>12}", on_gpu ? "CUDA and NCCL" : "program",
                        human_bytes(static_cast<double>(nearest.estimate.library_bytes)));
  text += "\nwhat would help:";
  if (const auto more = fitting_on_more(on_one_rank(parameters), hardware, ranks))
    text += fmt::format("\n  plan.ranks = {}: {}, {}", more->estimate.ranks,
                        describe_layout(more->parameters), gib(more->estimate.memory_bytes));
  text +=
      "\n  a device with more memory (plan.device), shorter sequences "
      "(training.sequence_length), or a smaller model";
  return text;
}

std::string describe_layout(const config::Parameters& p) {
  std::string axes;
  if (p.parallel.pipeline > 1) {
    axes = fmt::format(" x pipeline {} ({}", p.parallel.pipeline, p.parallel.schedule);
    axes += p.parallel.chunks > 1 ? fmt::format(", {} chunks)", p.parallel.chunks) : ")";
  }
  if (p.parallel.expert > 1) axes += fmt::format(", expert {}", p.parallel.expert);
  return fmt::format(
      "tensor {} x {}data {}{}{}, micro-batch {}, recompute {}, ZeRO-{}", p.parallel.tensor,
      p.parallel.context > 1 ? fmt::format("context {} x ", p.parallel.context) : std::string(),
      p.parallel.data, axes,
      p.parallel.tensor > 1 && !p.parallel.sequence_parallel ? " without sequence parallelism" : "",
      p.training.micro_batch_size, p.memory.recompute, p.parallel.zero_stage);
}

std::string short_grid(const config::Parameters& p) {
  std::string text = fmt::format("{} x {}", p.parallel.tensor, p.parallel.data);
  if (p.parallel.pipeline > 1) text += fmt::format(" x {}", p.parallel.pipeline);
  if (p.parallel.context > 1) text += fmt::format(", c {}", p.parallel.context);
  if (p.parallel.expert > 1) text += fmt::format(", e {}", p.parallel.expert);
  return text;
}

std::string layout_legend(bool has_context) {
  return fmt::format("tensor x data ranks{}, sequences of a micro-batch, recompute",
                     has_context ? ", c: context ranks" : "");
}

std::string why_slower(const Layout& best, const Layout& other) {
  const double step = best.estimate.step();
  if (other.estimate.step() <= step) return {};
  // By how much longer each part is.
  std::vector<StepPart> parts = step_parts(other.estimate);
  const std::vector<StepPart> of_the_best = step_parts(best.estimate);
  for (std::size_t i = 0; i < parts.size(); ++i) parts[i].seconds -= of_the_best[i].seconds;
  std::stable_sort(parts.begin(), parts.end(),
                   [](const StepPart& a, const StepPart& b) { return a.seconds > b.seconds; });
  std::string text;
  const std::string& mode = other.parameters.memory.recompute;
  const std::string& best_mode = best.parameters.memory.recompute;
  const auto strength = [](const std::string& name) {
    return std::find(kRecomputeModes.begin(), kRecomputeModes.end(), name);
  };
  if (strength(mode) > strength(best_mode)) text = "recompute";
  if (const std::int64_t of_best = num_micro_batches(best.parameters),
      own = num_micro_batches(other.parameters);
      own > of_best)
    text += fmt::format("{}{:.3g} x the micro-batches", text.empty() ? "" : ", ",
                        static_cast<double>(own) / static_cast<double>(of_best));
  const auto longer_by = [&](const StepPart& part) {
    return fmt::format("{} +{:.1f} %", part.name, 100.0 * part.seconds / step);
  };
  if (parts[0].seconds <= 0.0) return text;
  text += (text.empty() ? "" : ": ") + longer_by(parts[0]);
  // A second that counts, where a line of a table has room for it.
  constexpr std::size_t kRoom = 80;
  if (parts[1].seconds >= 0.25 * parts[0].seconds)
    if (const std::string second = ", " + longer_by(parts[1]); text.size() + second.size() <= kRoom)
      text += second;
  return text;
}

}  // namespace espalier::plan
