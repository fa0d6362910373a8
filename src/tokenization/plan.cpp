#include "tokenization/plan.hpp"

#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "io/byte_source.hpp"
#include "io/input_file.hpp"
#include "io/text_parts.hpp"

namespace espalier::tokenization {
namespace {

using Clock = std::chrono::steady_clock;
using io::CorpusManifest;

constexpr std::uint64_t kSampleBytes = 256 * 1024;  // of text, of a file
constexpr std::uint64_t kLargestPart = std::uint64_t{256} << 20;
constexpr std::uint64_t kSmallestUnit = std::uint64_t{4} << 20;
constexpr std::uint64_t kUnitsOfSmallCorpus = 64;
constexpr std::size_t kMaxUnits = 100'000;  // five digits, so that names sort as numbers

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

CorpusManifest::File describe_file(const std::filesystem::path& path) {
  if (io::is_stream(path)) return {.path = path.string()};
  struct stat status {};
  require(::stat(path.c_str(), &status) == 0, ExitStatus::bad_data, "{}: cannot be found any more",
          path.string());
  return {.path = path.string(),
          .num_bytes = static_cast<std::uint64_t>(status.st_size),
          .mtime_ns = std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec};
}

/// Text in the file, about; of a damaged one, its bytes.
std::uint64_t text_bytes_of(const CorpusManifest::File& file,
                            const config::TokenizeParameters& how) {
  if (file.num_bytes == 0) return 0;
  try {
    return io::estimated_text_bytes(file.path, text_options(how));
  } catch (const io::DamagedFileError&) {
    if (how.on_bad_file != "skip") throw;
    return file.num_bytes;
  }
}

/// The one place that divides a file, by its kind.
std::vector<io::TextPart> parts_of(const CorpusManifest::File& file,
                                   const config::TokenizeParameters& how,
                                   std::uint64_t part_bytes) {
  if (file.num_bytes == 0) return {{}};
  try {
    return io::cut_text(file.path, text_options(how), part_bytes);
  } catch (const io::DamagedFileError&) {
    if (how.on_bad_file != "skip") throw;
    return {{}};
  }
}

std::string kind_of(const CorpusManifest::File& file, const config::TokenizeParameters& how) {
  constexpr const char* kPackings[] = {"", ", gzip", ", bzip2", ", xz", ", zstd"};
  if (io::is_stream(file.path)) return "stream";
  if (file.num_bytes == 0) return "empty";
  const auto format = how.format == "auto" ? io::kind_of_name(file.path).format
                                           : io::text_format_from_name(how.format);
  constexpr const char* kFormats[] = {"text", "JSON lines", "Parquet"};
  const char* name = !format ? "as the content says" : kFormats[static_cast<std::size_t>(*format)];
  return name + std::string(kPackings[static_cast<std::size_t>(io::packing_of_file(file.path))]);
}

}  // namespace

CorpusSample sample_corpus(const Files& files, const config::TokenizeParameters& how,
                           const tokenizer::Tokenizer& tokenizer,
                           const train::DocumentMarks& marks) {
  CorpusSample sample;
  const auto scratch = tokenizer.make_scratch();
  std::uint64_t num_bytes = 0, num_tokens = 0;
  std::vector<std::uint32_t> ids;
  const std::size_t step = std::max<std::size_t>(files.size() / kSampledFiles, 1);
  for (std::size_t f = 0; f < files.size() && f / step < kSampledFiles; f += step) {
    if (io::is_stream(files[f])) continue;
    std::uint64_t of_file = 0;
    try {
      const auto opening = Clock::now();
      io::TextSource source(files[f], text_options(how));
      sample.read_s += seconds_since(opening);
      for (std::string document; of_file < kSampleBytes;) {
        const auto start = Clock::now();
        const bool found = source.next(document);
        sample.read_s += seconds_since(start);
        if (!found) break;
        const std::string_view text = std::string_view(document).substr(0, kSampleBytes);
        // The mean of a first pass, in which many words are new, and a second one, in which none
        // is: a long text lies between them.
        const auto encoding = Clock::now();
        for (int pass = 0; pass < 2; ++pass) {
          ids.clear();
          tokenizer.encode(text, ids, *scratch);
        }
        sample.encode_s += seconds_since(encoding) / 2.0;
        of_file += text.size();
        num_tokens += ids.size() + marks.begin.size() + 1;
      }
    } catch (const io::DamagedFileError&) {
      if (how.on_bad_file != "skip") throw;
    }
    num_bytes += of_file;
  }
  sample.num_bytes = static_cast<double>(num_bytes);
  if (num_bytes > 0) sample.bytes_per_token = sample.num_bytes / static_cast<double>(num_tokens);
  return sample;
}

CorpusManifest plan_corpus(const Files& files, const config::TokenizeParameters& how,
                           const tokenizer::Tokenizer& tokenizer, const train::DocumentMarks& marks,
                           const CorpusSample& sample) {
  CorpusManifest manifest;
  manifest.settings = {{"the tokenizer", tokenizer.identity()},
                       {"the begin of documents", fmt::format("{}", fmt::join(marks.begin, " "))},
                       {"the separator of documents", std::to_string(*marks.separator)},
                       {"tokenize.format", how.format},
                       {"tokenize.text_key", fmt::format("{}", fmt::join(how.text_key, ", "))},
                       {"tokenize.source_key", how.source_key},
                       {"tokenize.document_separator", io::json_string(how.document_separator)},
                       {"tokenize.on_bad_line", how.on_bad_line},
                       {"tokenize.on_bad_file", how.on_bad_file},
                       {"tokenize.validation_fraction", fmt::format("{}", how.validation_fraction)},
                       {"tokenize.shard_tokens", std::to_string(how.shard_tokens)}};
  manifest.bytes_per_token = sample.bytes_per_token;
  std::vector<std::uint64_t> text_bytes;
  std::uint64_t total = 0;
  for (const auto& file : files) {
    manifest.files.push_back(describe_file(file));
    text_bytes.push_back(text_bytes_of(manifest.files.back(), how));
    total += text_bytes.back();
  }
  const auto shard_bytes = static_cast<std::uint64_t>(
      std::max(1.0, static_cast<double>(how.shard_tokens) * sample.bytes_per_token));
  const std::uint64_t unit_bytes =
      std::min(shard_bytes, std::max(total / kUnitsOfSmallCorpus, kSmallestUnit));

  std::uint64_t held = 0;  // in the last unit
  for (std::size_t f = 0; f < files.size(); ++f) {
    const CorpusManifest::File& file = manifest.files[f];
    const std::vector<io::TextPart> parts = parts_of(file, how, std::min(unit_bytes, kLargestPart));
    for (io::TextPart part : parts) {
      const std::uint64_t size =
          parts.size() == 1
              ? text_bytes[f]
              : static_cast<std::uint64_t>(static_cast<double>(text_bytes[f]) *
                                           static_cast<double>(part.end - part.begin) /
                                           static_cast<double>(file.num_bytes));
      // The unit is closed where its size comes nearest.
      if (manifest.units.empty() || (held > 0 && held + size / 2 > unit_bytes)) {
        manifest.units.emplace_back();
        held = 0;
      }
      manifest.units.back().push_back({f, part});
      held += size;
    }
    require(manifest.units.size() <= kMaxUnits, ExitStatus::bad_configuration,
            "there would be more than {} shards: raise tokenize.shard_tokens", kMaxUnits);
  }
  return manifest;
}

void print_estimate(const CorpusManifest& manifest, const config::TokenizeParameters& how,
                    const CorpusSample& sample, int num_ranks, int num_threads) {
  struct Kind {
    std::int64_t files = 0;
    double bytes = 0.0, text = 0.0;
  };
  std::map<std::string, Kind> kinds;
  double text = 0.0;
  for (const auto& file : manifest.files) {
    Kind& kind = kinds[kind_of(file, how)];
    ++kind.files;
    kind.bytes += static_cast<double>(file.num_bytes);
    kind.text += static_cast<double>(io::is_stream(file.path) ? 0 : text_bytes_of(file, how));
  }
  for (const auto& [name, kind] : kinds) {
    text += kind.text;
    log::info("            {} file(s) {}: {}, about {} of text", with_commas(kind.files), name,
              human_bytes(kind.bytes), human_bytes(kind.text));
  }
  const double tokens = text / sample.bytes_per_token;
  log::info(
      "estimate    {} tokens, {} of shards; while it works, twice the shards of the units "
      "at work",
      human_count(tokens), human_bytes(4.0 * tokens));
  if (sample.num_bytes == 0.0 || sample.encode_s == 0.0) return;
  // A thread reads or encodes; one thread of a rank reads at a time.
  const double read_rate = sample.num_bytes / std::max(sample.read_s, 1e-6);
  const double encode_rate = sample.num_bytes / sample.encode_s;
  const double per_rank = std::min(read_rate, num_threads / (1.0 / read_rate + 1.0 / encode_rate));
  const double workers =
      std::min(static_cast<double>(num_ranks), static_cast<double>(manifest.units.size()));
  std::uint64_t largest = 0;
  for (const auto& unit : manifest.units) largest = std::max(largest, manifest.unit_bytes(unit));
  const double seconds = text / per_rank / std::max(workers, 1.0);
  log::info(
      "            {} on {} rank(s) of {} thread(s), of a sample: reading {:.0f} MB/s, "
      "encoding {:.0f} MB/s per thread; limited by {}",
      human_duration(seconds), num_ranks, num_threads, read_rate / 1e6, encode_rate / 1e6,
      workers < num_ranks     ? "the number of units: more ranks do not help"
      : per_rank >= read_rate ? "reading, which is one thread's of a rank: more ranks of "
                                "fewer threads help"
                              : "encoding: more threads or ranks help");
  log::info("            the largest unit has {} on the disk",
            human_bytes(static_cast<double>(largest)));
}

}  // namespace espalier::tokenization
