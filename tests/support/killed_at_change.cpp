// Preloaded into a program, it kills it as `kill -9` does, at its n-th change of files: a kill at
// every moment that can leave other files behind, on any machine and under any load.
//   ESPALIER_KILL_UNDER   what the absolute path, without links, of those files begins with
//   ESPALIER_KILL_AT      n, from 1; with fewer changes the program ends as ever
//   ESPALIER_KILL_WITH    another signal's number: with SIGSTOP's the program waits there until it
//                         is continued, and then makes the change
// A change is a call that resizes, renames, makes or removes; it is not done. Every 16th write
// counts, too, beginning with the first, and is done by half. Flushes change nothing that a killed
// program leaves. Other threads of the program are wherever they happen to be.
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

constexpr long kWritesPerChange = 16;

std::atomic<long> num_changes{0}, num_writes{0};

/// Null outside the test.
const char* watched() {
  static const char* const prefix = std::getenv("ESPALIER_KILL_UNDER");
  return prefix;
}

bool is_watched(const std::string& path) {
  return watched() != nullptr && path.starts_with(watched());
}

std::string path_of(int fd) {
  char path[4096];
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t length = ::readlink(link.c_str(), path, sizeof path);
  return length > 0 ? std::string(path, static_cast<std::size_t>(length)) : std::string();
}

bool is_last() {
  static const char* const at = std::getenv("ESPALIER_KILL_AT");
  return at != nullptr && ++num_changes == std::atol(at);
}

void send_signal() {
  static const char* const with = std::getenv("ESPALIER_KILL_WITH");
  const int signal = with != nullptr ? std::atoi(with) : SIGKILL;
  ::kill(::getpid(), signal);
  while (signal == SIGKILL) ::pause();
}

void before_change(const std::string& path) {
  if (is_watched(path) && is_last()) send_signal();
}

/// Whether this write is to be the program's last.
bool is_last_write(int fd) {
  return watched() != nullptr && is_watched(path_of(fd)) && num_writes++ % kWritesPerChange == 0 &&
         is_last();
}

/// The function of this name that would be called without this file.
template <class Function>
Function* next(Function*, const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

#define ESPALIER_NEXT(function) \
  static const auto call = next(static_cast<decltype(function)*>(nullptr), #function)

extern "C" {

ssize_t write(int fd, const void* data, size_t bytes) {
  ESPALIER_NEXT(write);
  if (!is_last_write(fd)) return call(fd, data, bytes);
  const ssize_t half = call(fd, data, bytes / 2);
  send_signal();
  return half;
}

ssize_t pwrite(int fd, const void* data, size_t bytes, off_t offset) {
  ESPALIER_NEXT(pwrite);
  if (!is_last_write(fd)) return call(fd, data, bytes, offset);
  const ssize_t half = call(fd, data, bytes / 2, offset);
  send_signal();
  return half;
}

ssize_t pwrite64(int fd, const void* data, size_t bytes, off64_t offset) {
  return pwrite(fd, data, bytes, offset);
}

int ftruncate(int fd, off_t bytes) noexcept {
  ESPALIER_NEXT(ftruncate);
  if (watched() != nullptr) before_change(path_of(fd));
  return call(fd, bytes);
}

int ftruncate64(int fd, off64_t bytes) noexcept {
  return ftruncate(fd, bytes);
}

int rename(const char* from, const char* to) noexcept {
  ESPALIER_NEXT(rename);
  before_change(to);
  return call(from, to);
}

int mkdir(const char* path, mode_t mode) noexcept {
  ESPALIER_NEXT(mkdir);
  before_change(path);
  return call(path, mode);
}

int rmdir(const char* path) noexcept {
  ESPALIER_NEXT(rmdir);
  before_change(path);
  return call(path);
}

int unlink(const char* path) noexcept {
  ESPALIER_NEXT(unlink);
  before_change(path);
  return call(path);
}

int remove(const char* path) noexcept {
  ESPALIER_NEXT(remove);
  before_change(path);
  return call(path);
}

int unlinkat(int folder, const char* name, int flags) noexcept {
  ESPALIER_NEXT(unlinkat);
  if (watched() != nullptr) before_change(folder == AT_FDCWD ? name : path_of(folder) + "/" + name);
  return call(folder, name, flags);
}

}  // extern "C"
