#include "tokenization/report.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "base/text.hpp"

namespace espalier::tokenization {
namespace {

std::string number(std::uint64_t value) {
  return with_commas(static_cast<std::int64_t>(value));
}

std::string describe(const io::SplitCounts& counts) {
  return fmt::format("{} documents, {} bytes, {} tokens ({:.3f} bytes per token), {} shard(s)",
                     number(counts.num_documents), number(counts.num_bytes),
                     number(counts.num_tokens),
                     static_cast<double>(counts.num_bytes) /
                         static_cast<double>(std::max<std::uint64_t>(counts.num_tokens, 1)),
                     number(counts.num_shards));
}

}  // namespace

std::string describe_files(const std::vector<std::string>& paths, std::size_t longest) {
  std::string names;
  for (const std::string& path : paths) {
    if (names.size() > longest) return fmt::format("{}, ... ({} files)", names, paths.size());
    names += (names.empty() ? "" : ", ") + std::filesystem::path(path).filename().string();
  }
  return names;
}

std::string describe_progress(const TokenizeProgress& progress) {
  const std::string so_far = fmt::format(
      "{} documents | {} of text | {:.1f} MB/s",
      with_commas(static_cast<std::int64_t>(progress.documents)), human_bytes(progress.text_bytes),
      progress.text_bytes / 1e6 / std::max(progress.seconds, 1e-3));
  if (progress.fraction < 0.0) return so_far;  // the length of a stream is not known
  return fmt::format("{:3.0f} % | {} | {} left", 100.0 * progress.fraction, so_far,
                     human_duration(progress.seconds * (1.0 - progress.fraction) /
                                    std::max(progress.fraction, 1e-3)));
}

void print_skipped(const io::CorpusCounts& counts, const std::string& separator) {
  for (std::size_t i = 0; i < counts.bad_lines.size(); ++i)
    if (counts.bad_lines[i] > 0)
      log::info("skipped     {} line(s): {}", number(counts.bad_lines[i]), io::kBadLineNames[i]);
  if (counts.empty_documents > 0)
    log::info("skipped     {} empty document(s)", number(counts.empty_documents));
  if (counts.empty_files > 0) log::info("skipped     {} empty file(s)", number(counts.empty_files));
  constexpr std::size_t kMostShown = 10;
  std::size_t shown = 0;
  for (const auto& [file, reason] : counts.damaged) {
    if (shown++ == kMostShown) break;
    log::info("damaged     what is before the damage was taken: {}", reason);
  }
  if (counts.damaged.size() > kMostShown)
    log::info("damaged     {} files in all, which report.json names", counts.damaged.size());
  if (!counts.without_separator.empty() && log::rank() == 0)
    log::warn(
        "tokenize.document_separator = {} does not occur in {} of {} plain text file(s), each of "
        "which is one document: {}{}",
        io::json_string(separator), counts.without_separator.size(), counts.num_plain,
        describe_files(counts.without_separator),
        counts.has_separator_with_crlf
            ? ". It does with the line ends of Windows: write \\r\\n for \\n in it"
            : "");
}

void print_report(const io::CorpusCounts& counts, double seconds, double text_bytes) {
  for (const io::Split split : {io::Split::train, io::Split::validation})
    if (const io::SplitCounts total = counts.total(split); total.num_documents > 0)
      log::info("{:<10}  {}", io::kSplitNames[static_cast<std::size_t>(split)], describe(total));
  for (const auto& [source, splits] : counts.sources) {
    if (source.empty()) continue;
    io::SplitCounts total;
    for (const io::SplitCounts& split : splits) total.add(split);
    log::info("source      {}: {}", source, describe(total));
  }
  if (counts.slowest.size() > 1 && counts.slowest.front().seconds > 1.0)
    for (std::size_t i = 0; i < std::min<std::size_t>(counts.slowest.size(), 3); ++i)
      log::info("slow file   {}: {:.1f} s to read {}", counts.slowest[i].path,
                counts.slowest[i].seconds,
                human_bytes(static_cast<double>(counts.slowest[i].num_bytes)));
  log::info("time        {}, {:.1f} MB/s of text",
            seconds < 60.0 ? fmt::format("{:.1f} s", seconds) : human_duration(seconds),
            text_bytes / 1e6 / std::max(seconds, 1e-3));
}

}  // namespace espalier::tokenization
