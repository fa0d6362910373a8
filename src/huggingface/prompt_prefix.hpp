#pragma once
#include <filesystem>
#include <string>

namespace espalier::huggingface {

/// What the tokenizer of a Hugging Face folder puts in front of a text, as text: Llama 3's
/// "<|begin_of_text|>"; nothing for Qwen3 and GPT-2. It is what the `TemplateProcessing` of
/// tokenizer.json says. Throws Error (bad_data) when the file is no JSON object; empty when there
/// is no file.
std::string prompt_prefix(const std::filesystem::path& tokenizer_json);

}  // namespace espalier::huggingface
