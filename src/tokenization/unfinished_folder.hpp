#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "io/file_lock.hpp"

namespace espalier::tokenization {

/// A token shard by its name, or what its writer leaves when it is killed.
bool is_shard(const std::filesystem::path& path);

/// What is in a folder, sorted; empty: nothing, or there is no folder.
std::vector<std::filesystem::directory_entry> entries_of(const std::filesystem::path& folder);

/// Where the shards of `output` lie until all are there: <output>.unfinished, links followed.
std::filesystem::path unfinished_folder(const std::filesystem::path& output);

/// The folder <output>.unfinished, on one rank. It takes the output's name when everything is in
/// it: a training never takes a half data set for a whole one.
class UnfinishedFolder {
 public:
  using IsOurs = bool (*)(const std::filesystem::directory_entry& entry);

  /// Takes a lock beside the folder before it looks at anything, and makes the folder. `key`: what
  /// names the output, for messages; `is_ours`: whether the job puts such a thing into the folder.
  /// Throws Error (io_error) when another job has the lock or the folder cannot be made, Error
  /// (bad_configuration) when the output holds anything, or the folder anything that is not ours.
  UnfinishedFolder(const std::filesystem::path& output, const std::string& key, IsOurs is_ours);
  ~UnfinishedFolder();  ///< without publish() and if it is not kept: removes all that is ours
  UnfinishedFolder(const UnfinishedFolder&) = delete;
  UnfinishedFolder& operator=(const UnfinishedFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// Whether the destructor leaves what is there, for a job that goes on; at first it does.
  void set_kept(bool kept) { kept_ = kept; }
  void clear();  ///< removes what is ours, and leaves the folder
  /// Throws Error (io_error) when another job has taken the lock.
  void require_held() const { lock_.require_held(); }
  /// Gives the folder the output's name, and returns the place. Throws Error (io_error).
  std::filesystem::path publish();

 private:
  std::filesystem::path output_, path_;
  IsOurs is_ours_;
  io::FileLock lock_;
  bool kept_ = true;
};

}  // namespace espalier::tokenization
