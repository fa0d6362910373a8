#include "report/chart.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "base/error.hpp"

namespace espalier::report {
namespace {

/// Zero, or errno.
int write_all(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return 0;
}

}  // namespace

void write_svg(const std::string& path, const std::string& svg) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  require(file >= 0 || errno != EEXIST, ExitStatus::bad_configuration,
          "{} exists, and a chart overwrites nothing: remove it or choose another name", path);
  require(file >= 0, ExitStatus::io_error,
          "cannot make the chart {}: {}; choose a name in a folder that is there and can be "
          "written",
          path, std::strerror(errno));
  int error = write_all(file, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
  if (error == 0) error = write_all(file, svg);
  // Some file systems tell only now that a disk is full.
  if (::close(file) != 0 && error == 0) error = errno;
  if (error != 0) {
    ::unlink(path.c_str());  // nothing of a half
    fail(ExitStatus::io_error, "cannot write the chart {}: {}", path, std::strerror(error));
  }
}

}  // namespace espalier::report
