#include <algorithm>
#include <chrono>
#include <future>
#include <mutex>
#include <optional>

#include "base/host_loops.hpp"
#include "base/log.hpp"
#include "base/stop_request.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "commands/tokenize_input.hpp"
#include "commands/tokenize_output.hpp"
#include "parallel/on_rank_0.hpp"
#include "tokenizer/tokenizer.hpp"
#include "train/document_marks.hpp"

// Text to token shards. Every rank reads all the text, which is cheap beside encoding it, and
// encodes the shards whose number is its rank modulo the number of ranks. Which documents make a
// shard follows from the text alone (DocumentReader), so the files are the same, byte for byte, for
// any number of ranks and threads.

namespace espalier::commands {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

Files shared_inputs(parallel::MpiSession& session, const config::TokenizeParameters& how) {
  const std::string joined = on_rank_0(session, [&] {
    std::string names;
    for (const auto& file : find_inputs(how, session.size())) names += file.string() + '\0';
    return names;
  });
  Files files;
  for (std::size_t at = 0; at < joined.size(); at = joined.find('\0', at) + 1)
    files.emplace_back(joined.c_str() + at);
  return files;
}

/// Bytes of text per token, from the beginning of the text: shards are cut by bytes, which every
/// rank can count without encoding.
double estimate_bytes_per_token(const tokenizer::Tokenizer& tokenizer,
                                const train::DocumentMarks& marks, DocumentReader& reader) {
  constexpr std::uint64_t kSampleBytes = 2'000'000;
  const auto scratch = tokenizer.make_scratch();
  std::vector<std::uint32_t> ids;
  std::uint64_t num_bytes = 0;
  for (const std::string& document : reader.look_ahead(kSampleBytes)) {
    const std::string_view text = std::string_view(document).substr(0, kSampleBytes);
    num_bytes += text.size();
    ids.insert(ids.end(), marks.begin.begin(), marks.begin.end());
    tokenizer.encode(text, ids, *scratch);
    ids.push_back(*marks.separator);
  }
  return ids.empty() ? 1.0 : static_cast<double>(num_bytes) / static_cast<double>(ids.size());
}

/// Documents of this rank, some megabytes at a time.
struct Batch {
  std::vector<Document> documents;
  std::uint64_t documents_seen = 0;  ///< of all ranks, so far
  std::uint64_t bytes_seen = 0;
  double fraction_read = 0.0;
  bool is_last = false;
};

Batch read_batch(DocumentReader& reader, int rank, int num_ranks, std::uint64_t wanted_bytes) {
  // Another rank's share ends the batch too, later, so that rank 0's display moves.
  const std::uint64_t seen_before = reader.num_bytes();
  Batch batch;
  std::uint64_t num_bytes = 0;
  Document document;
  while (num_bytes < wanted_bytes && reader.num_bytes() - seen_before < 16 * wanted_bytes) {
    if (!reader.next(document)) {
      batch.is_last = true;
      break;
    }
    if (document.shard % static_cast<std::uint64_t>(num_ranks) != static_cast<std::uint64_t>(rank))
      continue;
    num_bytes += document.text.size();
    batch.documents.push_back(std::move(document));
  }
  batch.documents_seen = reader.num_documents();
  batch.bytes_seen = reader.num_bytes();
  batch.fraction_read = reader.fraction_read();
  return batch;
}

/// Encodes documents on all host threads. Scratches, with their caches of words, are kept from
/// batch to batch.
class ParallelEncoder {
 public:
  /// `marks` have a separator.
  ParallelEncoder(const tokenizer::Tokenizer& tokenizer, train::DocumentMarks marks)
      : tokenizer_(tokenizer), marks_(std::move(marks)) {}

  /// ids[d]: of document d, with what stands before it and the separator at the end.
  void encode(const std::vector<Document>& documents,
              std::vector<std::vector<std::uint32_t>>& ids) {
    ids.resize(documents.size());
    // A task is some documents in a row: short ones would spend their time taking tasks.
    constexpr std::size_t kTaskBytes = 200'000;
    std::vector<std::size_t> begins{0};
    std::size_t num_bytes = 0;
    for (std::size_t d = 0; d < documents.size(); ++d) {
      num_bytes += documents[d].text.size();
      if (num_bytes < kTaskBytes && d + 1 < documents.size()) continue;
      begins.push_back(d + 1);
      num_bytes = 0;
    }
    host_for_tasks(static_cast<std::int64_t>(begins.size()) - 1, [&](std::int64_t task) {
      const auto scratch = take();
      const auto t = static_cast<std::size_t>(task);
      for (std::size_t d = begins[t]; d < begins[t + 1]; ++d) {
        ids[d] = marks_.begin;
        tokenizer_.encode(documents[d].text, ids[d], *scratch);
        ids[d].push_back(*marks_.separator);
      }
      give_back(scratch);
    });
  }

