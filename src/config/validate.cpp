// resolve: what every table and the relations between tables must fulfil, in the order in which one
// answer makes the next question meaningful.
#include <algorithm>
#include <initializer_list>
#include <limits>
#include <numeric>
#include <type_traits>

#include "config/problems.hpp"
#include "config/sequence_limit.hpp"

namespace espalier::config {
namespace {

bool is_relevant(std::string_view table, Use use) {
  return !is_of_tokenizer(use) || table == "tokenize" || table == "data" || table == "run" ||
         table == "output";
}

/// Gives the member `name` of `values` the value that it has when it is not set, or the smallest
/// one where a size has none: what is checked next must not fail for this one's sake.
template <class Table>
void make_valid(Table& values, const Field& wrong) {
  const Table standard;
  Table::describe(standard, [&](const Field& field, const auto& value) {
    if (field.name != wrong.name) return;
    Table::describe(values, [&]<class T>(const Field& own, T& member) {
      if (own.name != wrong.name) return;
      if constexpr (std::is_same_v<T, std::decay_t<decltype(value)>>) member = value;
      if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>)
        if (!violation(own, member).empty()) member = static_cast<T>(own.min);
    });
  });
}

/// Ranges and choices of every table that matters. The reader has checked what it read; this meets
/// keys that were never set, and parameters that were filled by a program.
void check_ranges(Parameters& parameters, Use use, bool has_model, Problems& problems) {
  Parameters::tables(parameters, [&](std::string_view table, std::string_view, auto& values) {
    if (!is_relevant(table, use) || (table == "model" && !has_model)) return;
    std::decay_t<decltype(values)>::describe(values, [&](const Field& field, auto& value) {
      const std::string wrong = violation(field, value);
      if (wrong.empty()) return;
      const bool not_set = table == "model" && toml_value(value) == "0";
      const std::string key = fmt::format("{}.{}", table, field.name);
      if (not_set)
        problems.add("{} is not set: it {} (a model file sets it, see inputs/models)", key, wrong);
      else
        problems.add("{} = {} {}", key, toml_value(value), wrong);
      problems.mistakes().distrust(key);
      make_valid(values, field);
    });
  });
}

/// What will be filled in from a wrong value is not worth a word either.
void distrust_what_follows(const Parameters& p, Mistakes& mistakes) {
  const auto follows = [&](const char* key, std::initializer_list<const char*> from) {
    if (std::any_of(from.begin(), from.end(),
                    [&](const char* source) { return mistakes.distrusts(source); }))
      mistakes.distrust(key);
  };
  if (p.model.head_dim == 0)
    follows("model.head_dim", {"model.hidden_size", "model.num_attention_heads"});
  if (p.model.num_key_value_heads == 0)
    follows("model.num_key_value_heads", {"model.num_attention_heads"});
  if (p.parallel.data == 0)
    follows("parallel.data", {"parallel.tensor", "parallel.context", "parallel.pipeline"});
  if (p.training.steps == 0)
    follows("training.steps",
            {"training.tokens", "training.sequence_length", "training.global_batch_size"});
}

// Batches and length ------------------------------------------------------------------------------

void check_batches(const Parameters& p, bool has_grid, Problems& problems) {
  const TrainingParameters& t = p.training;
  if (t.sequence_length > longest_sequence(p.model))
    problems.add(
        "training.sequence_length = {} is above {}: shorten the sequences, or raise the model's "
        "limit",
        t.sequence_length, describe_longest_sequence(p.model));
  if (!has_grid) return;
  const std::int64_t context = p.parallel.context;
  if (t.sequence_length % context != 0)
    problems.add(
        "training.sequence_length = {} is not a multiple of parallel.context = {}, whose ranks "
        "have as many tokens of a sequence each: use {}",
        t.sequence_length, context, nearest_multiples(t.sequence_length, context));
  else if (p.parallel.sequence_parallel &&
           t.micro_batch_size * (t.sequence_length / context) % p.parallel.tensor != 0)
    problems.add(
        "sequence parallelism divides the tokens of a micro-batch, training.micro_batch_size x "
        "training.sequence_length = {} x {}{}, over parallel.tensor = {} ranks, which does not go "
        "evenly: use a sequence_length that is a multiple of {}, or parallel.sequence_parallel = "
        "false",
        t.micro_batch_size, t.sequence_length,
        context == 1 ? "" : fmt::format(" / parallel.context = {}", context), p.parallel.tensor,
        context * p.parallel.tensor);
  const std::int64_t unit = t.micro_batch_size * p.parallel.data;
  if (t.global_batch_size % unit != 0)
    problems.add(
        "training.global_batch_size = {} is not a multiple of training.micro_batch_size x "
        "parallel.data = {} x {} = {}: use {}",
        t.global_batch_size, t.micro_batch_size, p.parallel.data, unit,
        nearest_multiples(t.global_batch_size, unit));
}

void resolve_length(Parameters& p, Use use, Problems& problems) {
  TrainingParameters& t = p.training;
  const std::int64_t tokens_per_step = t.global_batch_size * t.sequence_length;
  if (t.steps == 0 && t.tokens > 0)
    t.steps = t.tokens / tokens_per_step + (t.tokens % tokens_per_step == 0 ? 0 : 1);
  if (t.steps == 0 && use == Use::bench) t.steps = p.bench.warmup_steps + p.bench.steps;
  if (t.steps == 0 && use != Use::bench)
    problems.add("training.steps and training.tokens are both 0: set one, the length of the run");
  if (t.steps > std::numeric_limits<std::int64_t>::max() / tokens_per_step)
    problems.add(
        "training.steps = {} of {} tokens each cannot be counted in 64 bits: shorten the "
        "run",
        t.steps, tokens_per_step);
}

void check_schedule(const Parameters& p, Problems& problems) {
  const ScheduleParameters& s = p.schedule;
  const std::int64_t steps = p.training.steps;
  const bool has_decay = s.name == "warmup_stable_decay";
  if (steps > 0 && s.warmup_steps > steps)
    problems.add("schedule.warmup_steps = {} is above training.steps = {}: warm up for at most {}",
                 s.warmup_steps, steps, steps);
  else if (steps > 0 && has_decay && s.decay_steps > steps - s.warmup_steps)
    problems.add(
        "schedule.warmup_steps + schedule.decay_steps = {} + {} is above training.steps = {}: "
        "decay for at most {}",
        s.warmup_steps, s.decay_steps, steps, steps - s.warmup_steps);
  if (has_decay && s.decay_steps == 0)
    problems.add(
        "schedule.name = \"warmup_stable_decay\" needs schedule.decay_steps above 0 (for no decay "
        "use \"constant\")");
  if (!has_decay && s.decay_steps != 0)
    problems.add(
        "schedule.decay_steps = {} has no meaning for schedule.name = \"{}\", which decays to the "
        "last step: remove it, or use \"warmup_stable_decay\"",
        s.decay_steps, s.name);
  if (s.min_learning_rate > p.optimizer.learning_rate)
    problems.add(
        "schedule.min_learning_rate = {} is above optimizer.learning_rate = {}: the schedule only "
        "decays",
        s.min_learning_rate, p.optimizer.learning_rate);
  if (p.optimizer.eps <= 0.0)
    problems.add(
        "optimizer.eps = {} must be above 0: a weight without gradient would divide by "
        "zero",
        p.optimizer.eps);
}

}  // namespace

