#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace espalier::config {

/// What is wrong with an input, a sentence each: a person repairs all of it at once. A sentence is
/// about keys; what else would be said of a key whose value is known to be wrong is left out.
class Mistakes {
 public:
  /// `key`: "training.steps"; "model." for a whole table; empty: of no key.
  void add(std::string sentence, const std::string& key = {});
  /// What follows from a wrong value is not to be judged either.
  void distrust(const std::string& key) { keys_.push_back(key); }
  bool distrusts(std::string_view key) const;
  /// Whether the sentence names a key that is known to be wrong.
  bool repeats(std::string_view sentence) const;
  bool none() const { return text_.empty(); }
  const std::string& text() const { return text_; }
  /// Throws Error (bad_configuration, met by every rank) unless none().
  void throw_if_any() const;

 private:
  std::string text_;
  std::vector<std::string> keys_;
};

}  // namespace espalier::config
