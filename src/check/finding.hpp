#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "report/table.hpp"

namespace espalier::check {

enum class Verdict : std::uint8_t {
  ok,
  warning,  ///< the job would run, but slowly, or not for as long as it should
  problem,  ///< the job would end
};

/// One thing that was tried, and how it stands.
struct Finding {
  std::string what;  ///< "library", "free space": a few words
  Verdict verdict = Verdict::ok;
  std::string text;         ///< what was found, for a person
  std::string remedy = {};  ///< what to change, where it is not ok; empty: `text` says it
  ExitStatus status = ExitStatus::ok;  ///< of a problem: that of the job that meets it
  std::string group = {};              ///< "MPI"; set by whoever runs the checks
};

Finding ok(std::string what, std::string text);
Finding warning(std::string what, std::string text, std::string remedy = {});
Finding problem(std::string what, ExitStatus status, std::string text, std::string remedy = {});

/// The status of the first problem; ok without one.
ExitStatus status_of(std::span<const Finding> findings);

/// As text: a heading per group, a line per finding (more where its text or remedy has them) and
/// the sum at the end. In the other formats a table with the columns group, thing, verdict, text,
/// remedy and status.
std::string print(std::span<const Finding> findings, report::Format format);

/// "1 rank", "2 ranks".
std::string counted(std::int64_t count, std::string_view what);

}  // namespace espalier::check
