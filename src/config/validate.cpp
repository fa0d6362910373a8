#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "base/error.hpp"
#include "base/integers.hpp"
#include "base/text.hpp"
#include "config/parameters.hpp"

namespace espalier::config {
namespace {

/// Everything that is wrong with an input, a sentence each: a person repairs all of it at once.
class Problems {
 public:
  template <class... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    if (!text_.empty()) text_ += "\n";
    text_ += fmt::format(format, std::forward<Args>(args)...);
  }
  bool none() const { return text_.empty(); }
  void throw_if_any() const {
    if (!none()) throw Error(ExitStatus::bad_configuration, text_, Met::by_every_rank);
  }

 private:
  std::string text_;
};

/// "1, 2, 4 or 8"
std::string either(const std::vector<std::int64_t>& values) {
  std::string text;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) text += i + 1 == values.size() ? " or " : ", ";
    text += std::to_string(values[i]);
  }
  return text;
}

/// The multiples of `unit` around `value` (only the one above when there is none below).
std::string nearest_multiples(std::int64_t value, std::int64_t unit) {
  const std::int64_t below = value / unit * unit;
  return below > 0 ? either({below, below + unit}) : either({below + unit});
}

// Tables one by one -------------------------------------------------------------------------------

bool is_relevant(std::string_view table, Use use) {
  return !is_of_tokenizer(use) || table == "tokenize" || table == "data" || table == "run" ||
         table == "output";
}

/// Ranges and choices of every table that matters. The reader has checked what it read; this meets
/// keys that were never set, and parameters that were filled by a program.
void check_ranges(const Parameters& parameters, Use use, bool has_model, Problems& problems) {
  Parameters::tables(parameters, [&](std::string_view table, std::string_view, const auto& values) {
    if (!is_relevant(table, use) || (table == "model" && !has_model)) return;
    std::decay_t<decltype(values)>::describe(values, [&](const Field& field, const auto& value) {
      const std::string wrong = violation(field, value);
      if (wrong.empty()) return;
      const bool not_set = table == "model" && toml_value(value) == "0";
      if (not_set)
        problems.add("model.{} is not set: it {} (a model file sets it, see inputs/models)",
                     field.name, wrong);
      else
        problems.add("{}.{} = {} {}", table, field.name, toml_value(value), wrong);
    });
  });
}

/// Llama 3.1's scaling divides by the distance of its two factors, and has four keys of its own.
void check_rope(const ModelParameters& m, Problems& problems) {
  if (m.rope_type == "llama3") {
    if (m.rope_high_freq_factor <= m.rope_low_freq_factor)
      problems.add(
          "model.rope_high_freq_factor = {} must be above model.rope_low_freq_factor = {}: "
          "frequencies between the two are blended (Llama 3.1 has 4 and 1)",
          m.rope_high_freq_factor, m.rope_low_freq_factor);
    return;
  }
  const ModelParameters standard;
  if (m.rope_factor != standard.rope_factor ||
      m.rope_low_freq_factor != standard.rope_low_freq_factor ||
      m.rope_high_freq_factor != standard.rope_high_freq_factor ||
      m.rope_original_max_position_embeddings != standard.rope_original_max_position_embeddings)
    problems.add(
        "model.rope_factor = {}, rope_low_freq_factor = {}, rope_high_freq_factor = {} and "
        "rope_original_max_position_embeddings = {} have no meaning for model.rope_type = \"{}\": "
        "remove them, or set model.rope_type = \"llama3\"",
        m.rope_factor, m.rope_low_freq_factor, m.rope_high_freq_factor,
        m.rope_original_max_position_embeddings, m.rope_type);
}

/// Hugging Face's GPT-2 joins q, k and v of H columns each; it has no rotary positions.
void check_gpt2(const ModelParameters& m, Problems& problems) {
  if (m.rope_type != "default")
    problems.add(
        "model.rope_type = \"{}\" does not fit model.model_type = \"gpt2\", whose positions are "
        "learned: remove it",
        m.rope_type);
  if (m.num_key_value_heads != m.num_attention_heads)
    problems.add(
        "model.num_key_value_heads = {} does not fit model.model_type = \"gpt2\", which has one "
        "for "
        "each query head: remove it, or use {}",
        m.num_key_value_heads, m.num_attention_heads);
  if (m.head_dim * m.num_attention_heads != m.hidden_size)
    problems.add(
        "model.head_dim = {} does not fit model.model_type = \"gpt2\": {} heads of it are not "
        "model.hidden_size = {}; remove it, or choose a hidden size that the heads divide",
        m.head_dim, m.num_attention_heads, m.hidden_size);
}

