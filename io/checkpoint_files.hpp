#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/checkpoint.hpp"

// What a checkpoint is on the file system: names, flushing, the marker, pruning. No HDF5.
//
// Folders under the checkpoint directory, and what a kill may leave behind:
//   step-00001234           with COMPLETE: a checkpoint. Without: a commit or a pruning was cut off
//   step-00001234.partial   being written
//   step-00001234.replaced  the former checkpoint of this step, moved aside while a new one takes
//                           its name; it counts as the checkpoint until the new marker is there

namespace espalier::io {

inline constexpr std::string_view kMarkerName = "COMPLETE";
inline constexpr std::string_view kTemporaryMarkerName = "COMPLETE.tmp";
inline constexpr std::string_view kMasterName = "master.h5";
inline constexpr std::string_view kSharedName = "tensors.h5";

std::string step_folder_name(std::int64_t step);  ///< "step-00001234"
std::string rank_file_name(int rank);             ///< "rank-00007.h5"
std::filesystem::path partial_folder(const std::filesystem::path& directory, std::int64_t step);

/// Throws Error (io_error): "cannot <action> <path>: <text of error_number>".
[[noreturn]] void fail_io(std::string_view action, const std::filesystem::path& path,
                          int error_number);

/// Owning POSIX file descriptor; move-only. `path` is kept for messages.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  /// Throws Error (io_error) when the file cannot be opened.
  FileDescriptor(const std::filesystem::path& path, int flags);
  FileDescriptor(FileDescriptor&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(path_, other.path_);
    return *this;
  }
  ~FileDescriptor();
  int get() const { return fd_; }
  const std::filesystem::path& path() const { return path_; }

  /// All bytes at `offset`; throws Error (io_error).
  void write_at(const void* data, std::uint64_t bytes, std::uint64_t offset);
  /// All bytes at `offset`; throws Error (io_error), also when the file ends before.
  void read_at(void* data, std::uint64_t bytes, std::uint64_t offset) const;
  /// Data and metadata reach the disk. Throws Error (io_error): a write error that the kernel met
  /// after write() returned (full quota, network file system) is reported here.
  void flush();
  std::uint64_t size() const;
  void resize(std::uint64_t bytes);

 private:
  int fd_ = -1;
  std::filesystem::path path_;
};

/// Throws Error (io_error) when the process may not write so large a file (ulimit -f).
void require_file_size(std::uint64_t bytes, const std::filesystem::path& path);

void flush_folder(const std::filesystem::path& folder);  ///< names in it reach the disk
/// Renames within one file system; throws Error (io_error).
void rename_path(const std::filesystem::path& from, const std::filesystem::path& to);
/// Creates the folder and its parents; throws Error (io_error).
void create_folder(const std::filesystem::path& folder);

/// Writes the files into a checkpoint's folder, down to the disk; throws Error (io_error).
void write_kept_files(const std::filesystem::path& folder, std::span<const KeptFile> files);
/// Removes them and the folders that they lie in. Never throws.
void remove_kept_files(const std::filesystem::path& folder, std::span<const KeptFile> files);

struct CheckpointFolder {
  std::filesystem::path path;
  std::int64_t step = 0;
  enum class Kind { named, partial, replaced } kind = Kind::named;
  bool has_marker = false;
};
/// All folders of the naming scheme, by step. An absent directory has none.
std::vector<CheckpointFolder> list_folders(const std::filesystem::path& directory);
/// Those that are checkpoints (at most one per step), by step.
std::vector<CheckpointFolder> list_complete(const std::filesystem::path& directory);

/// Removes what crashed saves left: never anything that list_complete names.
void remove_stale(const std::filesystem::path& directory);
/// Gives the partial folder of `step` its name and its marker. At every moment either the former
/// checkpoint of this step (if there was one) or the new one is complete.
void publish(const std::filesystem::path& directory, std::int64_t step, std::string_view marker);
/// What a marker says; saved_at as in CheckpointInfo.
std::string marker_text(const CheckpointInfo& info);
/// CheckpointInfo::saved_at of a complete checkpoint; 0: its marker does not say.
std::int64_t saved_at(const std::filesystem::path& folder);
/// Removes the checkpoints up to `step` that `keep` does not hold, marker first. Returns warnings:
/// later ones (of a run that was set back by hand) are left alone, and one that cannot be removed
/// does not keep the others. Throws Error (io_error) when the directory cannot be listed.
std::vector<std::string> prune(const std::filesystem::path& directory, std::int64_t step,
                               const KeepRules& keep);

}  // namespace espalier::io
