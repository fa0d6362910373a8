#include "io/text_inputs.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.hpp"
#include "io/byte_source.hpp"
#include "io/input_file.hpp"
#include "io/text_source.hpp"

namespace espalier::io {
namespace {

namespace fs = std::filesystem;
using Identity = std::pair<dev_t, ino_t>;  ///< of a file, whatever its names

std::optional<Identity> identity_of(const fs::path& path) {
  struct stat status {};
  const int found =
      path == kStandardInput ? ::fstat(STDIN_FILENO, &status) : ::stat(path.c_str(), &status);
  if (found != 0) return std::nullopt;
  return Identity{status.st_dev, status.st_ino};
}

/// Walks folders and collects what they hold.
class Walk {
 public:
  explicit Walk(std::optional<TextFormat> format) : format_(format) {}

  /// The texts below `folder`, sorted.
  std::vector<fs::path> texts_of(const fs::path& folder) {
    std::vector<fs::path> found;
    entered_.clear();
    enter(folder, found);
    std::sort(found.begin(), found.end());
    return found;
  }
  std::vector<TextInputs::LeftOut> left_out() {
    std::vector<TextInputs::LeftOut> result;
    for (const auto& [why, paths] : left_out_)
      result.push_back({why, {paths.begin(), paths.end()}});
    return result;
  }

 private:
  void enter(const fs::path& folder, std::vector<fs::path>& found) {
    if (const auto identity = identity_of(folder); identity && !entered_.insert(*identity).second)
      return leave_out("folders that were read already, by another name", folder);
    std::error_code error;
    fs::directory_iterator entries(folder, error);
    for (; !error && entries != fs::directory_iterator(); entries.increment(error))
      take(entries->path(), found);
    require(!error, ExitStatus::bad_data, "{}: the folder cannot be read: {}", folder.string(),
            error.message());
  }

  void take(const fs::path& path, std::vector<fs::path>& found) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (path.filename().string().starts_with('.')) return leave_out("hidden", path);
    if (fs::is_directory(status)) return enter(path, found);
    if (!fs::exists(status)) return leave_out("links that lead nowhere", path);
    if (!fs::is_regular_file(status)) return leave_out("pipes, sockets and devices", path);
    if (format_ || kind_of_name(path).in_folders) {
      found.push_back(path);
      return;
    }
    leave_out("names that say neither text (.txt) nor JSON lines (.jsonl) nor Parquet", path);
  }

  void leave_out(const char* why, const fs::path& path) { left_out_[why].insert(path); }

  std::optional<TextFormat> format_;
  std::set<Identity> entered_;
  std::map<std::string, std::set<fs::path>> left_out_;
};

/// Notes what is in the list twice; the same stream twice is an Error.
void find_repetitions(TextInputs& inputs, const std::string& key) {
  std::set<Identity> seen;
  for (const fs::path& file : inputs.files) {
    const bool stream = is_stream(file);
    if (stream) inputs.streams.push_back(file);
    const auto identity = identity_of(file);
    if (!identity || seen.insert(*identity).second) continue;
    require(!stream, ExitStatus::bad_data,
            "{}: is a stream, which can be read once, and {} names it twice", file.string(), key);
    inputs.named_twice.push_back(file);
  }
}

/// All of them at once, as far as a screen holds them.
class UnreadableInputs {
 public:
  void add(const std::string& sentence) {
    if (++count_ <= kMostShown) text_ += (text_.empty() ? "" : "\n  ") + sentence;
  }
  void throw_if_any() const {
    if (count_ == 0) return;
    if (count_ == 1) fail(ExitStatus::bad_data, "{}", text_);
    const std::string more =
        count_ > kMostShown ? fmt::format("\n  and {} more", count_ - kMostShown) : "";
    fail(ExitStatus::bad_data, "{} inputs cannot be read as text:\n  {}{}", count_, text_, more);
  }

 private:
  static constexpr std::size_t kMostShown = 20;
  std::string text_;
  std::size_t count_ = 0;
};

/// Opens every file, but no stream.
void look_into_texts(const TextInputs& inputs, std::optional<TextFormat> format,
                     bool allows_damaged, UnreadableInputs& unreadable) {
  for (const fs::path& file : inputs.files) {
    if (is_stream(file)) continue;
    try {
      const TextSource opened(file, {.format = format});
    } catch (const DamagedFileError& error) {
      if (!allows_damaged) unreadable.add(error.what());
    } catch (const Error& error) {
      if (error.status() != ExitStatus::bad_data) throw;
      unreadable.add(error.what());
    }
  }
}

}  // namespace

TextInputs list_text_inputs(const std::vector<std::string>& names, std::optional<TextFormat> format,
                            const std::string& key, bool allows_damaged) {
  TextInputs inputs;
  UnreadableInputs unreadable;
  Walk walk(format);
  for (const std::string& name : names) {
    std::error_code error;
    if (name == kStandardInput) {
      inputs.files.emplace_back(name);
      continue;
    }
    if (!fs::exists(name, error)) {
      unreadable.add(fmt::format("{}: there is no such file or folder. Correct {}", name, key));
      continue;
    }
    if (!fs::is_directory(name, error)) {
      inputs.files.emplace_back(name);
      continue;
    }
    const auto found = walk.texts_of(name);
    if (found.empty())
      unreadable.add(fmt::format(
          "{}: the folder holds no text, nor does a folder in it (.txt, .jsonl, .ndjson, .json, "
          ".parquet; also .gz, .bz2, .xz, .zst). Correct {}, or name the files themselves",
          name, key));
    inputs.files.insert(inputs.files.end(), found.begin(), found.end());
  }
  inputs.left_out = walk.left_out();
  find_repetitions(inputs, key);
  look_into_texts(inputs, format, allows_damaged, unreadable);
  unreadable.throw_if_any();
  return inputs;
}

}  // namespace espalier::io
