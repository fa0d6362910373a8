#include "io/run_lock.hpp"

#include <system_error>

namespace espalier::io {

namespace fs = std::filesystem;

RunLock::RunLock(const fs::path& directory, LockPatience patience) : directory_(directory) {
  std::error_code ignored;
  made_directory_ = !fs::exists(directory, ignored);
  const LockPurpose purpose{.busy = "another job is running in " + directory.string(),
                            .remedy = "set output.directory to another folder"};
  lock_.emplace(directory / ".lock", purpose, std::move(patience));
}

RunLock::~RunLock() {
  lock_.reset();
  std::error_code ignored;
  if (made_directory_) fs::remove(directory_, ignored);  // only when it is empty
}

}  // namespace espalier::io
