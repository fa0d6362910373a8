#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "data/batch.hpp"
#include "train/dataset.hpp"

namespace espalier::train {

/// The rule that [data] gives for the bounds of documents.
data::DocumentRule document_rule(const config::DataParameters& parameters);

/// What a run trains on: one data set, or several mixed by weight, and the order of their samples.
class TrainingData {
 public:
  /// Opens data.train or data.sources. Throws as Dataset does. `verify`: compare checksums too.
  /// With `session`, all its ranks open them together. Collective then.
  TrainingData(const config::Parameters& parameters, const std::string& tokenizer_identity,
               bool verify, parallel::MpiSession* session = nullptr);
  TrainingData(const TrainingData&) = delete;
  TrainingData& operator=(const TrainingData&) = delete;

  const data::Sources& sources() const { return sources_; }
  const std::string& tokenizer_identity() const { return datasets_.front().tokenizer_identity(); }
  /// Dataset::identity of every source, in their order.
  std::string identity() const;
  bool documents_begin_with(std::span<const std::uint32_t> tokens) const;
  /// A line per source: tokens, samples, weight, share, and the epochs of it in a run of
  /// `num_samples`.
  std::string describe(std::uint64_t num_samples) const;
  /// "english 7,000 samples (0.36 epochs), code 3,000 samples (1.20 epochs)"
  std::string describe_consumed(std::uint64_t num_samples) const;
  /// Names of the sources that begin an epoch after their first in samples (before, after].
  std::string epochs_begun(std::uint64_t before, std::uint64_t after) const;

 private:
  std::vector<std::string> names_;
  std::vector<double> weights_;
  std::vector<Dataset> datasets_;
  data::Sources sources_;
};

/// Compares what stands before the documents of the shards with data.begin_of_document, warns
/// (`warns`) where they differ, and sets an "auto" that the shards do not follow to "none": what
/// is trained is what eval and generate then do. Without data.tokenizer nothing is known.
void agree_on_begin(config::DataParameters& parameters, const TrainingData& data, bool warns);

/// How far a run has come.
struct RunPosition {
  std::int64_t step = 0;  ///< steps done
  std::uint64_t samples_consumed = 0;
};

/// With data.end_of_data = "stop": lowers training.steps to the steps that `data` allow before a
/// sample would be seen again, and returns whether that ends the run earlier. Throws Error when
/// they are too few for one step (bad_data) or for the schedule (bad_configuration).
bool limit_steps_to_data(config::Parameters& parameters, const TrainingData& data,
                         const RunPosition& position);

/// Samples of the whole run, from its start to training.steps.
std::uint64_t samples_of_run(const config::Parameters& parameters, const RunPosition& position);

}  // namespace espalier::train
