#include "base/standard_streams.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <csignal>

namespace espalier {

void prepare_standard_streams() {
  for (const int number : std::array{STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(number, F_GETFD) != -1) continue;
    // open() gives the lowest free number. Opened the wrong way round, it cannot be used.
    const int opened = ::open("/dev/null", number == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    if (opened >= 0 && opened != number) ::close(opened);
  }
  std::signal(SIGPIPE, SIG_IGN);
}

}  // namespace espalier
