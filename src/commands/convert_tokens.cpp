#include <algorithm>
#include <chrono>
#include <optional>

#include "base/log.hpp"
#include "base/random.hpp"
#include "base/stop_request.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "io/toml_reader.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "tokenization/shard_document.hpp"
#include "tokenization/token_documents.hpp"
#include "tokenization/token_shard_set.hpp"
#include "tokenization/unfinished_folder.hpp"
#include "tokenizer/tokenizer.hpp"
#include "train/stopped_early.hpp"

// Token files of other programs to token shards. Every rank goes through all documents, which costs
// little where an index says how long they are, and takes those of the shards whose number is its
// rank modulo the number of ranks. What makes a shard follows from the documents alone, so the
// files are the same, byte for byte, for any number of ranks.

namespace espalier::commands {
namespace {

using Clock = std::chrono::steady_clock;
using io::ForeignTokens;
using Format = ForeignTokens::Format;

std::string number(std::uint64_t n) {
  return with_commas(static_cast<std::int64_t>(n));
}

/// "a.idx, b.bin" or, when there are many, the first and how many.
std::string describe_source(const std::vector<ForeignTokens>& files) {
  std::string names;
  for (const auto& file : files) {
    if (names.size() > 1000) return fmt::format("{}, ... ({} files)", names, files.size());
    names += (names.empty() ? "" : ", ") + file.name().filename().string();
  }
  return names;
}

// Before anything is written ----------------------------------------------------------------------

void require_meaning(std::span<const std::string> overrides) {
  constexpr std::string_view kKeys[] = {
      "data.tokenizer=", "data.document_separator_token=", "data.begin_of_document=",
      "tokenize.shard_tokens=", "tokenize.validation_fraction="};
  for (const std::string& text : overrides)
    if (std::none_of(std::begin(kKeys), std::end(kKeys),
                     [&](std::string_view key) { return text.starts_with(key); }))
      throw Error(ExitStatus::bad_configuration,
                  fmt::format("override {}: it has no meaning where tokens are converted; "
                              "data.tokenizer, data.document_separator_token, "
                              "data.begin_of_document, tokenize.shard_tokens and "
                              "tokenize.validation_fraction have one",
                              text),
                  Met::by_every_rank);
}

/// The command line as tokenize would have it.
config::Parameters parameters_of(std::span<const std::string> paths,
                                 std::span<const std::string> overrides, int num_ranks) {
  if (paths.size() < 2)
    throw Error(ExitStatus::usage,
                "name token files and a folder for the shards, as in `espalier convert-tokens "
                "corpus.idx data/shards data.tokenizer=tokenizer.json`",
                Met::by_every_rank);
  require_meaning(overrides);
  config::Parameters p;
  io::read_parameters("", "command line", overrides, p);
  p.tokenize.input.assign(paths.begin(), paths.end() - 1);
  p.tokenize.output = paths.back();
  config::resolve(p, num_ranks, config::Use::tokenizing);
  return p;
}

/// The files, all of which have been opened: a damaged one is told before a long run begins.
struct Inputs {
  std::vector<ForeignTokens> files;
  std::vector<std::string> lines;  ///< what they are, rank 0
  std::uint64_t num_tokens = 0;    ///< rank 0
};

void look_into(Inputs& inputs) {
  for (const ForeignTokens& file : inputs.files) {
    std::string line = file.name().string() + ": ";
    std::uint64_t num_tokens = 0;
    if (file.format == Format::megatron) {
      const io::MegatronTokens opened(file.index, file.data);
      num_tokens = opened.num_tokens();
      line += fmt::format("Megatron, {} documents, ", number(opened.num_documents())) +
              std::string(name_of(opened.type()));
    } else {
      const io::LlmcTokens opened(file.data);
      num_tokens = opened.tokens().size();
      line += "llm.c, " + std::string(name_of(opened.tokens().type()));
    }
    inputs.num_tokens += num_tokens;
    inputs.lines.push_back(fmt::format("{}, {} tokens", line, number(num_tokens)));
  }
}

Inputs shared_inputs(parallel::MpiSession& session, const std::vector<std::string>& names) {
  Inputs inputs;
  const std::string joined = on_rank_0(session, [&] {
    inputs.files = io::list_foreign_tokens(names);
    look_into(inputs);
    std::string text;
    for (const auto& file : inputs.files)
      text += file.data.string() + '\0' + file.index.string() + '\0';
    return text;
  });
  if (session.rank() == 0) return inputs;
  std::size_t at = 0;
  const auto next = [&] {
    std::string word(joined.c_str() + at);
    at += word.size() + 1;
    return word;
  };
  while (at < joined.size()) {
    ForeignTokens file;
    file.data = next();
    file.index = next();
    if (file.index.empty()) file.format = Format::llmc;
    inputs.files.push_back(std::move(file));
  }
  return inputs;
}

// What was done -----------------------------------------------------------------------------------

struct FileCounts {
  std::uint64_t documents = 0;        ///< not empty
  std::uint64_t with_begin = 0;       ///< of these
  std::uint64_t with_separator = 0;   ///< of these
  std::uint64_t empty_documents = 0;  ///< passed over
};

/// "kept", or what became of a token that every document should have.
std::string treatment(std::uint64_t have, std::uint64_t documents, const std::string& token,
                      const char* place, const char* put) {
  if (have == documents) return fmt::format("{} {} every document is kept", token, place);
  if (have == 0) return fmt::format("{} is put {} every document", token, put);
  return fmt::format("{} is {} {} of {} documents and is put {} the others", token, place,
                     number(have), number(documents), put);
}

/// Rank 0. A file whose documents are not alike is worth a warning.
void print_file(const ForeignTokens& file, const FileCounts& counts,
                const train::DocumentMarks& marks, const tokenizer::Tokenizer& tokenizer,
                bool separator_is_moved) {
  const bool is_mixed = (counts.with_separator > 0 && counts.with_separator < counts.documents) ||
                        (counts.with_begin > 0 && counts.with_begin < counts.documents);
  const std::string separator = tokenizer.decode({&*marks.separator, 1});
  std::string line =
      fmt::format("{}: {} documents; ", file.name().string(), number(counts.documents));
  line += separator_is_moved ? separator + ", which is in front of a document, is put behind it"
                             : treatment(counts.with_separator, counts.documents, separator,
                                         "at the end of", "behind");
  if (!marks.begin.empty())
    line += "; " + treatment(counts.with_begin, counts.documents, tokenizer.decode(marks.begin),
                             "at the beginning of", "in front of");
  if (counts.empty_documents > 0)
    line += fmt::format("; {} empty document(s) are passed over", number(counts.empty_documents));
  if (is_mixed && log::rank() == 0)
    log::warn("{}", line);
  else
    log::info("{}", line);
}

void print_llmc_counts(const tokenization::TokenDocuments& documents,
                       const tokenizer::Tokenizer& tokenizer) {
  const std::uint32_t id = documents.delimiter();
  const std::string token = tokenizer.decode({&id, 1});
  if (documents.num_cut() > 0)
    log::info("{} file(s) do not begin with {}: what stands before the first is a document",
              documents.num_cut(), token);
  const auto& without = documents.without_delimiter();
  if (!without.empty() && log::rank() == 0)
    log::warn(
        "{} ({}), which begins a document in files of llm.c, does not occur in {} of them ({}, "
        "...): data.document_separator_token says which token it is",
        token, id, without.size(), without.front().string());
}

/// The closing table. Collective.
void print_summary(parallel::MpiSession& session, const tokenization::TokenShardSet& shards,
                   double seconds) {
  for (const io::Split split : {io::Split::train, io::Split::validation}) {
    const io::SplitCounts& written = shards.written(split);
    double sums[] = {
        static_cast<double>(written.num_documents), static_cast<double>(written.num_bytes),
        static_cast<double>(written.num_tokens), static_cast<double>(written.num_shards)};
    session.world().all_reduce_sum(std::span<double>(sums));
    if (sums[0] == 0.0) continue;
    const auto count = [&](int i) { return with_commas(static_cast<std::int64_t>(sums[i])); };
    log::info("{:<10}  {} documents, {} tokens of {} bytes of text ({:.3f} a token), {} shard(s)",
              io::kSplitNames[static_cast<std::size_t>(split)], count(0), count(2), count(1),
              sums[1] / sums[2], count(3));
  }
  log::info("time        {}", human_duration(seconds));
}

/// Where a document goes: to a split by its number, and, by the tokens of the split so far, to a
/// shard.
class Places {
 public:
  explicit Places(const config::TokenizeParameters& how)
      : validation_fraction_(how.validation_fraction),
        shard_tokens_(static_cast<std::uint64_t>(how.shard_tokens)) {}
  struct Place {
    io::Split split;
    std::uint64_t shard;
  };
  Place next(std::uint64_t num_tokens) {
    const bool is_validation = split_of_.uniform(num_documents_++) < validation_fraction_;
    const io::Split split = is_validation ? io::Split::validation : io::Split::train;
    const auto s = static_cast<std::size_t>(split);
    if (tokens_in_shard_[s] >= shard_tokens_) {
      ++shard_[s];
      tokens_in_shard_[s] = 0;
    }
    tokens_in_shard_[s] += num_tokens;
    return {split, shard_[s]};
  }
  std::uint64_t num_documents() const { return num_documents_; }