 private:
  using Scratch = std::shared_ptr<tokenizer::Tokenizer::Scratch>;
  Scratch take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return tokenizer_.make_scratch();
    Scratch scratch = std::move(free_.back());
    free_.pop_back();
    return scratch;
  }
  void give_back(Scratch scratch) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(scratch));
  }

  const tokenizer::Tokenizer& tokenizer_;
  train::DocumentMarks marks_;
  std::mutex mutex_;
  std::vector<Scratch> free_;
};

/// "a.txt, b.txt" or, when there are many, the first and how many.
std::string describe_source(const Files& files) {
  std::string names;
  for (const auto& file : files) {
    if (names.size() > 1000) return fmt::format("{}, ... ({} files)", names, files.size());
    names += (names.empty() ? "" : ", ") + file.filename().string();
  }
  return names;
}

void show_progress(const Batch& batch, double seconds) {
  const std::string so_far =
      fmt::format("{} documents | {} of text | {:.1f} MB/s",
                  with_commas(static_cast<std::int64_t>(batch.documents_seen)),
                  human_bytes(static_cast<double>(batch.bytes_seen)),
                  static_cast<double>(batch.bytes_seen) / 1e6 / std::max(seconds, 1e-3));
  if (batch.fraction_read < 0.0)  // a stream: nobody knows how long it is
    return log::live(so_far);
  log::live(fmt::format(
      "{:3.0f} % | {} | {} left", 100.0 * batch.fraction_read, so_far,
      human_duration(seconds * (1.0 - batch.fraction_read) / std::max(batch.fraction_read, 1e-3))));
}

/// What was passed over, and a separator that is not there. Rank 0.
void print_input_counts(const InputCounts& counts, const std::string& separator) {
  const auto number = [](std::uint64_t n) { return with_commas(static_cast<std::int64_t>(n)); };
  for (std::size_t i = 0; i < counts.bad_lines.size(); ++i)
    if (counts.bad_lines[i] > 0)
      log::info("skipped     {} line(s): {}", number(counts.bad_lines[i]), io::kBadLineNames[i]);
  if (counts.empty_documents > 0)
    log::info("skipped     {} empty document(s)", number(counts.empty_documents));
  if (!counts.without_separator.empty() && log::rank() == 0)
    log::warn(
        "tokenize.document_separator = {} does not occur in {} of {} plain text file(s), each of "
        "which is one document: {}{}",
        io::json_string(separator), counts.without_separator.size(), counts.num_plain,
        describe_source(counts.without_separator),
        counts.has_separator_with_crlf
            ? ". It does with the line ends of Windows: write \\r\\n for \\n in it"
            : "");
}

/// Whether any rank was asked to stop. Ranks that were not hear of it when they have done their
/// part: they work without waiting for one another. Collective.
bool must_stop(parallel::MpiSession& session) {
  double stops[] = {stop_requested() ? 1.0 : 0.0};
  session.world().all_reduce_sum(std::span<double>(stops));
  return stops[0] > 0.0;
}

/// The closing table. Collective.
void print_summary(parallel::MpiSession& session, const ShardSet& shards, double seconds) {
  double total_bytes = 0.0;
  for (const Split split : {Split::train, Split::validation}) {
    const Written& written = shards.written(split);
    double sums[] = {
        static_cast<double>(written.num_documents), static_cast<double>(written.num_bytes),
        static_cast<double>(written.num_tokens), static_cast<double>(written.num_shards)};
    session.world().all_reduce_sum(std::span<double>(sums));
    total_bytes += sums[1];
    if (sums[0] == 0.0) continue;
    const auto count = [&](int i) { return with_commas(static_cast<std::int64_t>(sums[i])); };
    log::info("{:<10}  {} documents, {} bytes, {} tokens ({:.3f} bytes per token), {} shard(s)",
              kSplitNames[static_cast<std::size_t>(split)], count(0), count(1), count(2),
              sums[1] / sums[2], count(3));
  }
  log::info("time        {}, {:.1f} MB/s of text", human_duration(seconds),
            total_bytes / 1e6 / std::max(seconds, 1e-3));
}

}  // namespace

