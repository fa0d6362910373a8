#include <algorithm>
#include <chrono>
#include <future>
#include <optional>

#include "base/host_loops.hpp"
#include "base/log.hpp"
#include "base/stop_request.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "io/input_file.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "parallel/comm/shared_counters.hpp"
#include "tokenization/input.hpp"
#include "tokenization/output.hpp"
#include "tokenization/pipeline.hpp"
#include "tokenization/plan.hpp"
#include "tokenization/report.hpp"
#include "tokenizer/tokenizer.hpp"
#include "train/document_marks.hpp"
#include "train/run_control.hpp"
#include "train/run_triggers.hpp"

// Text to token shards. Rank 0 decides which pieces of which files make which shards, before
// anything is encoded (io/corpus_manifest.hpp); ranks take these units one after another, whoever
// is free. A unit's shards follow from its input alone, so that the files are the same, byte for
// byte, for any number of ranks and threads, and however often a job was stopped on the way.

namespace espalier::commands {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// What the ranks tell one another while they work.
enum Counter : int { kNextUnit, kStop, kDiskBytes, kTextBytes, kDocuments, kNumCounters };

/// What is the same for all units.
struct Corpus {
  const config::TokenizeParameters& how;
  const tokenizer::Tokenizer& tokenizer;
  const train::DocumentMarks& marks;
  const io::CorpusManifest& manifest;
  io::ShardInfo info;             ///< of the tokenizer
  std::vector<std::size_t> todo;  ///< units
  bool has_stream = false;
};

/// Shows rank 0 how far all ranks are, and a request to stop of one to all.
class Coordinator {
 public:
  /// `triggers` of the folder that is written; null on other ranks than 0.
  Coordinator(parallel::MpiSession& session, const Corpus& corpus, const train::RunControl& limit,
              train::RunTriggers* triggers)
      : session_(session),
        corpus_(corpus),
        limit_(limit),
        triggers_(triggers),
        counters_(session, kNumCounters) {
    for (const std::size_t unit : corpus.todo)
      disk_bytes_ += static_cast<double>(corpus.manifest.unit_bytes(corpus.manifest.units[unit]));
  }

  /// The next unit that no rank has taken; nothing: there is none.
  std::optional<std::size_t> next_unit() {
    const auto next = static_cast<std::size_t>(counters_.add(kNextUnit, 1));
    return next < corpus_.todo.size() ? std::optional(corpus_.todo[next]) : std::nullopt;
  }
  void count(const tokenization::DocumentBatch& batch) {
    mine_[kDiskBytes] += static_cast<std::int64_t>(batch.disk_bytes);
    mine_[kTextBytes] += static_cast<std::int64_t>(batch.text.size());
    mine_[kDocuments] += static_cast<std::int64_t>(batch.documents.size());
  }
  /// Whether any rank was asked to stop, or the time is up. To be asked often.
  bool must_stop() {
    counters_.help();
    if (stopping_) return true;
    const bool mine = stop_requested() || limit_.out_of_time(0.0) || is_stopped_by_file();
    if (mine) counters_.add(kStop, 1);
    if (mine || seconds_since(last_talk_) > kTalkInterval_s) {
      last_talk_ = Clock::now();
      stopping_ = mine || counters_.add(kStop, 0) > 0;
      share();
    }
    return stopping_;
  }
  void share() {
    for (const int counter : {kDiskBytes, kTextBytes, kDocuments})
      counters_.add(counter, std::exchange(mine_[counter], 0));
    if (session_.rank() == 0) show();
  }
  double text_bytes() { return static_cast<double>(counters_.add(kTextBytes, 0)); }
  double seconds() const { return seconds_since(start_); }

 private:
  static constexpr double kTalkInterval_s = 0.25, kLineInterval_s = 60.0;

  /// Files by which people without rights on the job ask for something.
  bool is_stopped_by_file() {
    using train::Trigger;
    if (triggers_ == nullptr) return false;
    triggers_->look();
    if (triggers_->is_asked(Trigger::status)) {
      last_line_ = Clock::time_point{};  // a line is due
      show();
      triggers_->honoured(Trigger::status);
    }
    return triggers_->is_asked(Trigger::stop);
  }

  void show() {
    const auto value = [&](Counter counter) {
      return static_cast<double>(counters_.add(counter, 0));
    };
    const tokenization::TokenizeProgress progress{
        .documents = value(kDocuments),
        .text_bytes = value(kTextBytes),
        .fraction = corpus_.has_stream || disk_bytes_ == 0.0
                        ? -1.0
                        : std::min(value(kDiskBytes) / disk_bytes_, 1.0),
        .seconds = seconds()};
    log::live(tokenization::describe_progress(progress));
    if (seconds_since(last_line_) < kLineInterval_s) return;
    last_line_ = Clock::now();
    log::info("{}", tokenization::describe_progress(progress));
  }

