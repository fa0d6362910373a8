#pragma once
#include <catch2/catch.hpp>
#include <functional>
#include <initializer_list>
#include <string>

#include "base/error.hpp"

namespace espalier::testing {

/// The message of the Error that `action` throws; it must have this status and be met by every
/// rank, because the input is the same on all of them.
inline std::string message_of(const std::function<void()>& action,
                              ExitStatus status = ExitStatus::bad_configuration) {
  try {
    action();
  } catch (const Error& error) {
    CHECK(error.status() == status);
    CHECK(error.met() == Met::by_every_rank);
    return error.what();
  }
  FAIL("no error");
  return {};
}

/// Every word must be in the text: a message names key, value and remedy, its wording is free.
inline void expect_words(const std::string& text, std::initializer_list<const char*> words) {
  for (const char* word : words) {
    INFO("looking for \"" << word << "\" in: " << text);
    CHECK(text.find(word) != std::string::npos);
  }
}

inline int num_lines(const std::string& text) {
  int lines = text.empty() ? 0 : 1;
  for (const char c : text) lines += c == '\n' ? 1 : 0;
  return lines;
}

}  // namespace espalier::testing