bool model_is_absent(const ModelParameters& m) {
  return m.vocab_size == 0 && m.hidden_size == 0 && m.intermediate_size == 0 &&
         m.num_hidden_layers == 0 && m.num_attention_heads == 0;
}

void resolve(Parameters& p, int num_ranks, Use use, Mistakes found) {
  Problems problems(std::move(found));
  const bool plans = use == Use::training || use == Use::planning;
  const bool trains = plans || use == Use::bench;
  const bool has_model = !is_of_tokenizer(use) && !model_is_absent(p.model);
  if (trains && !has_model)
    problems.add("no model is given: set model.file (see inputs/models) or the sizes in [model]");
  if (use == Use::document) {
    check_ranges(p, use, false, problems);
    return problems.mistakes().throw_if_any();
  }
  check_ranges(p, use, has_model, problems);
  distrust_what_follows(p, problems.mistakes());
  check_run(p, problems);

  if (is_of_tokenizer(use)) {
    check_tokenizing(p, use, problems);
    return problems.mistakes().throw_if_any();
  }
  check_allowed_changes(p.checkpoint.allow_changes, problems);
  if (has_model) resolve_model(p.model, problems);
  // A checkpoint is evaluated on whatever ranks there are, not on those it was trained on.
  // Pipelines and context groups are for training: without gradients and what they need of the
  // forward pass their ranks take data instead.
  if (!trains) {
    p.parallel.data = 0;
    p.parallel.pipeline = p.parallel.context = 1;
    // As many ranks share the experts as there are, at most as many as in training.
    p.parallel.expert =
        std::gcd(std::gcd(p.parallel.expert, std::max<std::int64_t>(p.model.num_experts, 1)),
                 std::int64_t{num_ranks});
  }
  const bool has_grid = resolve_grid(p, has_model, num_ranks, problems);
  if (trains) {
    check_batches(p, has_grid, problems);
    if (has_grid) check_pipeline(p, has_model, problems);
    check_memory(p, problems);
    if (has_model) check_balance(p, problems);
    resolve_length(p, use, problems);
    check_schedule(p, problems);
  }
  if (plans) check_training(p, use, problems);
  if (use == Use::generation) check_generation(p.generate, problems);
  if (use == Use::evaluation) check_evaluation(p.evaluation, problems);
  problems.mistakes().throw_if_any();
}

int declared_ranks(const Parameters& parameters) {
  const ParallelParameters& grid = parameters.parallel;
  // Out-of-range values are resolve's to report; here they only must not overflow.
  double ranks = 1.0;
  for (const std::int64_t size : {grid.tensor, grid.context, grid.data, grid.pipeline})
    ranks *= static_cast<double>(std::max<std::int64_t>(size, 1));
  return static_cast<int>(std::min(ranks, 1.0 * std::numeric_limits<int>::max()));
}

}  // namespace espalier::config
