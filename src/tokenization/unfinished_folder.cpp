#include "tokenization/unfinished_folder.hpp"

#include <algorithm>
#include <system_error>

#include "base/error.hpp"
#include "io/corpus_counts.hpp"

namespace espalier::tokenization {

namespace fs = std::filesystem;

namespace {

/// Where the output will lie: links followed, so that the folder can be renamed to it.
fs::path final_place(const fs::path& output) {
  std::error_code error;
  fs::path place = fs::weakly_canonical(output, error);
  if (error) place = fs::absolute(output);
  return place.has_filename() ? place : place.parent_path();
}

}  // namespace

bool is_shard(const fs::path& path) {
  const std::string name = path.filename().string();
  return (name.ends_with(".h5") || name.ends_with(".h5.partial") ||
          name.ends_with(".h5.tokens.partial")) &&
         std::any_of(std::begin(io::kSplitNames), std::end(io::kSplitNames),
                     [&](const std::string& split) { return name.starts_with(split + "-"); });
}

std::vector<fs::directory_entry> entries_of(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::directory_entry> entries;
  for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator();
       entry.increment(error))
    entries.push_back(*entry);
  std::sort(entries.begin(), entries.end());
  return entries;
}

fs::path unfinished_folder(const fs::path& output) {
  fs::path folder = final_place(output);
  folder += ".unfinished";
  return folder;
}

UnfinishedFolder::UnfinishedFolder(const fs::path& output, const std::string& key, IsOurs is_ours)
    : output_(output),
      path_(unfinished_folder(output)),
      is_ours_(is_ours),
      lock_(path_.string() + ".lock",
            {.busy = fmt::format("{} is being written by another job", output.string()),
             .remedy = fmt::format("choose another {}", key)}) {
  std::error_code error;
  require(!fs::exists(output_, error) || fs::is_directory(output_, error),
          ExitStatus::bad_configuration, "{}: this is a file, and {} is a folder: choose another",
          output_.string(), key);
  const auto present = entries_of(output_);
  require(present.empty(), ExitStatus::bad_configuration,
          "{}: the folder must be new or empty, and holds files ({}, ...), which are not "
          "overwritten. Remove them, or choose another {}",
          output_.string(), present.empty() ? "" : present.front().path().filename().string(), key);
  for (const auto& entry : entries_of(path_))
    require(is_ours_(entry), ExitStatus::bad_configuration,
            "{}: the folder is needed for unfinished shards, but {} is none. Move it, or choose "
            "another {}",
            path_.string(), entry.path().filename().string(), key);
  fs::create_directories(path_, error);
  require(!error, ExitStatus::io_error, "{}: the folder cannot be made: {}", path_.string(),
          error.message());
}

UnfinishedFolder::~UnfinishedFolder() {
  if (kept_ || !lock_.is_held()) return;
  clear();
  std::error_code ignored;
  fs::remove(path_, ignored);  // only when nothing else is in it
}

void UnfinishedFolder::clear() {
  std::error_code ignored;
  for (const auto& entry : entries_of(path_))
    if (is_ours_(entry)) fs::remove_all(entry.path(), ignored);
}

// One rename: a reader, or a person after a crash, sees all shards or none.
fs::path UnfinishedFolder::publish() {
  lock_.require_held();
  kept_ = true;
  fs::path place = final_place(output_);
  std::error_code error;
  fs::rename(path_, place, error);  // over an empty folder, too
  require(!error, ExitStatus::io_error,
          "{}: the finished shards cannot be renamed to {}: {}. Nothing is lost: rename the folder "
          "yourself",
          path_.string(), output_.string(), error.message());
  return place;
}

}  // namespace espalier::tokenization
