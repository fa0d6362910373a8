#include "io/foreign_tokens.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.hpp"

namespace espalier::io {
namespace {

namespace fs = std::filesystem;

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

fs::path with_extension(fs::path path, const char* extension) {
  return path.replace_extension(extension);
}

/// Of a .bin or an .idx that is there.
ForeignTokens tokens_at(const fs::path& path) {
  const fs::path data = with_extension(path, ".bin"), index = with_extension(path, ".idx");
  if (path.extension() == ".idx") {
    require(is_file(data), ExitStatus::bad_data,
            "{}: this is the index of a Megatron dataset, whose tokens are in {}, which is not "
            "there",
            path.string(), data.filename().string());
    return {ForeignTokens::Format::megatron, data, index};
  }
  if (path.extension() == ".bin" && is_file(index))
    return {ForeignTokens::Format::megatron, data, index};
  return {ForeignTokens::Format::llmc, path, {}};
}

/// What is below `folder`, and each dataset of two files once.
std::vector<fs::path> files_of(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  const auto options = fs::directory_options::follow_directory_symlink;
  fs::recursive_directory_iterator entries(folder, options, error);
  for (; !error && entries != fs::recursive_directory_iterator(); entries.increment(error)) {
    const fs::path& path = entries->path();
    const bool is_data = path.extension() == ".bin", is_index = path.extension() == ".idx";
    if ((is_data || is_index) && is_file(path) &&
        !(is_index && is_file(with_extension(path, ".bin"))))
      found.push_back(path);
  }
  require(!error, ExitStatus::bad_data, "{}: the folder cannot be read: {}", folder.string(),
          error.message());
  require(!found.empty(), ExitStatus::bad_data,
          "{}: the folder holds no token files (.bin, for Megatron with .idx), nor does a folder "
          "in it",
          folder.string());
  std::sort(found.begin(), found.end());
  return found;
}

/// The files that one name means.
std::vector<fs::path> files_named(const std::string& name) {
  std::error_code ignored;
  if (fs::is_directory(name, ignored)) return files_of(name);
  if (is_file(name)) return {name};
  if (is_file(name + ".idx")) return {name + ".idx"};
  fail(ExitStatus::bad_data,
       "{}: there is no such file or folder, nor Megatron's {}.idx of that prefix", name, name);
}

}  // namespace

std::vector<ForeignTokens> list_foreign_tokens(std::span<const std::string> names) {
  std::vector<ForeignTokens> files;
  std::map<fs::path, std::set<fs::path>> seen;  // by .bin: the names that meant it
  for (const std::string& name : names) {
    for (const fs::path& path : files_named(name)) {
      const ForeignTokens file = tokens_at(path);
      std::error_code error;
      const fs::path data = fs::weakly_canonical(file.data, error);
      auto& already = seen[error ? file.data : data];
      if (already.empty()) files.push_back(file);
      // A shell's * gives .bin and .idx, which are one dataset.
      const bool is_other_half =
          already.size() == 1 && path.extension() != already.begin()->extension();
      require(already.empty() || is_other_half, ExitStatus::bad_data,
              "{}: is named twice, and its tokens would be taken twice. Name it once",
              path.string());
      already.insert(path);
    }
  }
  return files;
}

}  // namespace espalier::io
