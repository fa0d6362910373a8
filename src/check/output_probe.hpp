#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "check/finding.hpp"
#include "parallel/comm/session.hpp"

namespace espalier::check {

/// A folder of this process's own in `parent`, which goes with all that is in it.
class ProbeFolder {
 public:
  /// Throws Error (io_error) when it cannot be made.
  explicit ProbeFolder(const std::filesystem::path& parent);
  ~ProbeFolder();
  ProbeFolder(const ProbeFolder&) = delete;
  ProbeFolder& operator=(const ProbeFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// The folder itself, or the nearest one above it that is there.
std::filesystem::path nearest_folder(const std::filesystem::path& folder);

/// Writes, flushes and renames a file of 4 MiB in the folder: a finding with the times, or with the
/// call that failed.
Finding try_writing(const std::filesystem::path& folder);

/// Whether a file that rank 0 writes in `folder` is seen by the other hosts, and how late: first a
/// new one that they have looked for before, then one that takes its place. One rank of each host
/// looks, and the last rank. `folder` is rank 0's. Collective.
std::vector<Finding> try_visibility(parallel::MpiSession& session,
                                    const std::vector<std::string>& hosts,
                                    const std::filesystem::path& folder, double patience_s = 20.0);

}  // namespace espalier::check
