#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "io/file_lock.hpp"
#include "parallel/comm/session.hpp"

namespace espalier::commands {

/// Where the path leads, through links and without the slash that a shell adds to a folder.
std::filesystem::path real_place(const std::filesystem::path& path);

/// The folder that a conversion writes: it has the target's name when it is whole, and is gone when
/// the conversion fails. A conversion that was killed leaves it for the next one to remove.
class ConvertTarget {
 public:
  explicit ConvertTarget(const std::filesystem::path& target);
  const std::filesystem::path& partial() const { return partial_; }
  std::string name() const { return target_.string(); }

  /// Throws Error (bad_configuration) when something is there that a conversion has not made.
  void require_free() const;
  /// Rank 0 makes the folder and what `fill` puts into it, then all ranks may write. From here to
  /// publish() or the end no other job writes this target: Error (io_error) for the second.
  /// Collective.
  void create(parallel::MpiSession& session, const std::function<void()>& fill);
  /// Gives the folder its name. Throws Error (io_error).
  void publish();
  /// Removes what was written; does something on rank 0 alone, while no other job has the target.
  void discard() const;

 private:
  std::filesystem::path target_, partial_;
  std::unique_ptr<io::FileLock> lock_;  ///< rank 0
};

}  // namespace espalier::commands
