#pragma once
#include <fmt/core.h>

#include <stdexcept>
#include <string>

namespace espalier {

/// Exit statuses of the program (sysexits.h where it has one).
enum class ExitStatus : int {
  ok = 0,
  usage = 64,              ///< command line
  bad_data = 65,           ///< shard, checkpoint, text or tokenizer that cannot be used
  internal = 70,           ///< a fault of the program
  io_error = 74,           ///< disk full, not writable, unreadable
  stopped_early = 75,      ///< asked to stop or out of time: submit the same command again
  bad_configuration = 78,  ///< parameter file or grid
  bad_numbers = 79,        ///< not finite, a spike, or copies that differ: the run needs a person
};

/// Who meets the error. Errors in what every rank reads alike (the input file, the grid) are met by
/// every rank: rank 0 prints them once. Any other error ends the job from the rank that met it.
enum class Met { by_this_rank, by_every_rank };

/// The one exception type. `what()` is a whole message for a person: what is wrong, where (file,
/// key, offset) and what to change. The rank is added where it is printed
/// (src/commands/failure.cpp).
class Error : public std::runtime_error {
 public:
  Error(ExitStatus status, const std::string& message, Met met = Met::by_this_rank)
      : std::runtime_error(message), status_(status), met_(met) {}
  ExitStatus status() const { return status_; }
  Met met() const { return met_; }

 private:
  ExitStatus status_;
  Met met_;
};

/// Throws Error with a formatted message.
template <class... Args>
[[noreturn]] void fail(ExitStatus status, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(status, fmt::format(format, std::forward<Args>(args)...));
}

/// Checks what comes from outside (input, files). On failure throws Error; the message must say
/// what to change.
template <class... Args>
void require(bool condition, ExitStatus status, fmt::format_string<Args...> format,
             Args&&... args) {
  if (!condition) throw Error(status, fmt::format(format, std::forward<Args>(args)...));
}

[[noreturn]] void assertion_failed(const char* expression, const char* file, int line,
                                   const std::string& detail);

}  // namespace espalier

/// A promise of the programmer (shapes, order of calls). Stays in release builds: it is checked
/// once per operator call, never per element. Extra arguments are a fmt format with the operands.
#define ESPALIER_ASSERT(expression, ...)                                                 \
  do {                                                                                   \
    if (!(expression))                                                                   \
      ::espalier::assertion_failed(#expression, __FILE__, __LINE__,                      \
                                   std::string{__VA_OPT__(::fmt::format(__VA_ARGS__))}); \
  } while (false)