/// Fills head_dim and num_key_value_heads and checks what one rank alone needs.
void resolve_model(ModelParameters& m, Problems& problems) {
  const std::int64_t A = m.num_attention_heads;
  if (m.num_key_value_heads == 0) m.num_key_value_heads = A;
  const std::int64_t K = m.num_key_value_heads;
  if (A % K != 0)
    problems.add(
        "model.num_key_value_heads = {} does not divide model.num_attention_heads = {}: every "
        "key/value head serves the same number of query heads",
        K, A);
  if (m.head_dim == 0) {
    if (m.hidden_size % A != 0)
      problems.add(
          "model.head_dim is not set and model.hidden_size = {} is not a multiple of "
          "model.num_attention_heads = {}: set model.head_dim",
          m.hidden_size, A);
    else
      m.head_dim = m.hidden_size / A;
  }
  if (m.head_dim % 2 != 0)
    problems.add("model.head_dim = {} is odd: {}, use {}", m.head_dim,
                 m.model_type == "gpt2" ? "attention reads a head's elements in pairs"
                                        : "rotary position embedding turns pairs of elements",
                 either({m.head_dim - 1, m.head_dim + 1}));
  m.model_type == "gpt2" ? check_gpt2(m, problems) : check_rope(m, problems);
  if (m.rms_norm_eps <= 0.0)
    problems.add("model.rms_norm_eps = {} must be above 0: a zero row would divide by zero",
                 m.rms_norm_eps);
}

// The grid ----------------------------------------------------------------------------------------

/// Which of the model's sizes a tensor-parallel size does not fit; empty: it fits.
std::string tensor_misfit(const ModelParameters& m, std::int64_t tensor) {
  const std::int64_t A = m.num_attention_heads, K = m.num_key_value_heads;
  if (A % tensor != 0) return fmt::format("model.num_attention_heads = {}", A);
  if (K % tensor != 0 && tensor % K != 0) return fmt::format("model.num_key_value_heads = {}", K);
  if (m.intermediate_size % tensor != 0)
    return fmt::format("model.intermediate_size = {}", m.intermediate_size);
  // Vocabulary rows are padded to a multiple; a rank with padding alone would have no logits.
  if ((tensor - 1) * div_ceil(m.vocab_size, tensor) >= m.vocab_size)
    return fmt::format("model.vocab_size = {}", m.vocab_size);
  return {};
}

/// Tensor-parallel sizes up to `limit` that divide `num_ranks` (0: whatever number) and fit the
/// model.
std::vector<std::int64_t> tensor_sizes(const Parameters& p, bool has_model, std::int64_t num_ranks,
                                       std::int64_t limit) {
  std::vector<std::int64_t> sizes;
  const std::int64_t others = p.parallel.context * p.parallel.pipeline;
  for (std::int64_t size = 1; size <= std::min<std::int64_t>(limit, 65536); ++size)
    if (num_ranks % (size * others) == 0 && (!has_model || tensor_misfit(p.model, size).empty()))
      sizes.push_back(size);
  return sizes;
}

/// Fills parallel.data; false when the grid fits neither model nor job.
bool resolve_grid(Parameters& p, bool has_model, std::int64_t num_ranks, Problems& problems) {
  ParallelParameters& grid = p.parallel;
  const std::int64_t without_data = grid.tensor * grid.context * grid.pipeline;
  const std::string job = num_ranks == 1 ? "1 rank" : fmt::format("{} ranks", num_ranks);

  if (has_model)
    if (const std::string misfit = tensor_misfit(p.model, grid.tensor); !misfit.empty()) {
      problems.add("parallel.tensor = {} does not fit {}: sizes that fit the model are {}",
                   grid.tensor, misfit,
                   either(tensor_sizes(p, has_model, 0, p.model.num_attention_heads)));
      return false;
    }

  if (grid.data == 0) {
    if (num_ranks % without_data != 0) {
      problems.add(
          "parallel.tensor = {} does not divide the job's {}: use {}, or start a multiple of {} "
          "ranks",
          grid.tensor, job, either(tensor_sizes(p, has_model, num_ranks, num_ranks)), without_data);
      return false;
    }
    grid.data = num_ranks / without_data;
  } else if (without_data * grid.data != num_ranks) {
    const std::int64_t needed = without_data * grid.data;
    const std::string alternative =
        num_ranks % without_data == 0
            ? fmt::format("set parallel.data = {} (0: the ranks left over)",
                          num_ranks / without_data)
            : fmt::format("set parallel.data = 0 and parallel.tensor to {}",
                          either(tensor_sizes(p, has_model, num_ranks, num_ranks)));
    problems.add(
        "parallel.tensor = {} x parallel.data = {} needs {} ranks, the job has {}: "
        "start {} ranks, or {}",
        grid.tensor, grid.data, needed, num_ranks, needed, alternative);
    return false;
  }
  return true;
}

