#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

#include "check/finding.hpp"

namespace espalier::check {

/// The file system that a folder lies on.
struct FileSystem {
  std::string kind;              ///< "nfs", "lustre", "ext4"; its number where that is not known
  std::int64_t free_bytes = 0;   ///< for who is not root
  std::int64_t free_files = -1;  ///< inodes; -1: it does not count them
};
/// Throws Error (io_error).
FileSystem file_system_of(const std::filesystem::path& folder);
/// By f_type of statfs: "nfs".
std::string name_of_file_system(std::uint64_t type);

/// What the checkpoints of a run will take.
struct CheckpointNeed {
  std::int64_t bytes = 0;     ///< of one
  std::int64_t files = 0;     ///< of one
  std::int64_t at_once = 0;   ///< checkpoint.keep, and the one that is being written
  std::int64_t there = 0;     ///< that are there already and will go
  std::int64_t for_good = 0;  ///< further ones by the end of the run (keep_every)
};
/// Whether they fit: a finding for bytes and one for files.
std::vector<Finding> judge_space(const FileSystem& place, const CheckpointNeed& need);
Finding judge_kind(const FileSystem& place, const std::filesystem::path& folder);

}  // namespace espalier::check
