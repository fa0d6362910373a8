#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace espalier::io {

/// A token file of another program, or the two of Megatron.
struct ForeignTokens {
  enum class Format : std::uint8_t { megatron, llmc };
  Format format = Format::megatron;
  std::filesystem::path data;   ///< the .bin
  std::filesystem::path index;  ///< the .idx; empty for llm.c

  /// What messages call it.
  const std::filesystem::path& name() const { return index.empty() ? data : index; }
};

/// The files that `names` mean, in this order: a .bin or an .idx, both of which mean Megatron's two
/// where they lie beside each other; the prefix of these, as Megatron writes it; or a folder, for
/// all such files below it, sorted by path. Two that are named by both of their names are read
/// once. Throws Error (bad_data) for what is not there, a lone .idx, a folder without such files
/// and a file that is named twice. It opens none of them.
std::vector<ForeignTokens> list_foreign_tokens(std::span<const std::string> names);

}  // namespace espalier::io
