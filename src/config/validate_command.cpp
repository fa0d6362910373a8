// What each command needs.
#include <algorithm>
#include <optional>

#include "base/text.hpp"
#include "config/changes.hpp"
#include "config/fault.hpp"
#include "config/problems.hpp"
#include "config/reference.hpp"

namespace espalier::config {
namespace {

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

void check_faults(const Parameters& p, Problems& problems) {
  const int ranks = declared_ranks(p);
  for (const std::string& text : p.debug.faults) {
    const std::optional<Fault> fault = parse_fault(text);
    if (!fault)
      problems.add(
          "debug.faults has \"{}\": write KIND@STEP or KIND@STEP:RANK, as in nan-gradient@12:1; "
          "KIND is {}, STEP counts from 1",
          text, fault_kinds());
    else if (fault->rank >= ranks)
      problems.add("debug.faults has \"{}\": the job has {} rank{}, numbered from 0", text, ranks,
                   ranks == 1 ? "" : "s");
  }
}

}  // namespace

void check_memory(const Parameters& p, Problems& problems) {
  const std::vector<std::int64_t>& blocks = p.memory.recompute_blocks;
  const bool chooses = p.memory.recompute == "budget";
  if (chooses && blocks.empty() && p.device.memory_gib == 0.0 && p.device.backend == "host")
    problems.add(
        "memory.recompute = \"budget\" needs device.memory_gib on the host: set it to what a rank "
        "may take, in GiB");
  if (blocks.empty()) return;
  const std::string given = toml_value(blocks);
  if (!chooses)
    return problems.add(
        "memory.recompute_blocks = {} has no meaning with memory.recompute = \"{}\": remove it, or "
        "use \"budget\"",
        given, p.memory.recompute);
  std::int64_t sum = 0;
  bool is_valid = blocks.size() == 4;
  for (const std::int64_t number : blocks) {
    is_valid = is_valid && number >= 0 && number <= p.model.num_hidden_layers;
    sum += is_valid ? number : 0;
  }
  if (!is_valid || sum != p.model.num_hidden_layers)
    problems.add(
        "memory.recompute_blocks = {}: name four numbers of blocks, those with none, selective, "
        "mlp and full, that together are model.num_hidden_layers = {}; or remove it",
        given, p.model.num_hidden_layers);
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
  check_faults(p, problems);
  const CheckpointParameters& c = p.checkpoint;
  if (p.run.on_spike == "rollback" && c.interval == 0 && c.interval_minutes == 0.0)
    problems.add(
        "run.on_spike = \"rollback\" needs checkpoints to go back to: set checkpoint.interval or "
        "checkpoint.interval_minutes");
  if (c.keep_every > 0 && c.interval == 0)
    problems.add(
        "checkpoint.keep_every = {} has no meaning without checkpoint.interval: set the "
        "interval, or remove it",
        c.keep_every);
  else if (c.keep_every > 0 && c.keep_every % c.interval != 0)
    problems.add("checkpoint.keep_every = {} is not a multiple of checkpoint.interval = {}: use {}",
                 c.keep_every, c.interval, nearest_multiples(c.keep_every, c.interval));
}

void check_allowed_changes(const std::vector<std::string>& allowed, Problems& problems) {
  const std::vector<std::string> keys = key_names();
  for (const std::string& key : allowed) {
    const Changes what = class_of(key);
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      const auto whole = std::find_if(keys.begin(), keys.end(), [&](const std::string& known) {
        return known.ends_with("." + key);
      });
      const std::string near = whole != keys.end() ? *whole : nearest_name(key, keys);
      problems.add(
          "checkpoint.allow_changes names \"{}\", which is no key{}: write a key with its table, "
          "as "
          "\"model.rope_theta\"",
          key, near.empty() ? "" : fmt::format(" (the nearest is \"{}\")", near));
    } else if (what == Changes::shapes) {
      problems.add(
          "checkpoint.allow_changes names \"{}\", which decides the tensors and their shapes: no "
          "weights fit another value, and nothing can allow it",
          key);
    } else if (what != Changes::function) {
      problems.add(
          "checkpoint.allow_changes names \"{}\", which may change at any restart: leave it out",
          key);
    }
  }
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
  const auto& keys = p.tokenize.text_key;
  if (keys.empty() || std::find(keys.begin(), keys.end(), "") != keys.end())
    problems.add("tokenize.text_key names nothing: name the key of the text in JSON lines");
  if (p.data.tokenizer.empty())
    problems.add("data.tokenizer is not set: name a tokenizer.json or .tiktoken file");
}

}  // namespace espalier::config