// Batches and length ------------------------------------------------------------------------------

void check_batches(const Parameters& p, bool has_grid, Problems& problems) {
  const TrainingParameters& t = p.training;
  if (t.sequence_length > p.model.max_position_embeddings)
    problems.add(
        "training.sequence_length = {} is above model.max_position_embeddings = {}: shorten the "
        "sequences, or raise the model's limit",
        t.sequence_length, p.model.max_position_embeddings);
  if (!has_grid) return;
  if (p.parallel.sequence_parallel &&
      (t.micro_batch_size * t.sequence_length) % p.parallel.tensor != 0)
    problems.add(
        "sequence parallelism divides the tokens of a micro-batch, training.micro_batch_size x "
        "training.sequence_length = {} x {}, over parallel.tensor = {} ranks, which does not go "
        "evenly: use a sequence_length that is a multiple of {}, or parallel.sequence_parallel = "
        "false",
        t.micro_batch_size, t.sequence_length, p.parallel.tensor, p.parallel.tensor);
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

// What a command needs ----------------------------------------------------------------------------

void check_sources(const DataParameters& d, Problems& problems) {
  if (!d.sources.empty() && !d.train.empty())
    problems.add("data.train = \"{}\" and data.sources are both set: make it one of the sources",
                 d.train);
  for (std::size_t i = 0; i < d.sources.size(); ++i) {
    if (d.sources[i].train.empty())
      problems.add("data.sources[{}] names no shards: set its train", i);
    if (!(d.sources[i].weight > 0.0))
      problems.add("data.sources[{}].weight = {} must be above 0: leave the source out instead", i,
                   d.sources[i].weight);
    // Which samples were seen is counted per source: no two may hold the same ones.
    for (std::size_t j = 0; j < i; ++j) {
      const DataSource &a = d.sources[j], &b = d.sources[i];
      if (!b.train.empty() && a.train == b.train)
        problems.add("data.sources[{}] and [{}] both name \"{}\": make them one, with both weights",
                     j, i, b.train);
      else if (!b.name.empty() && a.name == b.name)
        problems.add("data.sources[{}] and [{}] are both called \"{}\": give them different names",
                     j, i, b.name);
    }
  }
}

void check_training(const Parameters& p, Use use, Problems& problems) {
  if (use == Use::training && p.data.train.empty() && p.data.sources.empty())
    problems.add(
        "data.train is not set: name the token shards (espalier tokenize makes them), or several "
        "sets in data.sources");
  check_sources(p.data, problems);
  if (p.validation.interval > 0 && p.data.validation.empty())
    problems.add(
        "validation.interval = {} needs data.validation: name the token shards, or set "
        "validation.interval = 0",
        p.validation.interval);
  const CheckpointParameters& c = p.checkpoint;
  if (c.keep_every > 0 && c.interval == 0)
    problems.add(
        "checkpoint.keep_every = {} has no meaning without checkpoint.interval: set the "
        "interval, or remove it",
        c.keep_every);
  else if (c.keep_every > 0 && c.keep_every % c.interval != 0)
    problems.add("checkpoint.keep_every = {} is not a multiple of checkpoint.interval = {}: use {}",
                 c.keep_every, c.interval, nearest_multiples(c.keep_every, c.interval));
}

void check_run(const Parameters& p, Problems& problems) {
  if (p.output.directory.empty()) problems.add("output.directory is empty: name a folder");
  if (p.run.time_limit.empty()) return;
  const std::optional<double> limit = parse_duration(p.run.time_limit);
  if (!limit)
    problems.add("run.time_limit = \"{}\" is not a time: write seconds, or [D-]HH:MM:SS",
                 p.run.time_limit);
  else if (*limit <= p.run.time_margin)
    problems.add(
        "run.time_limit = \"{}\" leaves nothing after run.time_margin = {} s: raise the "
        "limit, or lower the margin",
        p.run.time_limit, p.run.time_margin);
}

void check_generation(const GenerateParameters& g, Problems& problems) {
  if (g.top_p <= 0.0)
    problems.add(
        "generate.top_p = {} must be above 0: nothing could be sampled (for the most likely token "
        "set generate.temperature = 0)",
        g.top_p);
  if (!g.prompt.empty() && !g.prompts.empty())
    problems.add(
        "generate.prompt (--prompt) and generate.prompts = \"{}\" (--prompts) are both given: "
        "name one",
        g.prompts);
}

void check_evaluation(const EvaluationParameters& e, Problems& problems) {
  if (!e.text.empty() && !e.tokens.empty())
    problems.add(
        "evaluation.text = \"{}\" (--text) and evaluation.tokens = \"{}\" (--tokens) are both "
        "given: name one",
        e.text, e.tokens);
  if (!e.logits.empty() && e.tokens.empty())
    problems.add(
        "evaluation.logits = \"{}\" (--logits) needs evaluation.tokens (--tokens): the sequences "
        "whose logits they are",
        e.logits);
}

void check_tokenizing(const Parameters& p, Use use, Problems& problems) {
  if (p.tokenize.input.empty())
    problems.add("tokenize.input is empty: list the text or JSON-lines files");
  if (p.tokenize.output.empty() && use == Use::tokenizing)
    problems.add("tokenize.output is not set: name the folder of the token shards");
  if (p.data.tokenizer.empty())
    problems.add("data.tokenizer is not set: name a tokenizer.json or .tiktoken file");
}

}  // namespace

