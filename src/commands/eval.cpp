#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>

#include "base/log.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "inference/forward_pass.hpp"
#include "inference/sequence_logits.hpp"
#include "inference/trained_model.hpp"
#include "io/sequence_file.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "tokenization/text_documents.hpp"
#include "tokenizer/tokenizer.hpp"
#include "train/document_marks.hpp"
#include "train/evaluator.hpp"
#include "train/run_control.hpp"
#include "train/stopped_early.hpp"
#include "train/training_data.hpp"

namespace espalier::commands {
namespace {

/// What a loop over the sequences asks before each round, and why it ended.
class Interruption {
 public:
  Interruption(const train::RunControl& control, parallel::Communicator& world)
      : control_(control), world_(world) {}
  /// A part of the set has a loss, too: unlike a validation it is worth the time that is left.
  bool may_go_on(const train::Pace& pace) {
    reason_ = control_.must_stop(world_, pace.round_s);
    return !reason_;
  }
  ExitStatus status(const std::string& done) const {
    return reason_ ? train::stopped_early(*reason_, done) : ExitStatus::ok;
  }

 private:
  const train::RunControl& control_;
  parallel::Communicator& world_;
  std::optional<train::StopReason> reason_;
};

ExitStatus report(const inference::TrainedModel& trained, const train::Evaluation& result,
                  const std::string& what, const Interruption& interruption) {
  if (result.sequences == 0) return interruption.status("no sequence, so that there is no loss");
  log::info("step {}: loss {:.6f}, perplexity {:.4f}, {:.4f} bits per byte over {} tokens of {}",
            trained.step, result.loss, result.perplexity, result.bits_per_byte,
            with_commas(static_cast<std::int64_t>(result.tokens)), what);
  train::require_finite(result,
                        fmt::format("{} over {}", trained.parameters.evaluation.checkpoint, what));
  return interruption.status(fmt::format("{} of {} sequences, whose loss this is", result.sequences,
                                         result.num_sequences));
}

/// `sequences`: how many at most; 0: all.
train::Evaluation evaluate(inference::TrainedModel& trained, const train::EvaluationSet& set,
                           std::int64_t sequence_length, std::int64_t sequences,
                           Interruption& interruption) {
  const std::int64_t micro_batch_size = trained.parameters.training.micro_batch_size;
  inference::ForwardPass forward(trained, micro_batch_size, sequence_length);
  return train::evaluate(train::forward_losses(forward.stage()), trained.communicators,
                         trained.rank_context.grid, set, micro_batch_size, sequence_length,
                         sequences,
                         [&](const train::Pace& pace) { return interruption.may_go_on(pace); });
}

ExitStatus evaluate_text(inference::TrainedModel& trained,
                         const std::vector<std::string>& documents, bool dry_run,
                         Interruption interruption) {
  const auto tokenizer = trained.open_tokenizer();
  const auto marks = train::document_marks(trained.parameters.data, tokenizer);
  tokenization::EncodedText text = tokenization::encode_documents(
      documents, tokenizer, marks, [&] { return interruption.may_go_on(train::Pace{}); });
  if (text.num_documents < documents.size())
    return interruption.status(
        fmt::format("{} of {} documents were tokenized, so that there is no "
                    "loss",
                    text.num_documents, documents.size()));
  // Where nothing begins a document a separator stands in front, so that the first token is
  // predicted too; a model that was trained with data.document_mask knows no separator there.
  if (marks.begin.empty() && !trained.parameters.data.document_mask && marks.separator)
    text.ids.insert(text.ids.begin(), *marks.separator);
  if (text.ids.size() < 2)
    throw Error(ExitStatus::bad_data,
                fmt::format("{}: has no token to predict", trained.parameters.evaluation.text),
                Met::by_every_rank);
  if (dry_run) return ExitStatus::ok;
  const data::TokenStream stream({{text.ids}});
  const double bytes_per_token =
      static_cast<double>(text.num_text_bytes) / static_cast<double>(text.num_text_ids);
  const auto predicted = static_cast<std::int64_t>(text.ids.size()) - 1;
  // A text shorter than a sequence is one short sequence.
  const std::int64_t length = std::min(trained.parameters.training.sequence_length, predicted);
  const train::Evaluation result =
      evaluate(trained, {&stream, bytes_per_token}, length, 0, interruption);
  return report(trained, result, trained.parameters.evaluation.text, interruption);
}

/// Shards whose documents begin otherwise than those that the model knows. On every rank: a wrong
/// key of [data] is an error that all of them meet.
void warn_of_begin(const inference::TrainedModel& trained, const train::Dataset& dataset) {
  if (trained.parameters.data.tokenizer.empty()) return;
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(trained.parameters.data.tokenizer, ignored)) return;
  const auto tokenizer = tokenizer::Tokenizer::from_file(trained.parameters.data.tokenizer);
  const auto begin = train::document_marks(trained.parameters.data, tokenizer).begin;
  if (log::rank() != 0) return;
  if (!begin.empty() && !dataset.documents_begin_with(begin))
    log::warn("{}: its documents do not begin with {}, which data.begin_of_document asks for",
              trained.parameters.data.validation, tokenizer.decode(begin));
  const auto usual = train::usual_begin(trained.parameters.data.tokenizer, tokenizer);
  if (begin.empty() && !usual.empty() && dataset.documents_begin_with(usual))
    log::warn("{}: its documents begin with {}, which the model does not know there",
              trained.parameters.data.validation, tokenizer.decode(usual));
}

ExitStatus evaluate_shards(inference::TrainedModel& trained, parallel::MpiSession& session,
                           bool dry_run, Interruption interruption) {
  const config::Parameters& p = trained.parameters;
  const train::Dataset dataset(p.data.validation, "validation", p.model.vocab_size,
                               p.training.sequence_length, trained.tokenizer_identity,
                               p.data.verify_checksum && session.rank() == 0, {}, &session);
  warn_of_begin(trained, dataset);
  if (dry_run) return ExitStatus::ok;
  const train::EvaluationSet set{&dataset.stream(), dataset.bytes_per_token(),
                                 train::document_rule(p.data)};
  const train::Evaluation result =
      evaluate(trained, set, p.training.sequence_length, p.validation.sequences, interruption);
  return report(trained, result, p.data.validation, interruption);
}

}  // namespace

ExitStatus eval(parallel::MpiSession& session, config::Parameters& parameters, bool dry_run) {
  const config::EvaluationParameters& e = parameters.evaluation;
  if (e.text.empty() && e.tokens.empty() && parameters.data.validation.empty())
    throw Error(ExitStatus::bad_configuration,
                "nothing to evaluate: name data.validation, --text or --tokens",
                Met::by_every_rank);
  // Before the weights are read: what is wrong with the other files.
  if (!e.logits.empty())
    on_rank_0(session, [&] {
      io::require_new_logits(e.logits);
      return std::string();
    });
  const train::RunControl control(parameters.run);
  std::vector<std::string> documents;
  if (!e.text.empty())
    documents = tokenization::read_documents(session, e.text, parameters.tokenize);
  inference::TrainedModel trained(session, parameters);
  const Interruption interruption(control, session.world());
  if (!e.tokens.empty()) return inference::evaluate_sequences(trained, session, control, dry_run);
  if (!e.text.empty()) return evaluate_text(trained, documents, dry_run, interruption);
  return evaluate_shards(trained, session, dry_run, interruption);
}

}  // namespace espalier::commands
