// Preloaded into a program, it makes every file system one without locks, as NFS without lockd is.
#include <sys/file.h>

#include <cerrno>

extern "C" int flock(int, int) noexcept {
  errno = ENOLCK;
  return -1;
}
