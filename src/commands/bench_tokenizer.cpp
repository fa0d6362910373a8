#include <algorithm>
#include <chrono>

#include "base/host_loops.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "tokenization/input.hpp"
#include "tokenizer/tokenizer.hpp"

namespace espalier::commands {
namespace {

using Clock = std::chrono::steady_clock;
using tokenizer::Tokenizer;

constexpr std::uint64_t kMostBytes = 256'000'000;    // of text, held in memory
constexpr std::size_t kLongestDocument = 1'000'000;  // longer ones are cut for the threads to share
constexpr int kRounds = 5;

std::vector<std::string> read_texts(const config::TokenizeParameters& how) {
  std::vector<std::string> texts;
  std::uint64_t num_bytes = 0;
  for (const auto& file : tokenization::find_inputs(how, 1)) {
    io::TextSource source(file, tokenization::text_options(how));
    for (std::string document; num_bytes < kMostBytes && source.next(document);) {
      num_bytes += document.size();
      std::string_view rest = document;
      while (!rest.empty()) {
        std::size_t size = std::min(rest.size(), kLongestDocument);
        const std::size_t line_end = rest.find('\n', size);
        size = line_end == rest.npos ? rest.size() : line_end + 1;
        texts.emplace_back(rest.substr(0, size));
        rest.remove_prefix(size);
      }
    }
  }
  return texts;
}

/// A thread's documents, its cache and its ids. The ids of a pass overwrite those of the one
/// before, so that memory is not what is measured.
struct Worker {
  std::span<const std::string> texts;
  std::shared_ptr<Tokenizer::Scratch> scratch;
  std::vector<std::uint32_t> ids;

  void pass(const Tokenizer& tokenizer) {
    ids.clear();
    for (const std::string& text : texts) tokenizer.encode(text, ids, *scratch);
  }
};

/// Contiguous shares of about equal bytes.
std::vector<Worker> share_out(const std::vector<std::string>& texts, int num_workers) {
  std::uint64_t total = 0, given = 0;
  for (const std::string& text : texts) total += text.size();
  std::vector<Worker> workers(static_cast<std::size_t>(num_workers));
  std::size_t begin = 0;
  for (std::size_t w = 0; w < workers.size(); ++w) {
    std::size_t end = begin;
    while (end < texts.size() && given * workers.size() < total * (w + 1))
      given += texts[end++].size();
    workers[w].texts = std::span(texts).subspan(begin, end - begin);
    begin = end;
  }
  return workers;
}

double seconds_of_pass(std::vector<Worker>& workers, const Tokenizer& tokenizer) {
  const auto start = Clock::now();
  host_for_tasks(static_cast<std::int64_t>(workers.size()),
                 [&](std::int64_t w) { workers[static_cast<std::size_t>(w)].pass(tokenizer); });
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string describe(std::vector<double> seconds, double megabytes) {
  std::sort(seconds.begin(), seconds.end());
  return fmt::format("{:7.1f} MB/s (best {:.1f})", megabytes / seconds[seconds.size() / 2],
                     megabytes / seconds.front());
}

}  // namespace

// One process: ranks share nothing of this work. A round is a pass with empty caches of words and
// one with the caches that it left; the first round of all also grows the buffers, and is not
// counted.
ExitStatus bench_tokenizer(parallel::MpiSession& session, config::Parameters& parameters,
                           bool dry_run) {
  require(session.size() == 1, ExitStatus::bad_configuration,
          "espalier bench tokenizer measures one process, and has {} ranks: run it without mpirun "
          "(OMP_NUM_THREADS sets the threads)",
          session.size());
  const Tokenizer tokenizer = Tokenizer::from_file(parameters.data.tokenizer);
  const std::vector<std::string> texts = read_texts(parameters.tokenize);
  std::uint64_t num_bytes = 0;
  for (const std::string& text : texts) num_bytes += text.size();
  require(num_bytes > 0, ExitStatus::bad_data, "tokenize.input holds no text");
  const double megabytes = static_cast<double>(num_bytes) / 1e6;
  log::info("tokenizer   {} ({} ids, identity {})", parameters.data.tokenizer, tokenizer.size(),
            tokenizer.identity());
  log::info("text        {:.1f} MB in {} documents of at most about 1 MB", megabytes, texts.size());
  if (dry_run) return ExitStatus::ok;

  std::vector<int> nums_threads{1};
  if (num_host_threads() > 1) nums_threads.push_back(num_host_threads());
  for (const int num_threads : nums_threads) {
    std::vector<Worker> workers = share_out(texts, num_threads);
    std::vector<double> cold, warm;
    for (int round = 0; round <= kRounds; ++round) {
      for (Worker& worker : workers) worker.scratch = tokenizer.make_scratch();
      const double first = seconds_of_pass(workers, tokenizer);
      const double second = seconds_of_pass(workers, tokenizer);
      if (round == 0) continue;
      cold.push_back(first);
      warm.push_back(second);
    }
    std::size_t num_ids = 0;
    for (const Worker& worker : workers) num_ids += worker.ids.size();
    log::info("bench: threads {:>3}  cold {}  warm {}  {} ids", num_threads,
              describe(cold, megabytes), describe(warm, megabytes),
              with_commas(static_cast<std::int64_t>(num_ids)));
  }
  return ExitStatus::ok;
}

}  // namespace espalier::commands
