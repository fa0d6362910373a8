#include "io/corpus_counts.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.hpp"

namespace espalier::io {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json, int indent) {
  // Paths need not be UTF-8.
  return json.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json json_of(const SplitCounts& counts) {
  return {{"documents", counts.num_documents},
          {"bytes", counts.num_bytes},
          {"tokens", counts.num_tokens},
          {"shards", counts.num_shards}};
}

SplitCounts split_counts(const Json& json) {
  return {.num_documents = json.at("documents").get<std::uint64_t>(),
          .num_bytes = json.at("bytes").get<std::uint64_t>(),
          .num_tokens = json.at("tokens").get<std::uint64_t>(),
          .num_shards = json.at("shards").get<std::uint64_t>()};
}

Json sources_of(const CorpusCounts& counts) {
  Json sources = Json::object();
  for (const auto& [source, splits] : counts.sources)
    for (std::size_t i = 0; i < kNumSplits; ++i)
      if (splits[i].num_documents > 0) sources[source][kSplitNames[i]] = json_of(splits[i]);
  return sources;
}

Json times_of(const CorpusCounts& counts) {
  Json times = Json::array();
  for (const auto& time : counts.slowest)
    times.push_back({{"file", time.path}, {"seconds", time.seconds}, {"bytes", time.num_bytes}});
  return times;
}

}  // namespace

void SplitCounts::add(const SplitCounts& other) {
  num_documents += other.num_documents;
  num_bytes += other.num_bytes;
  num_tokens += other.num_tokens;
  num_shards += other.num_shards;
}

void CorpusCounts::add_time(FileTime time) {
  const auto slower = [](const FileTime& a, const FileTime& b) { return a.seconds > b.seconds; };
  slowest.insert(std::upper_bound(slowest.begin(), slowest.end(), time, slower), time);
  if (slowest.size() > kMostSlow) slowest.pop_back();
}

void CorpusCounts::add(const CorpusCounts& other) {
  for (const auto& [source, splits] : other.sources)
    for (std::size_t i = 0; i < kNumSplits; ++i) sources[source][i].add(splits[i]);
  for (std::size_t i = 0; i < kNumBadLines; ++i) bad_lines[i] += other.bad_lines[i];
  empty_documents += other.empty_documents;
  empty_files += other.empty_files;
  damaged.insert(other.damaged.begin(), other.damaged.end());
  num_plain += other.num_plain;
  without_separator.insert(without_separator.end(), other.without_separator.begin(),
                           other.without_separator.end());
  has_separator_with_crlf |= other.has_separator_with_crlf;
  for (const FileTime& time : other.slowest) add_time(time);
}

SplitCounts CorpusCounts::total(Split split) const {
  SplitCounts sum;
  for (const auto& [source, splits] : sources) sum.add(splits[static_cast<std::size_t>(split)]);
  return sum;
}

SplitCounts CorpusCounts::total() const {
  SplitCounts sum = total(Split::train);
  sum.add(total(Split::validation));
  return sum;
}

std::string CorpusCounts::text() const {
  return dump({{"sources", sources_of(*this)},
               {"bad_lines", bad_lines},
               {"empty_documents", empty_documents},
               {"empty_files", empty_files},
               {"damaged", damaged},
               {"plain_files", num_plain},
               {"without_separator", without_separator},
               {"has_separator_with_crlf", has_separator_with_crlf},
               {"slowest", times_of(*this)}},
              -1);
}

CorpusCounts CorpusCounts::parse(const std::string& text, const std::string& where) {
  CorpusCounts counts;
  try {
    const Json json = Json::parse(text);
    for (const auto& source : json.at("sources").items())
      for (std::size_t i = 0; i < kNumSplits; ++i)
        if (source.value().contains(kSplitNames[i]))
          counts.sources[source.key()][i] = split_counts(source.value().at(kSplitNames[i]));
    json.at("bad_lines").get_to(counts.bad_lines);
    json.at("empty_documents").get_to(counts.empty_documents);
    json.at("empty_files").get_to(counts.empty_files);
    json.at("damaged").get_to(counts.damaged);
    json.at("plain_files").get_to(counts.num_plain);
    json.at("without_separator").get_to(counts.without_separator);
    json.at("has_separator_with_crlf").get_to(counts.has_separator_with_crlf);
    for (const Json& time : json.at("slowest"))
      counts.slowest.push_back({time.at("file").get<std::string>(),
                                time.at("seconds").get<double>(),
                                time.at("bytes").get<std::uint64_t>()});
  } catch (const Json::exception& error) {
    fail(ExitStatus::bad_data, "{}: is damaged: {}", where, error.what());
  }
  return counts;
}

std::string corpus_report(const CorpusCounts& counts, const std::string& tokenizer_identity,
                          std::uint64_t num_units, double seconds) {
  const SplitCounts total = counts.total();
  Json skipped = Json::object();
  for (std::size_t i = 0; i < kNumBadLines; ++i)
    if (counts.bad_lines[i] > 0) skipped[kBadLineNames[i]] = counts.bad_lines[i];
  Json splits = Json::object();
  for (const Split split : {Split::train, Split::validation})
    splits[kSplitNames[static_cast<std::size_t>(split)]] = json_of(counts.total(split));
  return dump(
      {{"tokenizer", tokenizer_identity},
       {"units", num_units},
       {"documents", total.num_documents},
       {"bytes", total.num_bytes},
       {"tokens", total.num_tokens},
       {"shards", total.num_shards},
       {"bytes_per_token", static_cast<double>(total.num_bytes) /
                               static_cast<double>(std::max<std::uint64_t>(total.num_tokens, 1))},
       {"splits", splits},
       {"sources", sources_of(counts)},
       {"skipped_lines", skipped},
       {"empty_documents", counts.empty_documents},
       {"empty_files", counts.empty_files},
       {"damaged_files", counts.damaged},
       {"slowest_files", times_of(counts)},
       {"seconds_of_last_job", seconds}},
      2);
}

}  // namespace espalier::io
