#include "io/checkpoint_files.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <fstream>
#include <optional>
#include <system_error>

#include "base/error.hpp"
#include "base/text.hpp"
#include "io/checkpoint.hpp"

namespace espalier::io {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPrefix = "step-";
constexpr std::string_view kPartial = ".partial";
constexpr std::string_view kReplaced = ".replaced";

fs::path with_suffix(const fs::path& directory, std::int64_t step, std::string_view suffix) {
  return directory / (step_folder_name(step) + std::string(suffix));
}

bool has_marker(const fs::path& folder) {
  std::error_code ignored;
  return fs::is_regular_file(folder / kMarkerName, ignored);
}

/// The marker goes first and is flushed: a kill half-way leaves no folder that looks whole.
void remove_folder(const fs::path& folder) {
  std::error_code error;
  if (has_marker(folder)) {
    fs::remove(folder / kMarkerName, error);
    if (error) fail_io("remove", folder / kMarkerName, error.value());
    flush_folder(folder);
  }
  fs::remove_all(folder, error);
  if (error) fail_io("remove", folder, error.value());
}

std::optional<CheckpointFolder> parse_name(std::string_view name) {
  CheckpointFolder folder;
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  if (name.ends_with(kPartial)) {
    folder.kind = CheckpointFolder::Kind::partial;
    name.remove_suffix(kPartial.size());
  } else if (name.ends_with(kReplaced)) {
    folder.kind = CheckpointFolder::Kind::replaced;
    name.remove_suffix(kReplaced.size());
  }
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), folder.step);
  if (error != std::errc{} || end != name.data() + name.size()) return std::nullopt;
  // Only names this program gives: a folder that a person made beside them is not ours to touch.
  if (folder.step < 0 || step_folder_name(folder.step).substr(kPrefix.size()) != name) {
    return std::nullopt;
  }
  return folder;
}

}  // namespace

std::string step_folder_name(std::int64_t step) {
  return fmt::format("{}{:08d}", kPrefix, step);
}

std::string rank_file_name(int rank) {
  return fmt::format("rank-{:05d}.h5", rank);
}

fs::path partial_folder(const fs::path& directory, std::int64_t step) {
  return with_suffix(directory, step, kPartial);
}

void fail_io(std::string_view action, const fs::path& path, int error_number) {
  fail(ExitStatus::io_error, "cannot {} {}: {}", action, path.string(),
       std::generic_category().message(error_number));
}

FileDescriptor::FileDescriptor(const fs::path& path, int flags) : path_(path) {
  do {
    fd_ = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  } while (fd_ < 0 && errno == EINTR);
  if (fd_ < 0) fail_io("open", path, errno);
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

void FileDescriptor::write_at(const void* data, std::uint64_t bytes, std::uint64_t offset) {
  const auto* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::pwrite(fd_, from, bytes, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail_io("write", path_, written == 0 ? EIO : errno);
    from += written;
    bytes -= static_cast<std::uint64_t>(written);
    offset += static_cast<std::uint64_t>(written);
  }
}

void FileDescriptor::read_at(void* data, std::uint64_t bytes, std::uint64_t offset) const {
  auto* to = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t got = ::pread(fd_, to, bytes, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_io("read", path_, errno);
    require(got > 0, ExitStatus::bad_data, "{} ends before byte {}: it was truncated",
            path_.string(), offset + bytes);
    to += got;
    bytes -= static_cast<std::uint64_t>(got);
    offset += static_cast<std::uint64_t>(got);
  }
}

void FileDescriptor::flush() {
  int status;
  do {
    status = ::fsync(fd_);
  } while (status != 0 && errno == EINTR);
  // Special files and some network file systems cannot flush; that is not a failed write.
  if (status != 0 && errno != EINVAL && errno != ENOTSUP) fail_io("flush", path_, errno);
}

std::uint64_t FileDescriptor::size() const {
  struct stat status {};
  if (::fstat(fd_, &status) != 0) fail_io("look at", path_, errno);
  return static_cast<std::uint64_t>(status.st_size);
}

void FileDescriptor::resize(std::uint64_t bytes) {
  if (::ftruncate(fd_, static_cast<off_t>(bytes)) != 0) fail_io("set the size of", path_, errno);
}

void require_file_size(std::uint64_t bytes, const fs::path& path) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
  if (bytes > limit.rlim_cur) {
    fail_io(fmt::format("write {} under this job's limit of the file size ({}) to",
                        human_bytes(static_cast<double>(bytes)),
                        human_bytes(static_cast<double>(limit.rlim_cur))),
            path, EFBIG);
  }
}

