#include <algorithm>
#include <filesystem>
#include <numeric>

#include "base/log.hpp"
#include "base/text.hpp"
#include "commands/build_info.hpp"
#include "commands/commands.hpp"
#include "commands/convert_checkpoint.hpp"
#include "commands/convert_target.hpp"
#include "commands/convert_tokenizer.hpp"
#include "huggingface/config_json.hpp"
#include "huggingface/folder_writer.hpp"
#include "huggingface/model_folder.hpp"
#include "huggingface/special_tokens.hpp"
#include "io/checkpoint.hpp"
#include "io/checkpoint_files.hpp"
#include "io/toml_reader.hpp"
#include "model/tensor_table.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "tokenizer/tokenizer.hpp"
#include "train/checkpointing.hpp"
#include "train/document_marks.hpp"
#include "train/kept_tokenizer.hpp"

// Weights from one format to the other, a tensor at a time. Rank 0 looks at source and target
// first, so that what is wrong with them is said once; then every rank converts the tensors that
// are its own. The target is written under another name, which it loses when it is whole.

namespace espalier::commands {
namespace {

namespace fs = std::filesystem;
using parallel::TensorSpec;

/// The items of this rank: the largest goes first, to the rank that has least to do. The same on
/// every rank; in ascending order.
std::vector<std::size_t> share_of(int rank, int num_ranks,
                                  const std::vector<std::uint64_t>& bytes) {
  std::vector<std::size_t> by_size(bytes.size());
  std::iota(by_size.begin(), by_size.end(), std::size_t{0});
  std::stable_sort(by_size.begin(), by_size.end(),
                   [&](std::size_t a, std::size_t b) { return bytes[a] > bytes[b]; });
  std::vector<std::uint64_t> load(static_cast<std::size_t>(num_ranks), 0);
  std::vector<std::size_t> own;
  for (const std::size_t item : by_size) {
    const auto least = std::min_element(load.begin(), load.end());
    *least += bytes[item];
    if (least - load.begin() == rank) own.push_back(item);
  }
  std::sort(own.begin(), own.end());
  return own;
}

/// A line that is rewritten after every tensor.
class Progress {
 public:
  explicit Progress(std::uint64_t total) : total_(total) {}
  void add(std::uint64_t bytes, const std::string& name) {
    done_ += bytes;
    log::live(fmt::format("{:3.0f} % | {} of {} | {}",
                          100.0 * static_cast<double>(done_) / static_cast<double>(total_),
                          human_bytes(static_cast<double>(done_)),
                          human_bytes(static_cast<double>(total_)), name));
  }

