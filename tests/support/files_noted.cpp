// Preloaded into a program, it notes which files a process opens and looks at, so that a test can
// count what a rank asks of a file system.
//   ESPALIER_NOTE_UNDER   what the absolute paths of those files begin with; several: with ':'
//   ESPALIER_NOTE_IN      folder of the notes: a file per rank, a line "open PATH" or "look PATH"
//                         per call
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

bool is_watched(const std::string& path) {
  const char* const under = std::getenv("ESPALIER_NOTE_UNDER");
  if (under == nullptr) return false;
  std::string_view rest = under;
  while (!rest.empty()) {
    const std::string_view prefix = rest.substr(0, rest.find(':'));
    if (path.starts_with(prefix)) return true;
    rest.remove_prefix(prefix.size() == rest.size() ? rest.size() : prefix.size() + 1);
  }
  return false;
}

/// By system calls alone: whatever else is called here would be noted in turn.
void note(const char* what, const char* path) {
  if (path == nullptr) return;
  std::string absolute = path;
  if (!absolute.starts_with('/')) {
    char folder[4096];
    if (::getcwd(folder, sizeof folder) != nullptr) absolute = std::string(folder) + "/" + absolute;
  }
  const char* const notes = std::getenv("ESPALIER_NOTE_IN");
  if (notes == nullptr || !is_watched(absolute)) return;
  const char* const rank = std::getenv("OMPI_COMM_WORLD_RANK");
  const std::string name = std::string(notes) + "/" + (rank != nullptr ? rank : "0");
  const std::string line = std::string(what) + " " + absolute + "\n";
  const auto file = static_cast<int>(::syscall(SYS_openat, AT_FDCWD, name.c_str(),
                                               O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (file < 0) return;
  // One call: lines of threads do not mix.
  [[maybe_unused]] const auto written = ::syscall(SYS_write, file, line.data(), line.size());
  ::syscall(SYS_close, file);
}

/// The function of this name that would be called without this file.
template <class Function>
Function* next(Function*, const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

mode_t mode_of(int flags, va_list arguments) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? static_cast<mode_t>(va_arg(arguments, int)) : 0;
}

}  // namespace

#define ESPALIER_NEXT(function) \
  static const auto call = next(static_cast<decltype(function)*>(nullptr), #function)

extern "C" {

#define ESPALIER_OPEN(function)                    \
  int function(const char* path, int flags, ...) { \
    ESPALIER_NEXT(function);                       \
    va_list arguments;                             \
    va_start(arguments, flags);                    \
    const mode_t mode = mode_of(flags, arguments); \
    va_end(arguments);                             \
    note("open", path);                            \
    return call(path, flags, mode);                \
  }
ESPALIER_OPEN(open)
ESPALIER_OPEN(open64)

#define ESPALIER_OPENAT(function)                               \
  int function(int folder, const char* path, int flags, ...) {  \
    ESPALIER_NEXT(function);                                    \
    va_list arguments;                                          \
    va_start(arguments, flags);                                 \
    const mode_t mode = mode_of(flags, arguments);              \
    va_end(arguments);                                          \
    if (folder == AT_FDCWD || *path == '/') note("open", path); \
    return call(folder, path, flags, mode);                     \
  }
ESPALIER_OPENAT(openat)
ESPALIER_OPENAT(openat64)

FILE* fopen(const char* path, const char* mode) {
  ESPALIER_NEXT(fopen);
  note("open", path);
  return call(path, mode);
}

FILE* fopen64(const char* path, const char* mode) {
  ESPALIER_NEXT(fopen64);
  note("open", path);
  return call(path, mode);
}

DIR* opendir(const char* path) {
  ESPALIER_NEXT(opendir);
  note("open", path);
  return call(path);
}

int stat(const char* path, struct stat* status) noexcept {
  ESPALIER_NEXT(stat);
  note("look", path);
  return call(path, status);
}

int stat64(const char* path, struct stat64* status) noexcept {
  ESPALIER_NEXT(stat64);
  note("look", path);
  return call(path, status);
}

int lstat(const char* path, struct stat* status) noexcept {
  ESPALIER_NEXT(lstat);
  note("look", path);
  return call(path, status);
}

int lstat64(const char* path, struct stat64* status) noexcept {
  ESPALIER_NEXT(lstat64);
  note("look", path);
  return call(path, status);
}

int access(const char* path, int mode) noexcept {
  ESPALIER_NEXT(access);
  note("look", path);
  return call(path, mode);
}

}  // extern "C"
