#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/log.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "commands/forward_pass.hpp"
#include "commands/sequence_logits.hpp"
#include "commands/trained_model.hpp"
#include "tokenizer/tokenizer.hpp"
#include "train/document_marks.hpp"
#include "train/evaluator.hpp"
#include "train/training_data.hpp"

namespace espalier::commands {
namespace {

/// A text file as one document: behind what data.begin_of_document puts there, else behind the
/// separator, so that its first token is predicted too; a model that was trained with
/// data.document_mask knows no separator before a document.
std::vector<std::uint32_t> tokens_of_file(const std::string& path, const TrainedModel& trained,
                                          double& bytes_per_token) {
  std::ifstream file(path, std::ios::binary);
  require(file.good(), ExitStatus::bad_data, "{}: cannot be opened", path);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const auto tokenizer = trained.open_tokenizer();
  std::vector<std::uint32_t> ids = tokenizer.encode(text);
  bytes_per_token = static_cast<double>(text.size()) / static_cast<double>(ids.size());
  const auto marks = train::document_marks(trained.parameters.data, tokenizer);
  if (!marks.begin.empty())
    ids.insert(ids.begin(), marks.begin.begin(), marks.begin.end());
  else if (!trained.parameters.data.document_mask && marks.separator)
    ids.insert(ids.begin(), *marks.separator);
  require(ids.size() >= 2, ExitStatus::bad_data, "{}: has no token to predict", path);
  return ids;
}

void report(const TrainedModel& trained, const train::Evaluation& result, const std::string& what) {
  log::info("step {}: loss {:.6f}, perplexity {:.4f}, {:.4f} bits per byte over {} tokens of {}",
            trained.step, result.loss, result.perplexity, result.bits_per_byte,
            with_commas(static_cast<std::int64_t>(result.tokens)), what);
}

/// `sequences`: how many at most; 0: all.
train::Evaluation evaluate(TrainedModel& trained, const train::EvaluationSet& set,
                           std::int64_t sequence_length, std::int64_t sequences) {
  const std::int64_t micro_batch_size = trained.parameters.training.micro_batch_size;
  ForwardPass forward(trained, micro_batch_size, sequence_length);
  return train::evaluate(forward.transformer(), trained.communicators, trained.worker.grid, set,
                         micro_batch_size, sequence_length, sequences);
}

void evaluate_text(TrainedModel& trained, const std::string& path, bool dry_run) {
  double bytes_per_token = 0.0;
  const std::vector<std::uint32_t> tokens = tokens_of_file(path, trained, bytes_per_token);
  if (dry_run) return;
  const data::TokenStream stream({{tokens}});
  const auto predicted = static_cast<std::int64_t>(tokens.size()) - 1;
  // A text shorter than a sequence is one short sequence.
  const std::int64_t length = std::min(trained.parameters.training.sequence_length, predicted);
  report(trained, evaluate(trained, {&stream, bytes_per_token}, length, 0), path);
}

/// Shards whose documents begin otherwise than those that the model knows.
void warn_of_begin(const TrainedModel& trained, const train::Dataset& dataset) {
  if (trained.parameters.data.tokenizer.empty() || log::rank() != 0) return;
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(trained.parameters.data.tokenizer, ignored)) return;
  const auto tokenizer = tokenizer::Tokenizer::from_file(trained.parameters.data.tokenizer);
  const auto begin = train::document_marks(trained.parameters.data, tokenizer).begin;
  if (!begin.empty() && !dataset.documents_begin_with(begin))
    log::warn("{}: its documents do not begin with {}, which data.begin_of_document asks for",
              trained.parameters.data.validation, tokenizer.decode(begin));
}

void evaluate_shards(TrainedModel& trained, bool verify, bool dry_run) {
  const config::Parameters& p = trained.parameters;
  const train::Dataset dataset(p.data.validation, "validation", p.model.vocab_size,
                               p.training.sequence_length, trained.tokenizer_identity,
                               p.data.verify_checksum && verify);
  warn_of_begin(trained, dataset);
  if (dry_run) return;
  report(trained,
         evaluate(trained,
                  {&dataset.stream(), dataset.bytes_per_token(), train::document_rule(p.data)},
                  p.training.sequence_length, p.validation.sequences),
         p.data.validation);
}

}  // namespace

ExitStatus eval(parallel::MpiSession& session, config::Parameters& parameters, bool dry_run) {
  const config::EvaluationParameters& e = parameters.evaluation;
  if (e.text.empty() && e.tokens.empty() && parameters.data.validation.empty())
    throw Error(ExitStatus::bad_configuration,
                "nothing to evaluate: name data.validation, --text or --tokens",
                Met::by_every_rank);
  TrainedModel trained(session, parameters);
  if (!e.tokens.empty())
    evaluate_sequences(trained, session, dry_run);
  else if (!e.text.empty())
    evaluate_text(trained, e.text, dry_run);
  else
    evaluate_shards(trained, session.rank() == 0, dry_run);
  return ExitStatus::ok;
}

}  // namespace espalier::commands
