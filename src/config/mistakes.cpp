#include "config/mistakes.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace espalier::config {

void Mistakes::add(std::string sentence, const std::string& key) {
  if (!text_.empty()) text_ += "\n";
  text_ += std::move(sentence);
  if (!key.empty()) keys_.push_back(key);
}

bool Mistakes::distrusts(std::string_view key) const {
  return std::any_of(keys_.begin(), keys_.end(), [&](const std::string& wrong) {
    return wrong.ends_with('.') ? key.starts_with(wrong) : key == wrong;
  });
}

bool Mistakes::repeats(std::string_view sentence) const {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789_.";
  // Word by word, because one key may begin as another does.
  while (!sentence.empty()) {
    const std::size_t begin = sentence.find_first_of(kLetters);
    if (begin == std::string_view::npos) return false;
    const std::size_t end = std::min(sentence.find_first_not_of(kLetters, begin), sentence.size());
    std::string_view word = sentence.substr(begin, end - begin);
    while (word.ends_with('.')) word.remove_suffix(1);  // the end of a sentence
    if (distrusts(word)) return true;
    sentence.remove_prefix(end);
  }
  return false;
}

void Mistakes::throw_if_any() const {
  if (!none()) throw Error(ExitStatus::bad_configuration, text_, Met::by_every_rank);
}

}  // namespace espalier::config
