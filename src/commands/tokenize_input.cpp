#include "commands/tokenize_input.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "io/input_file.hpp"
#include "io/text_inputs.hpp"

namespace espalier::commands {
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

}  // namespace

io::TextSource::Options text_options(const config::TokenizeParameters& how) {
  return {.separator = how.document_separator,
          .text_key = how.text_key,
          .format = io::text_format_from_name(how.format),
          .skip_bad_lines = how.on_bad_line == "skip"};
}

Files find_inputs(const config::TokenizeParameters& how, int num_ranks) {
  const io::TextInputs inputs =
      io::list_text_inputs(how.input, io::text_format_from_name(how.format), "tokenize.input");
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

DocumentReader::DocumentReader(Files files, const config::TokenizeParameters& how)
    : files_(std::move(files)),
      options_(text_options(how)),
      validation_fraction_(how.validation_fraction),
      split_of_(0, "validation split") {
  for (const auto& file : files_) {
    std::error_code error;
    if (io::is_stream(file))
      has_streams_ = true;
    else if (const auto size = std::filesystem::file_size(file, error); !error)
      bytes_of_files_ += size;
  }
}

void DocumentReader::close_source() {
  const io::TextCounts& found = source_->counts();
  bytes_of_files_read_ += source_->compressed_size();
  counts_.empty_documents += found.empty_documents;
  for (std::size_t i = 0; i < found.bad_lines.size(); ++i)
    counts_.bad_lines[i] += found.bad_lines[i];
  if (source_->format() == io::TextFormat::plain) {
    ++counts_.num_plain;
    if (!options_.separator.empty() && found.separators == 0) {
      counts_.without_separator.push_back(files_[next_file_ - 1]);
      counts_.has_separator_with_crlf |= found.has_separator_with_crlf;
    }
  }
  source_.reset();
}

bool DocumentReader::next_text(std::string& text) {
  while (source_ == nullptr || !source_->next(text)) {
    if (source_ != nullptr) close_source();
    if (next_file_ == files_.size()) return false;
    source_ = std::make_unique<io::TextSource>(files_[next_file_++], options_);
  }
  return true;
}

const std::deque<std::string>& DocumentReader::look_ahead(std::uint64_t num_bytes) {
  std::uint64_t held = 0;
  for (const std::string& text : ahead_) held += text.size();
  for (std::string text; held < num_bytes && next_text(text); held += ahead_.back().size())
    ahead_.push_back(std::move(text));
  return ahead_;
}

bool DocumentReader::next(Document& document) {
  if (!ahead_.empty()) {
    document.text = std::move(ahead_.front());
    ahead_.pop_front();
  } else if (!next_text(document.text)) {
    return false;
  }
  const bool is_validation = split_of_.uniform(num_documents_) < validation_fraction_;
  document.split = is_validation ? Split::validation : Split::train;
  const auto split = static_cast<std::size_t>(document.split);
  if (bytes_in_shard_[split] >= shard_bytes_) {
    ++shard_[split];
    bytes_in_shard_[split] = 0;
  }
  document.shard = shard_[split];
  bytes_in_shard_[split] += document.text.size();
  num_bytes_ += document.text.size();
  ++num_documents_;
  return true;
}

double DocumentReader::fraction_read() const {
  if (has_streams_) return -1.0;
  const std::uint64_t here = source_ != nullptr ? source_->compressed_position() : 0;
  return bytes_of_files_ == 0 ? 1.0
                              : static_cast<double>(bytes_of_files_read_ + here) /
                                    static_cast<double>(bytes_of_files_);
}

}  // namespace espalier::commands
