#pragma once

namespace espalier::log {

/// While it lives, what rank 0 says goes to standard error, so that standard output has a table for
/// programs alone.
class LinesToStandardError {
 public:
  LinesToStandardError();
  ~LinesToStandardError();
  LinesToStandardError(const LinesToStandardError&) = delete;
  LinesToStandardError& operator=(const LinesToStandardError&) = delete;
};

}  // namespace espalier::log
