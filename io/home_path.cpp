#include "io/home_path.hpp"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>

namespace espalier::io {
namespace {

/// Empty: there is none.
std::string home_of(const std::string& name) {
  if (name.empty())
    if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') return home;
  const passwd* entry = name.empty() ? ::getpwuid(::getuid()) : ::getpwnam(name.c_str());
  return entry == nullptr || entry->pw_dir == nullptr ? std::string() : entry->pw_dir;
}

}  // namespace

std::string expand_home(std::string& path) {
  if (!path.starts_with('~')) return {};
  const std::size_t end = path.find('/');
  const std::string name = path.substr(1, end == std::string::npos ? end : end - 1);
  const std::string home = home_of(name);
  if (home.empty())
    return (name.empty() ? "begins with ~, but there is no home directory (HOME is not set)"
                         : "begins with ~" + name + ", but there is no user " + name) +
           std::string(": write the path out, or ./~ for a name that begins so");
  path = home + (end == std::string::npos ? "" : path.substr(end));
  return {};
}

}  // namespace espalier::io
