#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::log {

/// While it lives, warnings of ranks other than 0 are held back, so that what a thousand ranks say
/// at once can become one line. Those that nobody has taken are printed at the end, each with its
/// rank, as without it.
class HeldWarnings {
 public:
  HeldWarnings();
  ~HeldWarnings();
  HeldWarnings(const HeldWarnings&) = delete;
  HeldWarnings& operator=(const HeldWarnings&) = delete;
  static bool any();
  /// Those that this rank holds, as one text, which then are no longer held.
  static std::string take();
};

/// While it lives, nothing that this rank says is printed or goes into a log: whoever asked wants
/// to say it in other words. What nobody has taken is dropped. One at a time.
class KeptWords {
 public:
  KeptWords();
  ~KeptWords();
  KeptWords(const KeptWords&) = delete;
  KeptWords& operator=(const KeptWords&) = delete;
  struct Word {
    bool is_warning;
    std::string text;
  };
  /// What was said since the last take.
  static std::vector<Word> take();
};

/// On rank 0: a line for each different warning of `of_ranks` (HeldWarnings::take of every rank, in
/// rank order), with the ranks that said it, on standard error and in the sink.
void print_warnings(const std::vector<std::string>& of_ranks);

/// "rank 3", "ranks 0-2, 5"; ascending.
std::string describe_ranks(const std::vector<std::int64_t>& ranks);

/// Where all that this rank says goes besides, warnings when they are said; empty: nowhere.
void set_rank_sink(std::function<void(std::string_view)> sink);

}  // namespace espalier::log
