#include "train/training_data.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "tokenizer/tokenizer.hpp"
#include "train/document_marks.hpp"

namespace espalier::train {
namespace {

/// data.train as the only source, or data.sources.
std::vector<config::DataSource> sources_of(const config::DataParameters& data) {
  require(!data.train.empty() || !data.sources.empty(), ExitStatus::bad_configuration,
          "data.train is not set: name the token shards, or several sets in data.sources");
  if (data.sources.empty()) return {{.train = data.train, .weight = 1.0, .name = "train"}};
  return data.sources;
}

std::vector<std::string> names_of(const std::vector<config::DataSource>& sources) {
  std::vector<std::string> names;
  for (const config::DataSource& source : sources)
    names.push_back(source.name.empty() ? source.train : source.name);
  return names;
}

std::vector<Dataset> open_all(const config::Parameters& p, const std::string& tokenizer_identity,
                              bool verify, parallel::MpiSession* session) {
  std::vector<Dataset> datasets;
  for (const config::DataSource& source : sources_of(p.data)) {
    const std::string key = p.data.sources.empty()
                                ? "data.train"
                                : fmt::format("data.sources[{}].train", datasets.size());
    // Without data.tokenizer, the first source says which one it is.
    const std::string& identity =
        datasets.empty() ? tokenizer_identity : datasets.front().tokenizer_identity();
    datasets.emplace_back(source.train, "train", p.model.vocab_size, p.training.sequence_length,
                          identity, verify, key, session);
  }
  return datasets;
}

std::vector<double> weights_of(const std::vector<config::DataSource>& sources) {
  std::vector<double> weights;
  for (const config::DataSource& source : sources) weights.push_back(source.weight);
  return weights;
}

data::Sources mix(const config::Parameters& p, const std::vector<Dataset>& datasets,
                  const std::vector<double>& weights) {
  std::vector<data::Source> sources;
  for (const Dataset& dataset : datasets) {
    // Sources of one size would otherwise be walked through in one order.
    const std::uint64_t seed =
        static_cast<std::uint64_t>(p.training.seed) + 0x9E3779B97F4A7C15ULL * sources.size();
    sources.push_back({&dataset.stream(), dataset.num_samples(),
                       data::SampleOrder(dataset.num_samples(), seed, p.data.order == "shuffled")});
  }
  return {std::move(sources), data::SourceMix(weights)};
}

std::string samples_text(std::uint64_t count) {
  return fmt::format("{} samples", with_commas(static_cast<std::int64_t>(count)));
}

}  // namespace

data::DocumentRule document_rule(const config::DataParameters& parameters) {
  return {.mask = parameters.document_mask, .predict_across = parameters.predict_across_documents};
}

TrainingData::TrainingData(const config::Parameters& parameters,
                           const std::string& tokenizer_identity, bool verify,
                           parallel::MpiSession* session)
    : names_(names_of(sources_of(parameters.data))),
      weights_(weights_of(sources_of(parameters.data))),
      datasets_(open_all(parameters, tokenizer_identity, verify, session)),
      sources_(mix(parameters, datasets_, weights_)) {}

std::string TrainingData::identity() const {
  std::string text;
  for (const Dataset& dataset : datasets_) text += (text.empty() ? "" : "; ") + dataset.identity();
  return text;
}

bool TrainingData::documents_begin_with(std::span<const std::uint32_t> tokens) const {
  return std::all_of(datasets_.begin(), datasets_.end(),
                     [&](const Dataset& dataset) { return dataset.documents_begin_with(tokens); });
}

void agree_on_begin(config::DataParameters& p, const TrainingData& data, bool warns) {
  if (p.tokenizer.empty()) return;
  const auto tokenizer = tokenizer::Tokenizer::from_file(p.tokenizer);
  if (p.begin_of_document == "none") {
    const std::vector<std::uint32_t> usual = usual_begin(p.tokenizer, tokenizer);
    if (warns && !usual.empty() && data.documents_begin_with(usual))
      log::warn(
          "the documents of the shards begin with {}, but data.begin_of_document = \"none\": eval "
          "and generate will not put it before a text",
          tokenizer.decode(usual));
    return;
  }
  const DocumentMarks marks = document_marks(p, tokenizer);
  if (marks.begin.empty() || data.documents_begin_with(marks.begin)) return;
  if (warns)
    log::warn(
        "{} puts {} before a text, but the documents of the shards do not begin with it: the model "
        "will not know it. Tokenize the text again, or set data.begin_of_document = \"none\"",
        p.begin_of_document == "auto" ? "data.tokenizer" : "data.begin_of_document",
        tokenizer.decode(marks.begin));
  p.begin_of_document = "none";
}

std::string TrainingData::describe(std::uint64_t num_samples) const {
  std::string text;
  for (std::size_t i = 0; i < datasets_.size(); ++i) {
    text += text.empty() ? "" : "\n";
    text += names_.size() == 1
                ? datasets_[i].describe()
                : fmt::format("{}, weight {}, {:.2f} % of the samples: {}", names_[i], weights_[i],
                              100.0 * sources_.share(i), datasets_[i].describe());
    if (num_samples > 0)
      text += fmt::format("; this run makes {:.3g} epochs of it", sources_.epochs(i, num_samples));
  }
  return text;
}

std::string TrainingData::describe_consumed(std::uint64_t num_samples) const {
  std::string text;
  for (std::size_t i = 0; i < names_.size(); ++i)
    text +=
        fmt::format("{}{} {} ({:.3g} epochs)", text.empty() ? "" : ", ", names_[i],
                    samples_text(sources_.count(i, num_samples)), sources_.epochs(i, num_samples));
  return text;
}

std::string TrainingData::epochs_begun(std::uint64_t before, std::uint64_t after) const {
  std::string text;
  for (std::size_t i = 0; i < names_.size(); ++i) {
    // The epoch of the last sample taken; before the first sample there is none.
    const auto epoch = [&](std::uint64_t num_samples) {
      return static_cast<std::int64_t>(std::ceil(sources_.epochs(i, num_samples)));
    };
    if (epoch(after) > std::max<std::int64_t>(epoch(before), 1))
      text += fmt::format("{}epoch {} of {}", text.empty() ? "" : ", ", epoch(after), names_[i]);
  }
  return text;
}

bool limit_steps_to_data(config::Parameters& p, const TrainingData& data,
                         const RunPosition& position) {
  if (p.data.end_of_data != "stop") return false;
  // From where the run stands: it may have begun with batches of another size.
  const std::uint64_t samples = data.sources().samples_without_repeat();
  const std::uint64_t left = samples - std::min(samples, position.samples_consumed);
  const std::int64_t possible =
      position.step +
      static_cast<std::int64_t>(left / static_cast<std::uint64_t>(p.training.global_batch_size));
  if (possible == 0)
    throw Error(ExitStatus::bad_data,
                fmt::format("data.end_of_data = \"stop\": the data give {} samples without "
                            "repeating any, less than training.global_batch_size = {}; take "
                            "smaller batches, more text, or data.end_of_data = \"repeat\"",
                            samples, p.training.global_batch_size),
                Met::by_every_rank);
  if (possible >= p.training.steps) return false;
  log::info("data.end_of_data = \"stop\": the data last for {} of {} steps; the run is that long",
            possible, p.training.steps);
  p.training.steps = possible;
  if (p.schedule.warmup_steps + p.schedule.decay_steps > possible)
    throw Error(ExitStatus::bad_configuration,
                fmt::format("schedule.warmup_steps + schedule.decay_steps = {} + {} is above the "
                            "{} steps that the data last for: shorten them, or take more text or "
                            "data.end_of_data = \"repeat\"",
                            p.schedule.warmup_steps, p.schedule.decay_steps, possible),
                Met::by_every_rank);
  return true;
}

std::uint64_t samples_of_run(const config::Parameters& p, const RunPosition& position) {
  const std::int64_t left = std::max<std::int64_t>(p.training.steps - position.step, 0);
  return position.samples_consumed +
         static_cast<std::uint64_t>(left * p.training.global_batch_size);
}

}  // namespace espalier::train
