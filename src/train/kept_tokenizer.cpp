#include "train/kept_tokenizer.hpp"

#include <algorithm>
#include <cerrno>
#include <optional>

#include "base/whole_file.hpp"
#include "io/checkpoint_files.hpp"
#include "tokenizer/definition.hpp"

namespace espalier::train {
namespace {

namespace fs = std::filesystem;

io::KeptFile read(const fs::path& path) {
  std::optional<std::string> bytes = read_whole_file(path);
  if (!bytes) io::fail_io("read", path, errno != 0 ? errno : EIO);
  return {(fs::path(kTokenizerFolder) / path.filename()).string(), std::move(*bytes)};
}

}  // namespace

KeptTokenizer tokenizer_to_keep(const fs::path& file) {
  KeptTokenizer kept;
  if (file.empty()) return kept;
  kept.files.push_back(read(file));
  kept.file = kept.files.front().name;
  // A file of another name lies among files that are not its own, except that a vocabulary cannot
  // be read without its merges.
  const std::string name = file.filename().string();
  const bool is_json = file.extension() == ".json";
  if (!is_json || (name != "tokenizer.json" && tokenizer::read_definition(file).is_tokenizer_json))
    return kept;
  for (const char* companion : kTokenizerCompanions) {
    const fs::path beside = file.parent_path() / companion;
    std::error_code ignored;
    if (companion != name && fs::is_regular_file(beside, ignored))
      kept.files.push_back(read(beside));
  }
  return kept;
}

std::string kept_tokenizer(const fs::path& folder, const io::CheckpointInfo& info) {
  if (info.tokenizer_file.empty()) return {};
  const fs::path file = folder / info.tokenizer_file;
  std::error_code ignored;
  return fs::is_regular_file(file, ignored) ? file.string() : std::string();
}

}  // namespace espalier::train