void flush_folder(const fs::path& folder) {
  FileDescriptor(folder, O_RDONLY | O_DIRECTORY).flush();
}

void rename_path(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) fail_io(fmt::format("rename {} to", from.string()), to, error.value());
}

void create_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail_io("create the folder", folder, error.value());
  if (!fs::is_directory(folder, error)) fail_io("create the folder", folder, ENOTDIR);
}

void write_kept_files(const fs::path& folder, std::span<const KeptFile> files) {
  for (const KeptFile& kept : files) {
    const fs::path path = folder / kept.name;
    create_folder(path.parent_path());
    FileDescriptor file(path, O_WRONLY | O_CREAT | O_TRUNC);
    file.write_at(kept.bytes.data(), kept.bytes.size(), 0);
    file.flush();
    flush_folder(path.parent_path());
  }
}

void remove_kept_files(const fs::path& folder, std::span<const KeptFile> files) {
  std::error_code ignored;
  for (const KeptFile& kept : files) {
    const fs::path path = folder / kept.name;
    fs::remove(path, ignored);
    if (path.parent_path() != folder) fs::remove(path.parent_path(), ignored);  // when it is empty
  }
}

std::vector<CheckpointFolder> list_folders(const fs::path& directory) {
  std::vector<CheckpointFolder> folders;
  std::error_code error;
  fs::directory_iterator entries(directory, error);
  if (error == std::errc::no_such_file_or_directory) return folders;
  if (error) fail_io("list", directory, error.value());
  for (; entries != fs::directory_iterator(); entries.increment(error)) {
    auto folder = parse_name(entries->path().filename().string());
    if (!folder) continue;
    folder->path = entries->path();
    std::error_code ignored;
    if (!fs::is_directory(folder->path, ignored)) continue;
    folder->has_marker = has_marker(folder->path);
    folders.push_back(*std::move(folder));
  }
  if (error) fail_io("list", directory, error.value());
  std::sort(folders.begin(), folders.end(),
            [](const CheckpointFolder& a, const CheckpointFolder& b) {
              return a.step != b.step ? a.step < b.step : a.kind < b.kind;
            });
  return folders;
}

std::vector<CheckpointFolder> list_complete(const fs::path& directory) {
  std::vector<CheckpointFolder> complete;
  for (CheckpointFolder& folder : list_folders(directory)) {
    if (!folder.has_marker || folder.kind == CheckpointFolder::Kind::partial) continue;
    // `named` sorts before `replaced`: the one moved aside counts only while the other does not.
    if (!complete.empty() && complete.back().step == folder.step) continue;
    complete.push_back(std::move(folder));
  }
  return complete;
}

std::optional<fs::path> newest_checkpoint(const fs::path& directory) {
  const auto complete = list_complete(directory);
  if (complete.empty()) return std::nullopt;
  return complete.back().path;
}

std::optional<fs::path> checkpoint_at(const fs::path& path) {
  std::error_code ignored;
  if (has_marker(path) || fs::exists(path / kMasterName, ignored) ||
      fs::exists(path / kSharedName, ignored))
    return path;
  if (auto newest = newest_checkpoint(path)) return newest;
  return newest_checkpoint(path / "checkpoints");
}

