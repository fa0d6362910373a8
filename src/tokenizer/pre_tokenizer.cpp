#include "tokenizer/pre_tokenizer.hpp"

namespace espalier::tokenizer {
namespace {

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";

}  // namespace

std::string_view name_of(PreTokenizer pre_tokenizer) {
  switch (pre_tokenizer) {
    case PreTokenizer::gpt2:
      return "gpt2";
    case PreTokenizer::qwen:
      return "qwen";
    case PreTokenizer::llama3:
      return "llama3";
  }
  return "";
}

std::optional<PreTokenizer> pre_tokenizer_from_regex(std::string_view regex) {
  if (regex == kGpt2) return PreTokenizer::gpt2;
  if (regex == kQwen) return PreTokenizer::qwen;
  if (regex == kLlama3) return PreTokenizer::llama3;
  return std::nullopt;
}

std::string_view regex_of(PreTokenizer pre_tokenizer) {
  switch (pre_tokenizer) {
    case PreTokenizer::gpt2:
      return kGpt2;
    case PreTokenizer::qwen:
      return kQwen;
    case PreTokenizer::llama3:
      return kLlama3;
  }
  return "";
}

const char* detail::end_of_piece(PreTokenizer kind, const Scanner& scan, const char* p) {
  switch (kind) {
    case PreTokenizer::gpt2:
      return next_piece_of_gpt2(scan, p);
    case PreTokenizer::qwen:
      return next_piece_of_qwen(scan, p, 1);
    case PreTokenizer::llama3:
      return next_piece_of_qwen(scan, p, 3);
  }
  return scan.end();
}

}  // namespace espalier::tokenizer
