#include "commands/tokenize_input.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "io/byte_source.hpp"

namespace espalier::commands {
namespace {

bool is_text_name(const std::filesystem::path& path) {
  const auto extension = io::unpacked_name(path).extension();
  return extension == ".txt" || extension == ".jsonl" || extension == ".json" ||
         extension == ".dict";
}

}  // namespace

std::vector<std::filesystem::path> expand_inputs(const std::vector<std::string>& names) {
  std::vector<std::filesystem::path> files;
  for (const std::string& name : names) {
    std::error_code error;
    require(std::filesystem::exists(name, error), ExitStatus::bad_data,
            "{}: there is no such file or folder. Correct tokenize.input", name);
    if (!std::filesystem::is_directory(name, error)) {
      files.emplace_back(name);
      continue;
    }
    const std::size_t first = files.size();
    for (const auto& entry : std::filesystem::directory_iterator(name, error))
      if (entry.is_regular_file() && is_text_name(entry.path())) files.push_back(entry.path());
    require(!error, ExitStatus::bad_data, "{}: the folder cannot be read: {}", name,
            error.message());
    require(files.size() > first, ExitStatus::bad_data,
            "{}: the folder holds no text (.txt, .jsonl or .json; also .gz, .zst). Correct "
            "tokenize.input, or name the files themselves",
            name);
    std::sort(files.begin() + static_cast<std::ptrdiff_t>(first), files.end());
  }
  return files;
}

DocumentReader::DocumentReader(std::vector<std::filesystem::path> files,
                               const config::TokenizeParameters& how, std::uint64_t shard_bytes)
    : files_(std::move(files)),
      options_{how.document_separator, how.text_key},
      validation_fraction_(how.validation_fraction),
      shard_bytes_(shard_bytes),
      split_of_(0, "validation split") {
  for (const auto& file : files_) {
    std::error_code ignored;
    bytes_of_files_ += std::filesystem::file_size(file, ignored);
  }
}

bool DocumentReader::next(Document& document) {
  while (source_ == nullptr || !source_->next(document.text)) {
    if (source_ != nullptr) bytes_of_files_read_ += source_->compressed_size();
    source_.reset();
    if (next_file_ == files_.size()) return false;
    source_ = std::make_unique<io::TextSource>(files_[next_file_++], options_);
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
  const std::uint64_t here = source_ != nullptr ? source_->compressed_position() : 0;
  return bytes_of_files_ == 0 ? 1.0
                              : static_cast<double>(bytes_of_files_read_ + here) /
                                    static_cast<double>(bytes_of_files_);
}

}  // namespace espalier::commands