void remove_stale(const fs::path& directory) {
  const auto complete = list_complete(directory);
  for (const CheckpointFolder& folder : list_folders(directory)) {
    const bool counts =
        std::any_of(complete.begin(), complete.end(),
                    [&](const CheckpointFolder& other) { return other.path == folder.path; });
    if (!counts) remove_folder(folder.path);
  }
}

void publish(const fs::path& directory, std::int64_t step, std::string_view marker) {
  const fs::path partial = partial_folder(directory, step);
  const fs::path named = with_suffix(directory, step, "");
  const fs::path replaced = with_suffix(directory, step, kReplaced);
  // Everything that needs space is done before the first name changes.
  {
    FileDescriptor file(partial / kTemporaryMarkerName, O_WRONLY | O_CREAT | O_TRUNC);
    file.write_at(marker.data(), marker.size(), 0);
    file.flush();
  }
  flush_folder(partial);

  std::error_code ignored;
  if (fs::exists(named, ignored)) {
    if (has_marker(named)) {
      if (fs::exists(replaced, ignored)) remove_folder(replaced);
      rename_path(named, replaced);
    } else {
      remove_folder(named);
    }
  }
  rename_path(partial, named);
  flush_folder(directory);

  rename_path(named / kTemporaryMarkerName, named / kMarkerName);
  flush_folder(named);
  flush_folder(directory);
  if (fs::exists(replaced, ignored)) remove_folder(replaced);
}

std::string marker_text(const CheckpointInfo& info) {
  std::string text = fmt::format("step {}\nranks {}\n", info.step, info.num_ranks);
  if (info.saved_at > 0) text += fmt::format("saved_at {}\n", info.saved_at);
  return text;
}

std::int64_t saved_at(const fs::path& folder) {
  std::ifstream marker(folder / kMarkerName);
  for (std::string line; std::getline(marker, line);) {
    constexpr std::string_view name = "saved_at ";
    if (!line.starts_with(name)) continue;
    std::int64_t value = 0;
    const auto [end, error] =
        std::from_chars(line.data() + name.size(), line.data() + line.size(), value);
    if (error == std::errc{} && end == line.data() + line.size()) return value;
  }
  return 0;
}

namespace {

/// Which of the checkpoints, by step, are the first of their span of hours. Spans are counted, not
/// measured from one to the next, so that what is removed in between changes nothing; one of an
/// earlier span than its predecessor was saved by a clock that was set back, and counts, too.
std::vector<bool> first_of_hours(std::span<const CheckpointFolder> complete, double hours) {
  std::vector<bool> first(complete.size(), false);
  if (hours <= 0.0) return first;
  std::optional<double> last;
  for (std::size_t i = 0; i < complete.size(); ++i) {
    const std::int64_t time = saved_at(complete[i].path);
    if (time <= 0) continue;
    const double span = std::floor(static_cast<double>(time) / (hours * 3600.0));
    first[i] = span != last;
    last = span;
  }
  return first;
}

}  // namespace

std::vector<std::string> prune(const fs::path& directory, std::int64_t step,
                               const KeepRules& keep) {
  std::vector<std::string> warnings;
  std::vector<CheckpointFolder> complete = list_complete(directory);
  while (!complete.empty() && complete.back().step > step) {
    warnings.push_back(fmt::format(
        "{} is later than the checkpoint just written (step {}): a restart would continue from it. "
        "Remove it if it is of an abandoned course.",
        complete.back().path.string(), step));
    complete.pop_back();
  }
  const std::vector<bool> first = first_of_hours(complete, keep.hours);
  const std::int64_t older = std::ssize(complete) - std::max<std::int64_t>(keep.newest, 1);
  for (std::int64_t i = 0; i < older; ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (first[at] || (keep.every > 0 && complete[at].step % keep.every == 0)) continue;
    try {
      remove_folder(complete[at].path);
    } catch (const Error& error) {
      warnings.push_back(fmt::format("an older checkpoint stays: {}", error.what()));
    }
  }
  return warnings;
}

}  // namespace espalier::io