  parallel::MpiSession& session_;
  const Corpus& corpus_;
  const train::RunControl& limit_;
  train::RunTriggers* triggers_;
  parallel::SharedCounters counters_;
  double disk_bytes_ = 0.0;
  std::int64_t mine_[kNumCounters] = {};
  bool stopping_ = false;
  Clock::time_point start_ = Clock::now(), last_talk_ = start_, last_line_ = start_;
};

/// What the shards of a unit say of themselves.
io::ShardInfo info_of(const Corpus& corpus, std::size_t unit) {
  std::vector<std::string> paths;
  for (const auto& part : corpus.manifest.units[unit])
    paths.push_back(corpus.manifest.files[part.file].path);
  io::ShardInfo info = corpus.info;
  info.source = tokenization::describe_files(paths);
  return info;
}

/// Takes units and makes their shards, until there are no more or someone must stop. Returns how
/// many this rank has finished.
std::size_t work(const Corpus& corpus, Coordinator& coordinator,
                 const tokenization::OutputFolder* output) {
  constexpr double kPatience_s = 0.02;  // so often somebody else may need this thread
  tokenization::TokenizePipeline pipeline(corpus.tokenizer, corpus.marks, corpus.manifest,
                                          corpus.how, num_host_threads());
  std::unique_ptr<tokenization::UnitWriter> writer;
  // The last unit is flushed to the disk while the next one is at work.
  std::future<void> finishing;
  std::size_t num_finished = 0;
  const auto wait_for_last = [&] {
    if (!finishing.valid()) return;
    finishing.get();
    ++num_finished;
    if (output != nullptr) output->require_held();
  };
  while (!pipeline.is_done() && !coordinator.must_stop()) {
    if (pipeline.wants_unit()) pipeline.give(coordinator.next_unit());
    const auto batch = pipeline.take(kPatience_s);
    if (batch == nullptr) continue;
    if (writer == nullptr)
      writer = std::make_unique<tokenization::UnitWriter>(
          corpus.how.output, batch->unit, info_of(corpus, batch->unit),
          static_cast<std::uint64_t>(corpus.how.shard_tokens));
    writer->append(*batch);
    coordinator.count(*batch);
    if (!batch->ends_unit) continue;
    wait_for_last();
    finishing = std::async(
        std::launch::async,
        [whole = std::move(writer), counts = std::move(batch->counts)] { whole->finish(counts); });
  }
  wait_for_last();
  coordinator.share();
  return num_finished;
}

void print_plan(const Corpus& corpus, const std::string& tokenizer_file) {
  const tokenizer::Tokenizer& tokenizer = corpus.tokenizer;
  const io::CorpusManifest& manifest = corpus.manifest;
  log::info("tokenizer   {} ({} ids, identity {})", tokenizer_file, tokenizer.size(),
            tokenizer.identity());
  log::info("documents   {}text, {}",
            corpus.marks.begin.empty() ? "" : tokenizer.decode(corpus.marks.begin) + ", ",
            tokenizer.decode({&*corpus.marks.separator, 1}));
  std::vector<std::string> paths;
  for (const auto& file : manifest.files) paths.push_back(file.path);
  log::info("input       {} file(s): {}", manifest.files.size(),
            tokenization::describe_files(paths, 200));
  log::info("units       {}, each of which makes shards of its own (about {:.2f} bytes per token)",
            with_commas(static_cast<std::int64_t>(manifest.units.size())),
            manifest.bytes_per_token);
}

ExitStatus say_stopped(const Corpus& corpus, std::size_t num_done) {
  if (corpus.has_stream || num_done == 0)
    log::info(
        "stopped by a signal, the file \"stop\" or the time limit: no unit is kept (status 75)");
  else
    log::info(
        "stopped by a signal, the file \"stop\" or the time limit: {} of {} units are done and "
        "kept; the same command goes on (status 75)",
        num_done, corpus.manifest.units.size());
  return ExitStatus::stopped_early;
}

}  // namespace

