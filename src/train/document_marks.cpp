#include "train/document_marks.hpp"

#include <filesystem>

#include "base/error.hpp"
#include "huggingface/prompt_prefix.hpp"

namespace espalier::train {
namespace {

/// The one token that a key names.
std::uint32_t named_token(const char* key, const std::string& name,
                          const tokenizer::Tokenizer& tokenizer) {
  if (const auto id = tokenizer.token_id(name)) return *id;
  const std::vector<std::uint32_t> ids = tokenizer.encode(name);
  if (ids.size() != 1)
    throw Error(ExitStatus::bad_configuration,
                fmt::format("data.{} = \"{}\" is no token of data.tokenizer, which makes {} of it: "
                            "name one that the tokenizer has, such as an added token",
                            key, name, ids.size()),
                Met::by_every_rank);
  return ids.front();
}

}  // namespace

std::vector<std::uint32_t> usual_begin(const std::filesystem::path& file,
                                       const tokenizer::Tokenizer& tokenizer) {
  const auto extension = file.extension();
  if (extension != ".tiktoken" && extension != ".model")
    return tokenizer.encode(huggingface::prompt_prefix(file));
  // Such a file has no place to say so; the models that come with it do.
  const auto id = tokenizer.token_id("<|begin_of_text|>");
  return id ? std::vector{*id} : std::vector<std::uint32_t>();
}

DocumentMarks document_marks(const config::DataParameters& data,
                             const tokenizer::Tokenizer& tokenizer) {
  DocumentMarks marks;
  if (data.begin_of_document == "auto")
    marks.begin = usual_begin(data.tokenizer, tokenizer);
  else if (data.begin_of_document != "none")
    marks.begin = {named_token("begin_of_document", data.begin_of_document, tokenizer)};
  marks.separator =
      data.document_separator_token.empty()
          ? tokenizer.find_end_of_text()
          : named_token("document_separator_token", data.document_separator_token, tokenizer);
  return marks;
}

std::uint32_t require_separator(const DocumentMarks& marks, const tokenizer::Tokenizer& tokenizer) {
  return marks.separator ? *marks.separator : tokenizer.end_of_text();
}

}  // namespace espalier::train
