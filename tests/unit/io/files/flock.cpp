#include "flock.hpp"

#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace {
std::atomic<int> error_number{0};
std::atomic<int> num_refused{0};
}  // namespace

// The program's own definition comes before the C library's.
extern "C" int flock(int file, int operation) noexcept {
  if (error_number != 0) {
    ++num_refused;
    errno = error_number;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_flock, file, operation));
}

namespace espalier::testing {

NoLocks::NoLocks(int number) {
  error_number = number;
}
NoLocks::~NoLocks() {
  error_number = 0;
}
int num_refused_locks() {
  return num_refused;
}

}  // namespace espalier::testing
