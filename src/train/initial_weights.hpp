#pragma once
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "config/parameters.hpp"
#include "io/checkpoint.hpp"
#include "model/architecture.hpp"
#include "optim/adamw.hpp"
#include "parallel/comm/session.hpp"

namespace espalier::huggingface {
class ModelFolder;
}

namespace espalier::train {

/// model.initial_weights: a Hugging Face folder, or a checkpoint (weights alone or whole; a run
/// directory means its newest) of which only the weights are taken.
class InitialWeights {
 public:
  /// Reads what describes the weights of p.model.initial_weights (p resolved), no weight. Throws
  /// Error: bad_data when it is neither, or has other tensors than `table`; bad_configuration when
  /// it is of another model, naming the keys that differ and are not in checkpoint.allow_changes.
  /// With `session`, all ranks of it read a checkpoint together, each what it has `wanted`.
  InitialWeights(const config::Parameters& p, std::span<const parallel::TensorSpec> table,
                 parallel::MpiSession* session = nullptr,
                 std::span<const io::CheckpointReader::Wanted> wanted = {});
  ~InitialWeights();

  /// Master weights of this rank's shards, and zeros for their moments.
  void load(device::Context& context, optim::AdamW& optimizer);
  std::string describe() const;
  /// Of a checkpoint; null: they come from a folder of Hugging Face.
  const io::CheckpointInfo* checkpoint_info() const {
    return checkpoint_ ? &checkpoint_->info() : nullptr;
  }
  const config::ModelParameters& model() const { return there_; }  ///< what is said there
  /// Warns on rank 0 when the weights are known to be of another tokenizer than the run's.
  void warn_of_tokenizer(const std::string& identity) const;

 private:
  std::filesystem::path source_;
  config::ModelParameters there_;
  std::unique_ptr<huggingface::ModelFolder> folder_;
  std::unique_ptr<io::CheckpointReader> checkpoint_;
};

/// Gives `to` the special tokens and the settings of generation of `from`, where it has none.
void keep_special_tokens(config::ModelParameters& to, const config::ModelParameters& from);

/// Random master weights of this rank's shards (model::initialize), the same on every grid.
void randomize_masters(device::Context& context, const model::Architecture& architecture,
                       std::int64_t seed, optim::AdamW& optimizer);

/// The [model] of such a source, for an input that gives none. Throws Error (bad_data).
config::ModelParameters model_of_weights(const std::string& source);

}  // namespace espalier::train
