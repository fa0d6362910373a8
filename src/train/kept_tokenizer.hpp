#pragma once
#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "io/checkpoint.hpp"

namespace espalier::train {

/// The folder of a checkpoint that holds its tokenizer.
inline constexpr const char* kTokenizerFolder = "tokenizer";

/// What lies beside tokenizer.json (or vocab.json) in a Hugging Face folder and belongs to it.
inline constexpr std::array kTokenizerCompanions = {"tokenizer_config.json",
                                                    "special_tokens_map.json",
                                                    "added_tokens.json",
                                                    "vocab.json",
                                                    "merges.txt",
                                                    "vocab.bpe",
                                                    "chat_template.jinja",
                                                    "chat_template.json"};

/// A tokenizer as a checkpoint keeps it: CheckpointInfo::tokenizer_file, and the files.
struct KeptTokenizer {
  std::string file;
  std::vector<io::KeptFile> files;
};

/// Reads the tokenizer's file and its companions, byte by byte as they are; an empty path gives
/// nothing. Throws Error (io_error).
KeptTokenizer tokenizer_to_keep(const std::filesystem::path& file);

/// The tokenizer that a checkpoint keeps; empty: none.
std::string kept_tokenizer(const std::filesystem::path& folder, const io::CheckpointInfo& info);

}  // namespace espalier::train
