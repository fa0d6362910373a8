#include "check/file_system.hpp"

#include <sys/statfs.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/text.hpp"
#include "io/checkpoint_files.hpp"

namespace espalier::check {
namespace {

/// f_type of statfs(2), from linux/magic.h; those of parallel file systems from their own sources.
constexpr std::array kTypes = std::to_array<std::pair<std::uint64_t, const char*>>({
    {0xEF53, "ext4"},        {0x58465342, "xfs"},      {0x9123683E, "btrfs"},
    {0x2FC12FC1, "zfs"},     {0x01021994, "tmpfs"},    {0x858458F6, "ramfs"},
    {0x794C7630, "overlay"}, {0x6969, "nfs"},          {0xFF534D42, "cifs"},
    {0xFE534D42, "smb2"},    {0x0BD00BD0, "lustre"},   {0x47504653, "gpfs"},
    {0x19830326, "beegfs"},  {0x00C36400, "ceph"},     {0x65735546, "fuse"},
    {0x01021997, "9p"},      {0x6A656A63, "virtiofs"}, {0xF2F52010, "f2fs"},
    {0xAAD7AAEA, "panfs"},   {0x20030528, "orangefs"},
});

std::string human(std::int64_t bytes) {
  return human_bytes(static_cast<double>(bytes));
}

}  // namespace

std::string name_of_file_system(std::uint64_t type) {
  const auto* found = std::find_if(kTypes.begin(), kTypes.end(),
                                   [&](const auto& known) { return known.first == type; });
  return found == kTypes.end() ? fmt::format("of type {:#x}", type) : found->second;
}

FileSystem file_system_of(const std::filesystem::path& folder) {
  struct statfs kind {};
  struct statvfs space {};
  if (::statfs(folder.c_str(), &kind) != 0 || ::statvfs(folder.c_str(), &space) != 0)
    io::fail_io("look at the file system of", folder, errno);
  FileSystem place;
  place.kind = name_of_file_system(static_cast<std::uint32_t>(kind.f_type));
  place.free_bytes = static_cast<std::int64_t>(space.f_bavail * space.f_frsize);
  if (space.f_files > 0) place.free_files = static_cast<std::int64_t>(space.f_favail);
  return place;
}

Finding judge_kind(const FileSystem& place, const std::filesystem::path& folder) {
  const std::string text = fmt::format("{} ({})", place.kind, folder.string());
  if (place.kind == "tmpfs" || place.kind == "ramfs")
    return warning("kind", text + ": in memory, and gone with the node",
                   "set output.directory to a folder of a file system that stays");
  return ok("kind", text);
}

std::vector<Finding> judge_space(const FileSystem& place, const CheckpointNeed& need) {
  const std::int64_t further = std::max<std::int64_t>(need.at_once - need.there, 1);
  const std::int64_t files = need.files * further;
  std::vector<Finding> findings;
  // As doubles: checkpoint.keep may be any number.
  const auto bytes = [&](std::int64_t checkpoints) {
    return static_cast<double>(need.bytes) * static_cast<double>(checkpoints);
  };
  const auto free = static_cast<double>(place.free_bytes);
  const std::string text =
      fmt::format("{} is free, {} further checkpoint{} of {} need{} {}", human(place.free_bytes),
                  further, further == 1 ? "" : "s", human(need.bytes), further == 1 ? "s" : "",
                  human_bytes(bytes(further)));
  const char* remedy =
      "make room, lower checkpoint.keep, or set output.directory to a larger file system";
  // The first, and the next before the first goes; what comes later may be made room for.
  if (free < bytes(std::min<std::int64_t>(further, 2)))
    findings.push_back(problem("free space", ExitStatus::io_error, text, remedy));
  else if (free < bytes(further))
    findings.push_back(warning("free space", text, remedy));
  else if (free < bytes(further + need.for_good))
    findings.push_back(warning(
        "free space",
        fmt::format("{}; with the {} that are kept for good it will be {}", text, need.for_good,
                    human_bytes(bytes(further + need.for_good))),
        "make room before the end of the run, or keep fewer for good (checkpoint.keep_every)"));
  else
    findings.push_back(ok("free space", text));
  if (place.free_files < 0)
    findings.push_back(ok("inodes", "not counted by this file system"));
  else if (place.free_files < files)
    findings.push_back(
        problem("inodes", ExitStatus::io_error,
                fmt::format("{} are free, {} are needed", with_commas(place.free_files),
                            with_commas(files)),
                "remove small files, or checkpoint.layout = \"shared\" (one file per checkpoint)"));
  else
    findings.push_back(
        ok("inodes", fmt::format("{} are free, {} are needed", with_commas(place.free_files),
                                 with_commas(files))));
  return findings;
}

}  // namespace espalier::check
