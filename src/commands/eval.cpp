#include <fstream>
#include <iterator>

#include "base/log.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "commands/trained_model.hpp"
#include "model/activations.hpp"
#include "tokenizer/tokenizer.hpp"
#include "train/evaluator.hpp"

namespace espalier::commands {
namespace {

/// A text file as one document, with the separator in front so that its first token is predicted
/// too.
std::vector<std::uint32_t> tokens_of_file(const std::string& path, const TrainedModel& trained,
                                          std::uint64_t& num_bytes) {
  std::ifstream file(path, std::ios::binary);
  require(file.good(), ExitStatus::bad_data, "{}: cannot be opened", path);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const auto tokenizer = trained.open_tokenizer();
  std::vector<std::uint32_t> ids = tokenizer.encode(text);
  ids.insert(ids.begin(), tokenizer.end_of_text());
  num_bytes = text.size();
  return ids;
}

}  // namespace

ExitStatus eval(parallel::MpiSession& session, config::Parameters& parameters, bool dry_run) {
  TrainedModel trained(session, parameters, parameters.evaluation.checkpoint);
  config::Parameters& p = trained.parameters;
  const std::string& text = parameters.evaluation.text;

  std::optional<train::Dataset> dataset;
  std::vector<std::uint32_t> tokens;
  std::optional<data::TokenStream> text_stream;
  train::EvaluationSet set{};
  if (text.empty()) {
    require(!p.data.validation.empty(), ExitStatus::bad_configuration,
            "nothing to evaluate: name data.validation or evaluation.text");
    dataset.emplace(p.data.validation, "validation", p.model.vocab_size, p.training.sequence_length,
                    trained.tokenizer_identity, p.data.verify_checksum && session.rank() == 0);
    set = {&dataset->stream(), dataset->bytes_per_token()};
  } else {
    std::uint64_t num_bytes = 0;
    tokens = tokens_of_file(text, trained, num_bytes);
    require(tokens.size() >= 2, ExitStatus::bad_data, "{}: has no text", text);
    text_stream.emplace(std::vector<std::span<const std::uint32_t>>{tokens});
    set = {&*text_stream, static_cast<double>(num_bytes) / static_cast<double>(tokens.size() - 1)};
    // A text shorter than a sequence is one short sequence.
    p.training.sequence_length =
        std::min(p.training.sequence_length, static_cast<std::int64_t>(tokens.size()) - 1);
  }

  if (dry_run) return ExitStatus::ok;  // model and text can be read
  const bool splits =
      p.parallel.sequence_parallel && p.parallel.tensor > 1 &&
      p.training.micro_batch_size * p.training.sequence_length % p.parallel.tensor == 0;
  const model::ActivationShape shape{.micro_batch_size = p.training.micro_batch_size,
                                     .sequence_length = p.training.sequence_length,
                                     .loss_chunk_tokens = p.training.loss_chunk_tokens,
                                     .tensor_size = trained.grid.shape().tensor,
                                     .splits_tokens = splits,
                                     .training = false};
  device::Arena plan = device::Arena::planning("activations");
  model::Activations(trained.weights->sizes(), shape, trained.dtype, plan);
  device::Arena arena = device::Arena::backed("activations", plan.used_bytes());
  model::Activations activations(trained.weights->sizes(), shape, trained.dtype, arena);
  model::Transformer transformer(trained.architecture, *trained.weights, activations,
                                 trained.context, trained.communicators);
  const train::Evaluation result = train::evaluate(
      transformer, trained.communicators, trained.grid, set, p.training.micro_batch_size,
      p.training.sequence_length, text.empty() ? p.validation.sequences : 0);
  log::info("step {}: loss {:.6f}, perplexity {:.4f}, {:.4f} bits per byte over {} tokens of {}",
            trained.step, result.loss, result.perplexity, result.bits_per_byte,
            with_commas(static_cast<std::int64_t>(result.tokens)),
            text.empty() ? p.data.validation : text);
  return ExitStatus::ok;
}

}  // namespace espalier::commands