 private:
  double validation_fraction_;
  std::uint64_t shard_tokens_;
  RandomStream split_of_{0, "validation split"};
  std::uint64_t num_documents_ = 0;
  std::uint64_t shard_[io::kNumSplits] = {};
  std::uint64_t tokens_in_shard_[io::kNumSplits] = {};
};

}  // namespace

ExitStatus convert_tokens(parallel::MpiSession& session, std::span<const std::string> paths,
                          std::span<const std::string> overrides, bool dry_run) {
  const auto start = Clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };

  // 1. What there is to do: the same on every rank, and looked at by one.
  const config::Parameters p = parameters_of(paths, overrides, session.size());
  on_rank_0(session, [&] {
    const auto tokenizer = tokenizer::Tokenizer::from_file(p.data.tokenizer);
    train::require_separator(train::document_marks(p.data, tokenizer), tokenizer);
    return std::string();
  });
  const auto tokenizer = tokenizer::Tokenizer::from_file(p.data.tokenizer);
  const train::DocumentMarks marks = train::document_marks(p.data, tokenizer);
  const Inputs inputs = shared_inputs(session, p.tokenize.input);
  log::info("tokenizer   {} ({} ids, identity {})", p.data.tokenizer, tokenizer.size(),
            tokenizer.identity());
  log::info("documents   {}text, {}",
            marks.begin.empty() ? "" : tokenizer.decode(marks.begin) + ", ",
            tokenizer.decode({&*marks.separator, 1}));
  for (const std::string& line : inputs.lines) log::info("input       {}", line);
  if (dry_run) return ExitStatus::ok;