ExitStatus tokenize(parallel::MpiSession& session, config::Parameters& parameters, bool dry_run) {
  const config::TokenizeParameters& how = parameters.tokenize;
  const std::string& tokenizer_file = parameters.data.tokenizer;

  // 1. The input and the tokenizer; what cannot be used is one message, not one a rank.
  tokenization::Files files;                      // rank 0
  std::optional<tokenizer::Tokenizer> read_here;  // large ones take a second
  on_rank_0(session, [&] {
    files = tokenization::find_inputs(how, session.size());
    read_here.emplace(tokenizer::Tokenizer::from_file(tokenizer_file));
    train::require_separator(train::document_marks(parameters.data, *read_here), *read_here);
    return std::string();
  });
  if (!read_here) read_here.emplace(tokenizer::Tokenizer::from_file(tokenizer_file));
  const tokenizer::Tokenizer& tokenizer = *read_here;
  const train::DocumentMarks marks = train::document_marks(parameters.data, tokenizer);

  // 2. A place for the shards, before anything is read: a stream is there once. From here on a
  //    request to stop has something to put in order, and no rank must die of it.
  const train::RunControl limit(parameters.run);
  session.world().barrier();
  std::optional<tokenization::OutputFolder> output;  // rank 0
  if (!dry_run)
    on_rank_0(session, [&] {
      output.emplace(how.output);
      return std::string();
    });

  // 3. What there is to do, and what of it is done: the same on every rank.
  tokenization::CorpusSample sample;  // rank 0
  const auto manifest = io::CorpusManifest::parse(
      on_rank_0(session,
                [&] {
                  sample = tokenization::sample_corpus(files, how, tokenizer, marks);
                  return tokenization::plan_corpus(files, how, tokenizer, marks, sample).text();
                }),
      "the manifest");
  Corpus corpus{.how = how,
                .tokenizer = tokenizer,
                .marks = marks,
                .manifest = manifest,
                .info = {},
                .todo = {},
                .has_stream = false};
  corpus.has_stream =
      std::any_of(manifest.files.begin(), manifest.files.end(),
                  [](const io::CorpusManifest::File& file) { return io::is_stream(file.path); });
  print_plan(corpus, tokenizer_file);
  if (dry_run) {
    if (session.rank() == 0)
      tokenization::print_estimate(manifest, how, sample, session.size(), num_host_threads());
    return ExitStatus::ok;
  }
  const std::string done = on_rank_0(session, [&] {
    std::string marks_of_units;
    for (const bool is_done : output->take_up(manifest, !corpus.has_stream))
      marks_of_units += is_done ? '1' : '0';
    return marks_of_units;
  });
  for (std::size_t unit = 0; unit < done.size(); ++unit)
    if (done[unit] == '0') corpus.todo.push_back(unit);
  if (corpus.todo.size() < done.size())
    log::info("goes on     {} of {} units are there", done.size() - corpus.todo.size(),
              done.size());
  corpus.info.tokenizer_identity = tokenizer.identity();
  corpus.info.tokenizer_file = tokenizer_file;
  corpus.info.vocabulary = tokenizer.size();
  corpus.info.end_of_text = *marks.separator;

  // 4. Read, encode, write.
  std::optional<train::RunTriggers> triggers;  // rank 0
  if (output) triggers.emplace(tokenization::unfinished_folder(how.output));
  Coordinator coordinator(session, corpus, limit, triggers ? &*triggers : nullptr);
  double finished[] = {static_cast<double>(work(corpus, coordinator, output ? &*output : nullptr))};
  session.world().all_reduce_sum(std::span<double>(finished));
  const auto num_left = static_cast<double>(corpus.todo.size()) - finished[0];
  if (triggers) {  // what came late is honoured by the end itself, and no part of the data
    triggers->look(train::RunTriggers::Clock::now() + std::chrono::hours(1));
    for (const train::Trigger trigger : train::kTriggers) triggers->honoured(trigger);
  }
  if (num_left > 0.0) {
    output.reset();
    return say_stopped(corpus, manifest.units.size() - static_cast<std::size_t>(num_left));
  }

  // 5. All shards appear at once, with what they are.
  const double seconds = coordinator.seconds(), text_bytes = coordinator.text_bytes();
  on_rank_0(session, [&] {
    const io::CorpusCounts counts = output->counts();
    tokenization::print_skipped(counts, how.document_separator);
    if (counts.total().num_documents == 0) output->discard();
    require(counts.total().num_documents > 0, ExitStatus::bad_data,
            "the input holds no text: {} file(s), {} ...", files.size(), files.front().string());
    output->publish(
        io::corpus_report(counts, tokenizer.identity(), manifest.units.size(), seconds));
    output.reset();
    tokenization::print_report(counts, seconds, text_bytes);
    return std::string();
  });
  return ExitStatus::ok;
}

}  // namespace espalier::commands