bool model_is_absent(const ModelParameters& m) {
  return m.vocab_size == 0 && m.hidden_size == 0 && m.intermediate_size == 0 &&
         m.num_hidden_layers == 0 && m.num_attention_heads == 0;
}

void resolve(Parameters& p, int num_ranks, Use use) {
  Problems problems;
  const bool plans = use == Use::training || use == Use::planning;
  const bool trains = plans || use == Use::bench;
  const bool has_model = !is_of_tokenizer(use) && !model_is_absent(p.model);
  if (trains && !has_model)
    problems.add("no model is given: set model.file (see inputs/models) or the sizes in [model]");
  check_ranges(p, use, has_model, problems);
  check_run(p, problems);
  // Relations between values that are out of range, or absent, would only add noise.
  problems.throw_if_any();

  if (is_of_tokenizer(use)) {
    check_tokenizing(p, use, problems);
    return problems.throw_if_any();
  }
  if (has_model) resolve_model(p.model, problems);
  // A checkpoint is evaluated on whatever ranks there are, not on those it was trained on.
  if (!trains) p.parallel.data = 0;
  const bool has_grid = resolve_grid(p, has_model, num_ranks, problems);
  if (trains) {
    check_batches(p, has_grid, problems);
    resolve_length(p, use, problems);
    check_schedule(p, problems);
  }
  if (plans) check_training(p, use, problems);
  if (use == Use::generation) check_generation(p.generate, problems);
  if (use == Use::evaluation) check_evaluation(p.evaluation, problems);
  problems.throw_if_any();
}

int declared_ranks(const Parameters& parameters) {
  const ParallelParameters& grid = parameters.parallel;
  // Out-of-range values are resolve's to report; here they only must not overflow.
  double ranks = 1.0;
  for (const std::int64_t size : {grid.tensor, grid.context, grid.data, grid.pipeline})
    ranks *= static_cast<double>(std::max<std::int64_t>(size, 1));
  return static_cast<int>(std::min(ranks, 1.0 * std::numeric_limits<int>::max()));
}

std::optional<double> parse_duration(std::string_view text) {
  const auto number = [](std::string_view digits, auto& value) {
    const char* end = digits.data() + digits.size();
    const auto [last, error] = std::from_chars(digits.data(), end, value);
    return error == std::errc{} && last == end && value >= 0 && digits.front() != '-';
  };
  if (text.find_first_of(":-") == std::string_view::npos) {
    double seconds = 0.0;
    if (text.empty() || !number(text, seconds) || !std::isfinite(seconds)) return std::nullopt;
    return seconds;
  }

  std::int64_t days = 0;
  const std::size_t dash = text.find('-');
  if (dash != std::string_view::npos) {
    if (dash == 0 || !number(text.substr(0, dash), days) || days > 100000) return std::nullopt;
    text.remove_prefix(dash + 1);
  }
  std::vector<std::int64_t> parts;  // [hours,] minutes, seconds
  while (true) {
    const std::size_t colon = text.find(':');
    const std::string_view part = text.substr(0, colon);
    std::int64_t value = 0;
    if (part.empty() || !number(part, value) || value > 1'000'000) return std::nullopt;
    parts.push_back(value);
    if (colon == std::string_view::npos) break;
    text.remove_prefix(colon + 1);
  }
  const bool whole_clock = parts.size() == 3;
  if (!whole_clock && (parts.size() != 2 || dash != std::string_view::npos)) return std::nullopt;
  if (parts.back() > 59 || (whole_clock && parts[1] > 59)) return std::nullopt;
  double seconds = 24.0 * static_cast<double>(days);
  if (whole_clock) seconds += static_cast<double>(parts[0]);
  seconds = 60.0 * seconds + static_cast<double>(parts[parts.size() - 2]);
  return 60.0 * seconds + static_cast<double>(parts.back());
}

}  // namespace espalier::config