  // 2. A place for the shards.
  const StopSignals signals;
  session.world().barrier();
  std::optional<tokenization::UnfinishedFolder> output;  // rank 0
  on_rank_0(session, [&] {
    output.emplace(p.tokenize.output, "output", [](const std::filesystem::directory_entry& entry) {
      return tokenization::is_shard(entry.path()) && entry.is_regular_file();
    });
    output->clear();
    output->set_kept(false);
    return std::string();
  });
  io::ShardInfo info;
  info.tokenizer_identity = tokenizer.identity();
  info.tokenizer_file = p.data.tokenizer;
  info.vocabulary = tokenizer.size();
  info.end_of_text = *marks.separator;
  info.source = describe_source(inputs.files);
  std::optional<tokenization::TokenShardSet> shards(std::in_place, p.tokenize.output, info);

  // 3. Document by document.
  tokenization::ShardDocument made(tokenizer, marks, p.data.tokenizer);
  tokenization::TokenDocuments documents(inputs.files, marks);
  Places places(p.tokenize);
  std::vector<FileCounts> counts(inputs.files.size());
  std::uint64_t tokens_seen = 0, tokens_shown = 0;
  for (tokenization::TokenDocument document; !stop_requested() && documents.next(document);) {
    const tokenization::Around has = around(document, marks);
    FileCounts& file = counts[document.file];
    tokens_seen += document.num_tokens();
    if (has.num_text == 0) {
      ++file.empty_documents;
      continue;
    }
    ++file.documents;
    file.with_begin += has.begin ? 1 : 0;
    file.with_separator += has.separator ? 1 : 0;
    const auto [split, shard] = places.next(has.num_tokens);
    const auto num_ranks = static_cast<std::uint64_t>(session.size());
    if (shard % num_ranks != static_cast<std::uint64_t>(session.rank())) continue;
    made.take(document, has);
    shards->append(split, shard, made.tokens(), made.text_bytes());
    if (tokens_seen - tokens_shown < 10'000'000) continue;
    tokens_shown = tokens_seen;
    log::live(fmt::format("{:3.0f} % | {} of {} tokens",
                          100.0 * static_cast<double>(tokens_seen) /
                              static_cast<double>(std::max<std::uint64_t>(inputs.num_tokens, 1)),
                          number(tokens_seen), number(inputs.num_tokens)));
  }
  if (train::any_asked_to_stop(session)) {
    shards.reset();
    session.world().barrier();
    output.reset();
    return train::stopped_early(
        train::StopReason::signal,
        fmt::format("{} documents: no shard is kept", number(places.num_documents())));
  }
  require(places.num_documents() > 0, ExitStatus::bad_data,
          "the input holds no document with a text: {} file(s), {} ...", inputs.files.size(),
          inputs.files.front().name().string());
  shards->finish();

  // 4. All or nothing.
  session.world().barrier();
  on_rank_0(session, [&] {
    output->publish();
    output.reset();
    return std::string();
  });
  for (std::size_t f = 0; f < counts.size(); ++f)
    print_file(inputs.files[f], counts[f], marks, tokenizer,
               inputs.files[f].format == Format::llmc && documents.delimiter() == *marks.separator);
  print_llmc_counts(documents, tokenizer);
  print_summary(session, *shards, seconds());
  return ExitStatus::ok;
}

}  // namespace espalier::commands
