#pragma once
#include <fmt/core.h>

#include <functional>
#include <string>
#include <string_view>

namespace espalier {

/// Where messages go. Rank 0 prints to standard output; other ranks are silent except for
/// warnings. A sink (the run log) receives a copy of every line with no terminal control in it.
namespace log {

void set_rank(int rank);  ///< before the first message; the default is 0
int rank();
/// Where copies go; an empty function: nowhere. The first sink also gets what was said before it.
void set_sink(std::function<void(std::string_view line)> sink);

void line(std::string_view text);     ///< rank 0: to stdout and the sink
void warning(std::string_view text);  ///< any rank: to stderr with the rank, and the sink
/// Rewrites the last line of a terminal (progress); does nothing when stdout is not a terminal or
/// on other ranks. The next `line` starts on a fresh line.
void live(std::string_view text);

template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  if (rank() == 0) line(fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  warning(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace log
}  // namespace espalier