 private:
  std::uint64_t total_, done_ = 0;
};

std::uint64_t master_bytes(const TensorSpec& spec) {
  return static_cast<std::uint64_t>(spec.num_elements()) * sizeof(float);
}

// Hugging Face to checkpoint ----------------------------------------------------------------------

/// Tokens that end a text and that the tokenizer has not: the model can never end one with them.
void warn_of_unknown_ids(const config::ModelParameters& model,
                         const tokenizer::Tokenizer& tokenizer) {
  for (const std::uint32_t id : huggingface::ids_that_end_a_text(model))
    if (!tokenizer.has_token(id))
      log::warn("eos_token_id {} is no token of the tokenizer, whose ids are below {}", id,
                tokenizer.size());
}

/// Reads data.tokenizer, which the folder's own may lose when it cannot be used: its identity, the
/// token between documents where no name is usual, and whether a prompt begins with nothing.
std::string identity_of_tokenizer(config::Parameters& p, const fs::path& source, bool is_named) {
  if (p.data.tokenizer.empty()) return {};
  try {
    const auto tokenizer = tokenizer::Tokenizer::from_file(p.data.tokenizer);
    if (p.data.document_separator_token.empty() && !tokenizer.find_end_of_text()) {
      const std::string name = huggingface::eos_token_of(source);
      if (!name.empty() && tokenizer.token_id(name)) p.data.document_separator_token = name;
    }
    const auto marks = train::document_marks(p.data, tokenizer);
    // This model was not trained with a separator in front of every text.
    if (p.generate.prefix == "auto" && marks.begin.empty()) p.generate.prefix.clear();
    warn_of_unknown_ids(p.model, tokenizer);
    return tokenizer.identity();
  } catch (const Error& error) {
    // A key that names no token of it is a mistake of the command line.
    if (is_named || error.status() != ExitStatus::bad_data) throw;
    log::warn("the checkpoint names no tokenizer: {}", error.what());
    p.data.tokenizer.clear();
    return {};
  }
}

/// The input that a checkpoint of this folder has been made with: the model is the folder's, and
/// the command line has the last word.
config::Parameters imported_parameters(const huggingface::ModelFolder& folder,
                                       const fs::path& source,
                                       std::span<const std::string> overrides) {
  config::Parameters p;
  p.run.name = real_place(source).filename().string();
  p.model = folder.model();
  huggingface::take_generation_settings(p.model.generation_config, p.generate);
  p.training.dtype = folder.dtype() == "bfloat16" ? "bfloat16" : "float32";
  p.training.sequence_length =
      std::min(p.training.sequence_length, p.model.max_position_embeddings);
  std::error_code ignored;
  if (fs::is_regular_file(source / "tokenizer.json", ignored))
    p.data.tokenizer = (source / "tokenizer.json").string();
  io::read_parameters("", "command line", overrides, p);
  // The checkpoint is used from other folders, too.
  if (!p.data.tokenizer.empty())
    p.data.tokenizer = fs::absolute(p.data.tokenizer).lexically_normal().string();
  config::resolve(p, config::declared_ranks(p), config::Use::evaluation);
  return p;
}

/// Keys of the command line change what the weights compute only when that is meant.
void require_same_function(const config::ModelParameters& there, const config::Parameters& p) {
  const std::string refused = huggingface::differences(there, p.model, p.checkpoint.allow_changes);
  require(
      refused.empty(), ExitStatus::bad_configuration,
      "the command line changes what the weights compute:\n  {}\nLeave it out, or name the keys "
      "in checkpoint.allow_changes",
      refused);
  if (const std::string allowed = huggingface::differences(there, p.model); !allowed.empty())
    log::warn("checkpoint.allow_changes: the checkpoint is of another model than the folder:\n  {}",
              allowed);
}

void refuse_export_keys(std::span<const std::string> overrides, const config::Parameters& asked) {
  for (const std::string& text : overrides)
    if (text.starts_with("convert.") &&
        (!text.starts_with("convert.format=") || asked.convert.format == "huggingface"))
      throw Error(
          ExitStatus::bad_configuration,
          fmt::format("override {}: a checkpoint keeps fp32, which holds the folder's values "
                      "exactly; [convert] has a meaning when one is exported",
                      text),
          Met::by_every_rank);
}

/// What the checkpoint will hold.
struct Import {
  std::string resolved_input;      ///< as TOML
  std::string tokenizer_identity;  ///< rank 0; empty: none, or one that could not be read
  config::Parameters parameters;   ///< of resolved_input
  std::vector<TensorSpec> table;
};

/// Looks at the folder once, on rank 0, and refuses what cannot be converted. Collective.
Import plan_import(parallel::MpiSession& session, const fs::path& source,
                   std::span<const std::string> overrides, const config::Parameters& asked) {
  refuse_export_keys(overrides, asked);
  Import plan;
  plan.resolved_input = on_rank_0(session, [&] {
    const huggingface::ModelFolder folder(source);
    config::Parameters p = imported_parameters(folder, source, overrides);
    folder.require_tensors(model::tensor_table(model::Architecture::from(p.model)));
    if (folder.is_untied_by_weights()) log::warn("{}", huggingface::describe_untied(source));
    require_same_function(folder.model(), p);
    plan.tokenizer_identity = identity_of_tokenizer(p, source, !asked.data.tokenizer.empty());
    return config::to_toml(p);
  });
  io::read_parameters(plan.resolved_input, "command line", {}, plan.parameters);
  plan.table = model::tensor_table(model::Architecture::from(plan.parameters.model));
  return plan;
}

void describe_import(const Import& plan, const huggingface::ModelFolder& folder,
                     const fs::path& source, const ConvertTarget& target, int num_ranks) {
  const config::Parameters& p = plan.parameters;
  const auto architecture = model::Architecture::from(p.model);
  log::info("source      {}: {}, {}", source.string(), p.model.model_type, folder.dtype());
  log::info("{}", architecture.describe());
  log::info("target      {}: checkpoint of weights alone, {} file(s), {}", target.name(), num_ranks,
            human_bytes(static_cast<double>(architecture.num_parameters()) * sizeof(float)));
  log::info("tokenizer   {}",
            p.data.tokenizer.empty()
                ? std::string("none: name data.tokenizer for text")
                : fmt::format("{} ({})", p.data.tokenizer, plan.tokenizer_identity));
}

/// Writes this rank's tensors and returns what the checkpoint's index says of them.
std::string write_own_tensors(const parallel::MpiSession& session, const Import& plan,
                              const huggingface::ModelFolder& folder, const ConvertTarget& target,
                              const io::CheckpointInfo& info) {
  std::vector<std::uint64_t> bytes;
  for (const TensorSpec& spec : plan.table) bytes.push_back(master_bytes(spec));
  std::vector<const TensorSpec*> own;
  std::uint64_t own_bytes = 0;
  for (const std::size_t i : share_of(session.rank(), session.size(), bytes)) {
    own.push_back(&plan.table[i]);
    own_bytes += bytes[i];
  }
  io::WeightsCheckpointWriter writer(target.partial(), info, session.rank(), own);
  Progress progress(own_bytes);
  std::vector<float> values;
  for (std::size_t i = 0; i < own.size(); ++i) {
    const TensorSpec& spec = *own[i];
    values.resize(static_cast<std::size_t>(spec.num_elements()));
    folder.read(spec, {0, spec.rows, 0, spec.cols}, values.data());
    writer.write(i, values.data());
    progress.add(master_bytes(spec), spec.name);
  }
  return writer.finish();
}

/// Adds the index and the tokenizer, and gives the checkpoint its name: all or nothing. On rank 0.
void complete_import(const Import& plan, ConvertTarget& target, io::CheckpointInfo info,
                     const std::vector<std::string>& indices) {
  // One that could not be read has no identity, and a warning was given.
  const train::KeptTokenizer kept = train::tokenizer_to_keep(
      plan.tokenizer_identity.empty() ? std::string() : plan.parameters.data.tokenizer);
  info.tokenizer_file = kept.file;
  io::WeightsCheckpointWriter::complete(target.partial(), info, indices, kept.files);
  target.publish();
}

void import_folder(parallel::MpiSession& session, const fs::path& source, ConvertTarget& target,
                   std::span<const std::string> overrides, const config::Parameters& asked,
                   bool dry_run) {
  const Import plan = plan_import(session, source, overrides, asked);
  const huggingface::ModelFolder folder(source);
  describe_import(plan, folder, source, target, session.size());
  if (dry_run) return;

  target.create(session, [] {});
  const io::CheckpointInfo info{.resolved_input = plan.resolved_input,
                                .tokenizer_identity = plan.tokenizer_identity,
                                .build = build_description(),
                                .grid = fmt::format("espalier convert {}", source.string()),
                                .num_ranks = session.size(),
                                .weights_only = true};
  const std::vector<std::string> indices =
      session.world().all_gather(write_own_tensors(session, plan, folder, target, info));
  on_rank_0(session, [&] {
    complete_import(plan, target, info, indices);
    return std::string();
  });
  const auto num_parameters = model::Architecture::from(plan.parameters.model).num_parameters();
  log::info("{} is complete: {} parameters in {} tensors", target.name(),
            with_commas(num_parameters), plan.table.size());
}

// Checkpoint to Hugging Face ----------------------------------------------------------------------

/// A key that makes no difference for this target is refused.
void require_meaning(std::span<const std::string> overrides, const config::Parameters& asked) {
  const bool is_copy = asked.convert.format == "checkpoint";
  for (const std::string& text : overrides) {
    const bool is_of_copy = text.starts_with("convert.format=") || text.starts_with("convert.opt");
    if (is_copy && !is_of_copy)
      throw Error(ExitStatus::bad_configuration,
                  fmt::format("override {}: a checkpoint is copied as it is; convert.format and "
                              "convert.optimizer_state have a meaning here",
                              text),
                  Met::by_every_rank);
    if (!is_copy && text.starts_with("convert.optimizer_state="))
      throw Error(
          ExitStatus::bad_configuration,
          fmt::format("override {}: has a meaning with convert.format=checkpoint; a Hugging "
                      "Face folder holds weights alone",
                      text),
          Met::by_every_rank);
    if (!text.starts_with("convert.") && !text.starts_with("data.tokenizer="))
      throw Error(ExitStatus::bad_configuration,
                  fmt::format("override {}: a checkpoint is exported as it is; convert.dtype, "
                              "convert.shard_bytes and data.tokenizer have a meaning here",
                              text),
                  Met::by_every_rank);
  }
}

void export_checkpoint(parallel::MpiSession& session, const fs::path& folder, ConvertTarget& target,
                       const config::Parameters& asked, bool dry_run) {
  // 1. What there is, looked at once.
  TokenizerToExport tokenizer;  // rank 0
  on_rank_0(session, [&] {
    const io::CheckpointReader reader(folder);
    config::Parameters p;
    io::read_parameters(reader.info().resolved_input, (folder / "master.h5").string(), {}, p);
    train::require_same_model(reader, model::tensor_table(model::Architecture::from(p.model)));
    // The tokenizer that the checkpoint keeps, before the path that it had.
    if (const auto kept = train::kept_tokenizer(folder, reader.info()); !kept.empty())
      p.data.tokenizer = kept;
    tokenizer = find_tokenizer(asked.data.tokenizer, p.data, reader.info().tokenizer_identity);
    return std::string();
  });
  // A rank reads every shard of its tensors whole, so every checksum is looked at.
  io::CheckpointReader reader(folder);
  config::Parameters p;
  io::read_parameters(reader.info().resolved_input, (folder / "master.h5").string(), {}, p);
  const std::vector<TensorSpec> table = model::tensor_table(model::Architecture::from(p.model));
  const std::string dtype = asked.convert.dtype == "auto" ? p.training.dtype : asked.convert.dtype;
  huggingface::FolderWriter writer(
      target.partial(),
      {.model = p.model,
       .dtype = dtype,
       .separator = tokenizer.separator_id,
       .begin = tokenizer.begin.size() == 1 ? std::optional(tokenizer.begin.front().second)
                                            : std::nullopt},
      table, static_cast<std::uint64_t>(asked.convert.shard_bytes));
  log::info("source      {}: step {}, {}", folder.string(), reader.info().step, reader.info().grid);
  log::info("target      {}: {} of {}", target.name(),
            human_bytes(static_cast<double>(writer.total_bytes())), dtype);
  for (const std::string& line : writer.describe()) log::info("              {}", line);
  if (session.rank() == 0)
    for (const std::string& warning : tokenizer.warnings) log::warn("{}", warning);
  if (session.rank() == 0 && !reader.info().expert_bias.empty())
    log::warn(
        "the model was trained with experts.balance = \"bias\": Hugging Face's files have no "
        "place for that bias, and without it some tokens choose other experts");
  if (session.rank() == 0 && !tokenizer.file.empty())
    log::info("tokenizer   {}", tokenizer.file.string());
  if (dry_run) return;

  // 2. This rank's tensors.
  target.create(session, [&] {
    writer.create();
    write_tokenizer(tokenizer, target.partial(), p.model.max_position_embeddings);
  });
  std::vector<std::uint64_t> bytes;
  for (const auto& unit : writer.units()) bytes.push_back(unit.bytes());
  const std::vector<std::size_t> own = share_of(session.rank(), session.size(), bytes);
  std::uint64_t own_bytes = 0;
  for (const std::size_t i : own) own_bytes += bytes[i];
  Progress progress(own_bytes);
  for (const std::size_t i : own) {
    writer.write(writer.units()[i], [&](const TensorSpec& spec, float* out) {
      reader.read(spec.name, spec.rows, spec.cols, {0, spec.rows, 0, spec.cols},
                  io::CheckpointReader::Field::master, out);
    });
    progress.add(bytes[i], writer.units()[i].rows.front()->name);
  }

  // 3. All or nothing.
  writer.flush();
  session.world().barrier();
  on_rank_0(session, [&] {
    target.publish();
    return std::string();
  });
  log::info("{} is complete: {} tensors, {}", target.name(), writer.num_tensors(),
            human_bytes(static_cast<double>(writer.total_bytes())));
}

}  // namespace

ExitStatus convert(parallel::MpiSession& session, std::span<const std::string> paths,
                   std::span<const std::string> overrides, bool dry_run) {
  if (paths.size() != 2)
    throw Error(ExitStatus::usage,
                fmt::format("{} paths: name a source and a target, as in `espalier convert "
                            "Qwen3-0.6B runs/qwen3-0.6b-weights`",
                            paths.size()),
                Met::by_every_rank);
  config::Parameters asked;
  io::read_parameters("", "command line", overrides, asked);
  ConvertTarget target(paths[1]);
  // The checkpoint that is meant; empty: the source is a Hugging Face folder.
  const std::string checkpoint = on_rank_0(session, [&] {
    target.require_free();
    if (huggingface::is_model_folder(paths[0])) return std::string();
    const auto found = io::checkpoint_at(paths[0]);
    require(found.has_value(), ExitStatus::bad_data,
            "{} is neither a Hugging Face folder (config.json and safetensors) nor a checkpoint",
            paths[0]);
    return found->string();
  });
  try {
    if (checkpoint.empty()) {
      import_folder(session, paths[0], target, overrides, asked, dry_run);
    } else {
      require_meaning(overrides, asked);
      if (asked.convert.format == "checkpoint")
        copy_checkpoint(session, checkpoint, target, asked.convert.optimizer_state, dry_run);
      else
        export_checkpoint(session, checkpoint, target, asked, dry_run);
    }
  } catch (...) {
    target.discard();
    throw;
  }
  return ExitStatus::ok;
}

}  // namespace espalier::commands
