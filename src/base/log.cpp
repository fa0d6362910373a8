#include "base/log.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace espalier::log {
namespace {

constexpr std::size_t kEarlyBytes = 1 << 20;  // what is kept for a sink that may never come

struct State {
  int rank = 0;
  bool live_line = false;
  std::function<void(std::string_view)> sink;
  // What was said before there was a sink: the banner belongs into the run log too.
  std::vector<std::string> early;
  std::size_t early_bytes = 0;
  bool had_sink = false;
};

State& state() {
  static State instance;
  return instance;
}

void end_live_line() {
  if (!state().live_line) return;
  std::fputs("\r\033[K", stdout);
  state().live_line = false;
}

/// Whether a person looks at standard output. OpenMPI gives every rank a terminal of its own, so
/// under mpirun what counts is where mpirun, the parent process, writes.
bool is_terminal() {
  if (isatty(STDOUT_FILENO) != 1) return false;
  if (std::getenv("OMPI_COMM_WORLD_SIZE") == nullptr) return true;
  char target[64] = {};
  const std::string link = fmt::format("/proc/{}/fd/1", getppid());
  if (readlink(link.c_str(), target, sizeof target - 1) <= 0) return false;
  return std::string_view(target).starts_with("/dev/pts/") ||
         std::string_view(target).starts_with("/dev/tty");
}

}  // namespace

void set_rank(int rank) {
  state().rank = rank;
}
int rank() {
  return state().rank;
}
void set_sink(std::function<void(std::string_view)> sink) {
  state().sink = std::move(sink);
  if (!state().sink) return;
  state().had_sink = true;
  for (const std::string& text : std::exchange(state().early, {})) state().sink(text);
}

namespace {
void to_sink(std::string_view text) {
  if (state().sink) return state().sink(text);
  if (state().had_sink || state().early_bytes >= kEarlyBytes) return;
  state().early.emplace_back(text);
  state().early_bytes += text.size();
}
}  // namespace

void line(std::string_view text) {
  if (state().rank != 0) return;
  end_live_line();
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fputc('\n', stdout);
  std::fflush(stdout);
  to_sink(text);
}

void warning(std::string_view text) {
  end_live_line();
  const std::string message = fmt::format("espalier: rank {}: warning: {}", state().rank, text);
  std::fprintf(stderr, "%s\n", message.c_str());
  to_sink(message);
}

void live(std::string_view text) {
  static const bool terminal = is_terminal();
  if (state().rank != 0 || !terminal) return;
  std::fputs("\r\033[K", stdout);
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
  state().live_line = true;
}

}  // namespace espalier::log
