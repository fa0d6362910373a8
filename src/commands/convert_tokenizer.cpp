#include "commands/convert_tokenizer.hpp"

#include <array>
#include <optional>

#include "base/error.hpp"
#include "base/whole_file.hpp"
#include "huggingface/folder_writer.hpp"
#include "huggingface/tokenizer_files.hpp"
#include "tokenizer/definition.hpp"
#include "tokenizer/tokenizer.hpp"
#include "train/document_marks.hpp"
#include "train/kept_tokenizer.hpp"

namespace espalier::commands {
namespace {

namespace fs = std::filesystem;

std::string read_all(const fs::path& file) {
  std::optional<std::string> text = read_whole_file(file);
  require(text.has_value(), ExitStatus::io_error, "{}: cannot be read", file.string());
  return std::move(*text);
}

bool is_tokenizer_json(const fs::path& file) {
  return tokenizer::read_definition(file).is_tokenizer_json;
}

/// tokenizer.json of a tokenizer that another kind of file describes.
std::string json_of(const tokenizer::Definition& definition, const TokenizerToExport& tokenizer) {
  huggingface::TokenizerJson json;
  json.begin = tokenizer.begin;
  json.split_regex = tokenizer::regex_of(definition.splits.front().scanner);
  json.nfc = !definition.normalizer.empty();
  json.ignore_merges = definition.ignore_merges;
  for (std::uint32_t id = 0; id < definition.tokens.size(); ++id)
    if (definition.tokens[id].kind == tokenizer::Token::Kind::bytes)
      json.vocabulary.emplace_back(definition.tokens[id].bytes, id);
  for (const tokenizer::Merge& merge : definition.merges)
    json.merges.emplace_back(definition.tokens[merge.left].bytes,
                             definition.tokens[merge.right].bytes);
  for (const tokenizer::AddedToken& token : definition.added)
    json.special.push_back({token.content, token.id, token.normalized});
  return huggingface::write_tokenizer_json(json);
}

}  // namespace

TokenizerToExport find_tokenizer(const std::string& named,
                                 const config::DataParameters& of_checkpoint,
                                 const std::string& identity) {
  TokenizerToExport result;
  const std::string which = identity.empty() ? "" : fmt::format(" (identity {})", identity);
  const std::string remedy = fmt::format(
      "name the model's tokenizer{} with data.tokenizer=..., or copy its tokenizer.json and "
      "tokenizer_config.json into the folder",
      which);
  config::DataParameters data = of_checkpoint;
  if (!named.empty()) data.tokenizer = named;
  if (data.tokenizer.empty()) {
    result.warnings = {"the checkpoint names no tokenizer, and none is written: " + remedy};
    return result;
  }
  const fs::path file = data.tokenizer;
  try {
    std::error_code ignored;
    require(fs::is_regular_file(file, ignored), ExitStatus::bad_data, "{} is not there",
            file.string());
    const auto tokenizer = tokenizer::Tokenizer::from_file(file);
    require(identity.empty() || tokenizer.identity() == identity, ExitStatus::bad_data,
            "{} is tokenizer {}, the model was trained with tokenizer {}", file.string(),
            tokenizer.identity(), identity);
    const auto marks = train::document_marks(data, tokenizer);
    // A tokenizer without a separator can be used all the same; it then ends no text.
    result.separator_id = marks.separator;
    if (marks.separator) result.separator = tokenizer.decode(std::array{*marks.separator});
    for (const std::uint32_t id : marks.begin)
      result.begin.emplace_back(tokenizer.decode(std::array{id}), id);
    data.begin_of_document = "auto";
    const auto its_own = train::document_marks(data, tokenizer);
    if (its_own.begin != marks.begin && is_tokenizer_json(file))
      result.warnings.push_back(fmt::format(
          "{} puts \"{}\" before a text, but the model knows \"{}\" (data.begin_of_document): the "
          "copy still does; change its post_processor",
          file.string(), tokenizer.decode(its_own.begin), tokenizer.decode(marks.begin)));
    result.file = file;
  } catch (const Error& error) {
    if (!named.empty()) throw;
    result.warnings = {fmt::format("no tokenizer is written ({}): {}", error.what(), remedy)};
  }
  return result;
}

void write_tokenizer(const TokenizerToExport& tokenizer, const fs::path& folder,
                     std::int64_t max_length) {
  if (tokenizer.file.empty()) return;
  const auto copy = [&](const fs::path& from, const char* name) {
    huggingface::write_text_file(folder / name, read_all(from));
  };
  bool has_config = false;
  const tokenizer::Definition definition = tokenizer::read_definition(tokenizer.file);
  if (!definition.is_tokenizer_json) {
    huggingface::write_text_file(folder / "tokenizer.json", json_of(definition, tokenizer));
  } else {
    copy(tokenizer.file, "tokenizer.json");
    // A file of another name lies among files that are not its own.
    if (tokenizer.file.filename() == "tokenizer.json") {
      for (const char* name : train::kTokenizerCompanions) {
        const fs::path companion = tokenizer.file.parent_path() / name;
        std::error_code ignored;
        if (!fs::is_regular_file(companion, ignored)) continue;
        copy(companion, name);
        has_config = has_config || std::string_view(name) == "tokenizer_config.json";
      }
    }
  }
  if (!has_config)
    huggingface::write_text_file(
        folder / "tokenizer_config.json",
        huggingface::write_tokenizer_config(
            tokenizer.separator, tokenizer.begin.empty() ? "" : tokenizer.begin.front().first,
            max_length));
}

}  // namespace espalier::commands