ExitStatus tokenize(parallel::MpiSession& session, config::Parameters& parameters, bool dry_run) {
  const config::TokenizeParameters& how = parameters.tokenize;
  const std::string& tokenizer_file = parameters.data.tokenizer;
  const auto start = Clock::now();

  // 1. What there is to do: the same on every rank.
  const Files files = shared_inputs(session, how);
  on_rank_0(session, [&] {  // a tokenizer that cannot be used is one message, not one a rank
    const auto tokenizer = tokenizer::Tokenizer::from_file(tokenizer_file);
    train::require_separator(train::document_marks(parameters.data, tokenizer), tokenizer);
    return std::string();
  });
  const auto tokenizer = tokenizer::Tokenizer::from_file(tokenizer_file);
  const train::DocumentMarks marks = train::document_marks(parameters.data, tokenizer);

  // 2. A place for the shards, before anything is read: a stream is there once. From here on a
  //    request to stop has something to put in order, and no rank must die of it.
  const StopSignals signals;
  session.world().barrier();
  std::optional<OutputFolder> output;  // rank 0
  if (!dry_run)
    on_rank_0(session, [&] {
      output.emplace(how.output);
      return std::string();
    });

  // 3. How much text makes a shard.
  DocumentReader reader(files, how);
  const double bytes_per_token = estimate_bytes_per_token(tokenizer, marks, reader);
  const auto shard_bytes = static_cast<std::uint64_t>(
      std::max(1.0, static_cast<double>(how.shard_tokens) * bytes_per_token));
  reader.set_shard_bytes(shard_bytes);
  log::info("tokenizer   {} ({} ids, identity {})", tokenizer_file, tokenizer.size(),
            tokenizer.identity());
  log::info("documents   {}text, {}",
            marks.begin.empty() ? "" : tokenizer.decode(marks.begin) + ", ",
            tokenizer.decode({&*marks.separator, 1}));
  log::info("input       {} file(s): {}", files.size(), describe_source(files));
  log::info("shards      {} of text each (about {:.2f} bytes per token)",
            human_bytes(static_cast<double>(shard_bytes)), bytes_per_token);
  if (dry_run) return ExitStatus::ok;

  io::ShardInfo info;
  info.tokenizer_identity = tokenizer.identity();
  info.tokenizer_file = tokenizer_file;
  info.vocabulary = tokenizer.size();
  info.end_of_text = *marks.separator;
  info.source = describe_source(files);
  std::optional<ShardSet> shards(std::in_place, how.output, info);

  // 4. Read, encode, write; the next batch is read while this one is encoded.
  ParallelEncoder encoder(tokenizer, marks);
  std::vector<std::vector<std::uint32_t>> ids;
  const std::uint64_t batch_bytes = 4'000'000 * static_cast<std::uint64_t>(num_host_threads());
  const auto read_next = [&] {
    return std::async(std::launch::async, read_batch, std::ref(reader), session.rank(),
                      session.size(), batch_bytes);
  };
  for (auto next = read_next(); next.valid() && !stop_requested();) {
    const Batch batch = next.get();
    if (!batch.is_last) next = read_next();
    encoder.encode(batch.documents, ids);
    for (std::size_t d = 0; d < batch.documents.size(); ++d)
      shards->append(batch.documents[d].split, batch.documents[d].shard, ids[d],
                     batch.documents[d].text.size());
    show_progress(batch, seconds_since(start));
  }
  if (must_stop(session)) {
    shards.reset();
    session.world().barrier();
    output.reset();
    log::info("stopped by a signal after {} documents: no shard is kept (status 75)",
              with_commas(static_cast<std::int64_t>(reader.num_documents())));
    return ExitStatus::stopped_early;
  }
  print_input_counts(reader.counts(), how.document_separator);
  require(reader.num_documents() > 0, ExitStatus::bad_data,
          "the input holds no text: {} file(s), {} ...", files.size(), files.front().string());
  shards->finish();

  // 5. All or nothing.
  session.world().barrier();
  on_rank_0(session, [&] {
    output->publish();
    output.reset();
    return std::string();
  });
  print_summary(session, *shards, seconds_since(start));
  return ExitStatus::ok;
}

}  // namespace espalier::commands
