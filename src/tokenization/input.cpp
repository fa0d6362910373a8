#include "tokenization/input.hpp"

#include <algorithm>
#include <chrono>
#include <span>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "io/byte_source.hpp"
#include "io/input_file.hpp"
#include "io/text_inputs.hpp"

namespace espalier::tokenization {
namespace {

/// "a.txt, b.txt and 7 more".
std::string some_of(const Files& paths) {
  constexpr std::size_t kMostShown = 8;
  std::string names;
  for (std::size_t i = 0; i < paths.size() && i < kMostShown; ++i)
    names += (i == 0 ? "" : ", ") + paths[i].string();
  if (paths.size() > kMostShown) names += fmt::format(" and {} more", paths.size() - kMostShown);
  return names;
}

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// The place of `name` in the list, which is short.
std::uint32_t index_in(std::vector<std::string>& names, std::string name) {
  const auto found = std::find(names.rbegin(), names.rend(), name);
  if (found != names.rend()) return static_cast<std::uint32_t>(names.rend() - found - 1);
  names.push_back(std::move(name));
  return static_cast<std::uint32_t>(names.size() - 1);
}

}  // namespace

io::TextSource::Options text_options(const config::TokenizeParameters& how) {
  return {.separator = how.document_separator,
          .keys = {.text = how.text_key, .source = how.source_key},
          .format = io::text_format_from_name(how.format),
          .skip_bad_lines = how.on_bad_line == "skip",
          .reads_damaged = how.on_bad_file == "skip"};
}

Files find_inputs(const config::TokenizeParameters& how, int num_ranks) {
  const io::TextInputs inputs =
      io::list_text_inputs(how.input, io::text_format_from_name(how.format), "tokenize.input",
                           how.on_bad_file == "skip");
  require(inputs.streams.empty() || num_ranks == 1, ExitStatus::bad_configuration,
          "{}: is a stream, which one process can read once, and there are {} ranks. Start "
          "tokenize without mpirun (its threads share the work), or write the text to a file",
          inputs.streams.empty() ? "" : inputs.streams.front().string(), num_ranks);
  for (const auto& left_out : inputs.left_out)
    log::info("left out    {}: {}: {}", left_out.paths.size(), left_out.why,
              some_of(left_out.paths));
  if (!inputs.named_twice.empty())
    log::warn(
        "tokenize.input names {} file(s) more than once, and their text is taken as often: {}",
        inputs.named_twice.size(), some_of(inputs.named_twice));
  return inputs.files;
}

std::string_view DocumentBatch::text_of(std::size_t document) const {
  const std::size_t begin = document == 0 ? 0 : documents[document - 1].text_end;
  return std::string_view(text).substr(begin, documents[document].text_end - begin);
}

std::span<const std::uint32_t> DocumentBatch::ids_of(std::size_t document) const {
  const std::size_t begin = document == 0 ? 0 : documents[document - 1].id_end;
  return std::span(ids).subspan(begin, documents[document].id_end - begin);
}

std::string source_folder(const std::string& value) {
  constexpr std::size_t kLongest = 100;
  if (value.empty()) return "unknown";
  std::string name = value.substr(0, kLongest);
  for (char& c : name) {
    const bool is_safe = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                         (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    if (!is_safe) c = '_';
  }
  if (name.front() == '.' || name.front() == '-') name.front() = '_';
  // The folder of the units has its name already.
  if (name == value && name != "units") return name;
  return fmt::format("{}-{:08x}", name, hash_text(value) & 0xFFFFFFFF);
}

UnitReader::UnitReader(const io::CorpusManifest& manifest, std::size_t unit,
                       const config::TokenizeParameters& how)
    : manifest_(manifest),
      unit_(unit),
      options_(text_options(how)),
      skips_damaged_(how.on_bad_file == "skip"),
      validation_fraction_(how.validation_fraction),
      split_of_(0, "validation split") {}

// The one place that opens a part of a unit: by its kind, where there is more than text.
void UnitReader::open_part(const Part& part) {
  source_ = std::make_unique<io::TextSource>(manifest_.files[part.file].path, options_, part.range);
}

void UnitReader::note_time() {
  const double now = now_s();
  part_seconds_ += now - clock_;
  clock_ = now;
}

std::uint64_t UnitReader::disk_position() const {
  if (source_ == nullptr) return disk_bytes_done_;
  const Part& part = manifest_.units[unit_][next_part_ - 1];
  const std::uint64_t here = std::min(source_->compressed_position(), part.range.end);
  return disk_bytes_done_ + (here - std::min(here, part.range.begin));
}

void UnitReader::close_part() {
  const Part& part = manifest_.units[unit_][next_part_ - 1];
  const io::CorpusManifest::File& file = manifest_.files[part.file];
  disk_bytes_done_ += manifest_.unit_bytes({part});
  note_time();
  counts_.add_time({file.path, part_seconds_, manifest_.unit_bytes({part})});
  part_seconds_ = 0.0;
  if (file.num_bytes == 0 && !io::is_stream(file.path)) ++counts_.empty_files;
  if (source_ == nullptr) return;
  const io::TextCounts& found = source_->counts();
  counts_.empty_documents += found.empty_documents;
  for (std::size_t i = 0; i < found.bad_lines.size(); ++i)
    counts_.bad_lines[i] += found.bad_lines[i];
  // A first part ends behind a separator, if there is one in the file.
  if (source_->format() == io::TextFormat::plain && part.range.begin == 0) {
    ++counts_.num_plain;
    if (!options_.separator.empty() && found.separators == 0) {
      counts_.without_separator.push_back(file.path);
      counts_.has_separator_with_crlf |= found.has_separator_with_crlf;
    }
  }
  source_.reset();
}

bool UnitReader::next_document() {
  const io::CorpusManifest::Unit& parts = manifest_.units[unit_];
  for (;;) {
    try {
      if (source_ == nullptr) {
        if (next_part_ == parts.size()) return false;
        open_part(parts[next_part_++]);
      }
      if (source_->next(document_)) return true;
    } catch (const io::DamagedFileError& error) {
      if (!skips_damaged_) throw;
      counts_.damaged.emplace(manifest_.files[parts[next_part_ - 1].file].path, error.what());
    }
    close_part();
  }
}

void UnitReader::fill(DocumentBatch& batch) {
  constexpr std::size_t kBytesPerDocument = sizeof(DocumentBatch::Document);
  batch.unit = unit_;
  clock_ = now_s();
  while (batch.text.size() + kBytesPerDocument * batch.documents.size() < kBatchBytes) {
    if (!next_document()) {
      batch.ends_unit = true;
      batch.counts = std::move(counts_);
      break;
    }
    // Documents of a unit are numbered from its own place in the stream of random numbers.
    const double random = split_of_.uniform((std::uint64_t{unit_} << 40) + num_documents_++);
    batch.text += document_;
    batch.documents.push_back(
        {.text_end = batch.text.size(),
         .source = index_in(batch.sources, options_.keys.source.empty()
                                               ? std::string()
                                               : source_folder(source_->source())),
         .split = random < validation_fraction_ ? io::Split::validation : io::Split::train});
  }
  if (!batch.ends_unit) note_time();
  const std::uint64_t position = disk_position();
  batch.disk_bytes = position - disk_bytes_told_;
  disk_bytes_told_ = position;
}

}  // namespace espalier::tokenization
