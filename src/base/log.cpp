#include "base/log.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "base/held_warnings.hpp"
#include "base/lines_to_stderr.hpp"

namespace espalier::log {
namespace {

constexpr std::size_t kEarlyBytes = 1 << 20;  // what is kept for a sink that may never come

struct State {
  int rank = 0;
  bool live_line = false;
  bool lines_to_stderr = false;
  std::function<void(std::string_view)> sink;
  // What was said before there was a sink: the banner belongs into the run log too.
  std::vector<std::string> early;
  std::size_t early_bytes = 0;
  bool had_sink = false;
  std::function<void(std::string_view)> rank_sink;
  bool holds_warnings = false;
  std::vector<std::string> held;
  bool keeps_words = false;
  std::vector<KeptWords::Word> words;
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
  if (state().keeps_words) {
    state().words.push_back({false, std::string(text)});
    return;
  }
  if (state().rank_sink) state().rank_sink(text);
  end_live_line();
  std::FILE* stream = state().lines_to_stderr ? stderr : stdout;
  std::fwrite(text.data(), 1, text.size(), stream);
  std::fputc('\n', stream);
  std::fflush(stream);
  to_sink(text);
}

namespace {

constexpr char kBetween = '\x1e';  // ASCII's record separator, between held warnings

void print_warning(const std::string& message) {
  end_live_line();
  std::fprintf(stderr, "%s\n", message.c_str());
  to_sink(message);
}

}  // namespace

void warning(std::string_view text) {
  if (state().keeps_words) {
    state().words.push_back({true, std::string(text)});
    return;
  }
  if (state().rank_sink) state().rank_sink(fmt::format("warning: {}", text));
  if (state().holds_warnings && state().rank != 0) {
    state().held.emplace_back(text);
    return;
  }
  print_warning(fmt::format("espalier: rank {}: warning: {}", state().rank, text));
}

void set_rank_sink(std::function<void(std::string_view)> sink) {
  state().rank_sink = std::move(sink);
}

KeptWords::KeptWords() {
  state().keeps_words = true;
}

KeptWords::~KeptWords() {
  state().keeps_words = false;
  state().words.clear();
}

std::vector<KeptWords::Word> KeptWords::take() {
  return std::exchange(state().words, {});
}

LinesToStandardError::LinesToStandardError() {
  state().lines_to_stderr = true;
}
LinesToStandardError::~LinesToStandardError() {
  state().lines_to_stderr = false;
}

HeldWarnings::HeldWarnings() {
  state().holds_warnings = true;
}

HeldWarnings::~HeldWarnings() {
  state().holds_warnings = false;
  for (const std::string& text : std::exchange(state().held, {}))
    print_warning(fmt::format("espalier: rank {}: warning: {}", state().rank, text));
}

bool HeldWarnings::any() {
  return !state().held.empty();
}

std::string HeldWarnings::take() {
  std::string all;
  for (const std::string& text : std::exchange(state().held, {})) all += text + kBetween;
  return all;
}

void print_warnings(const std::vector<std::string>& of_ranks) {
  if (state().rank != 0) return;
  // In the order in which the lowest rank said them.
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> different;
  for (std::size_t rank = 0; rank < of_ranks.size(); ++rank) {
    std::string_view rest = of_ranks[rank];
    for (auto end = rest.find(kBetween); end != std::string_view::npos; end = rest.find(kBetween)) {
      const std::string_view text = rest.substr(0, end);
      rest.remove_prefix(end + 1);
      auto same = std::find_if(different.begin(), different.end(),
                               [&](const auto& one) { return one.first == text; });
      if (same == different.end()) same = different.insert(same, {std::string(text), {}});
      const auto number = static_cast<std::int64_t>(rank);
      if (same->second.empty() || same->second.back() != number) same->second.push_back(number);
    }
  }
  for (const auto& [text, ranks] : different)
    print_warning(fmt::format("espalier: {}: warning: {}", describe_ranks(ranks), text));
}

std::string describe_ranks(const std::vector<std::int64_t>& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < ranks.size();) {
    std::size_t last = i;
    while (last + 1 < ranks.size() && ranks[last + 1] == ranks[last] + 1) ++last;
    text += fmt::format("{}{}", i > 0 ? ", " : "", ranks[i]);
    if (last > i) text += fmt::format("-{}", ranks[last]);
    i = last + 1;
  }
  return text;
}

void live(std::string_view text) {
  static const bool terminal = is_terminal();
  if (state().rank != 0 || !terminal || state().keeps_words) return;
  std::fputs("\r\033[K", stdout);
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
  state().live_line = true;
}

}  // namespace espalier::log
