#include "io/lock_probe.hpp"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <chrono>
#include <system_error>
#include <thread>

#include "base/whole_file.hpp"
#include "io/checkpoint_files.hpp"
#include "io/hdf5.hpp"
#include "io/lock_lease.hpp"

namespace espalier::io {
namespace {

namespace fs = std::filesystem;

/// A file that goes with this.
struct Removed {
  fs::path path;
  ~Removed() {
    std::error_code ignored;
    fs::remove(path, ignored);
  }
};

int try_lock(const FileDescriptor& file) {
  while (::flock(file.get(), LOCK_EX | LOCK_NB) != 0)
    if (errno != EINTR) return errno;
  return 0;
}

/// Where there are no locks, a holder renews its record.
LockState watch_record(const fs::path& path, double watch_s) {
  constexpr double kBetweenLooks = 0.5;
  const auto holder = holder_in(path);
  if (!holder || holder->is_dead()) return {};
  if (holder->is_on_this_machine()) return {LockState::Kind::held, holder};
  const auto first = read_whole_file(path);
  for (double waited = 0.0; waited < watch_s; waited += kBetweenLooks) {
    std::this_thread::sleep_for(std::chrono::duration<double>(kBetweenLooks));
    if (read_whole_file(path) != first) return {LockState::Kind::held, holder};
  }
  return {LockState::Kind::unknown, holder};
}

}  // namespace

bool means_no_locks(int error) {
  return error == ENOLCK || error == ENOSYS || error == EOPNOTSUPP || error == ENOTSUP ||
         error == EINVAL;
}

bool has_locks(const fs::path& folder) {
  const Removed file{folder / "lock"};
  const FileDescriptor open(file.path, O_RDWR | O_CREAT);
  const int error = try_lock(open);
  if (error != 0 && !means_no_locks(error)) fail_io("lock", file.path, error);
  return error == 0;
}

LockState look_at_lock(const fs::path& path, double watch_s) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return {};
  const FileDescriptor file(path, O_RDWR);
  const int error = try_lock(file);
  if (error == 0) return {};  // closing the file gives the lock back
  if (error == EWOULDBLOCK) return {LockState::Kind::held, holder_in(path)};
  if (means_no_locks(error)) return watch_record(path, watch_s);
  fail_io("lock", path, error);
}

void try_hdf5(const fs::path& folder) {
  const Removed file{folder / "probe.h5"};
  constexpr std::uint64_t kValue = 42;
  const auto lock = hdf5_lock();
  {
    Hdf5Output output(file.path);
    write_attribute(output.get(), file.path, "probe", kValue);
    output.close();
  }
  const Hdf5File input = hdf5_open_to_read(file.path);
  require(read_u64_attribute(input.get(), file.path, "probe") == kValue, ExitStatus::io_error,
          "{}: HDF5 reads something else than was written", file.path.string());
}

}  // namespace espalier::io
