#include "check/finding.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

namespace espalier::check {

std::string counted(std::int64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

namespace {

const char* name_of(Verdict verdict) {
  if (verdict == Verdict::ok) return "ok";
  return verdict == Verdict::warning ? "warning" : "problem";
}

/// Further lines stand below the first.
std::string indented(std::string_view text, std::size_t columns) {
  std::string result;
  for (const char letter : text) {
    result += letter;
    if (letter == '\n') result.append(columns, ' ');
  }
  return result;
}

std::string print_text(std::span<const Finding> findings) {
  constexpr std::size_t kColumn = 11;
  std::string text, group;
  for (const Finding& finding : findings) {
    if (finding.group != group)
      text += fmt::format("{}{}\n", text.empty() ? "" : "\n", finding.group);
    group = finding.group;
    text += fmt::format("  {:<9}{}: {}\n", name_of(finding.verdict), finding.what,
                        indented(finding.text, kColumn));
    if (!finding.remedy.empty())
      text += fmt::format("{:11}-> {}\n", "", indented(finding.remedy, kColumn + 3));
  }
  const auto count = [&](Verdict verdict) {
    return std::count_if(findings.begin(), findings.end(),
                         [&](const Finding& finding) { return finding.verdict == verdict; });
  };
  text += fmt::format("\n{} ok, {}, {}", count(Verdict::ok),
                      counted(count(Verdict::warning), "warning"),
                      counted(count(Verdict::problem), "problem"));
  if (const ExitStatus status = status_of(findings); status != ExitStatus::ok)
    text += fmt::format(": the job would end with status {}", static_cast<int>(status));
  return text + "\n";
}

}  // namespace

Finding ok(std::string what, std::string text) {
  return {.what = std::move(what), .text = std::move(text)};
}

Finding warning(std::string what, std::string text, std::string remedy) {
  return {.what = std::move(what),
          .verdict = Verdict::warning,
          .text = std::move(text),
          .remedy = std::move(remedy)};
}

Finding problem(std::string what, ExitStatus status, std::string text, std::string remedy) {
  return {.what = std::move(what),
          .verdict = Verdict::problem,
          .text = std::move(text),
          .remedy = std::move(remedy),
          .status = status};
}

ExitStatus status_of(std::span<const Finding> findings) {
  for (const Finding& finding : findings)
    if (finding.verdict == Verdict::problem) return finding.status;
  return ExitStatus::ok;
}

std::string print(std::span<const Finding> findings, report::Format format) {
  if (format == report::Format::text) return print_text(findings);
  report::Table table({{"group", "group"},
                       {"thing", "thing"},
                       {"verdict", "verdict"},
                       {"text", "text"},
                       {"remedy", "remedy"},
                       {"status", "status"}});
  for (const Finding& finding : findings) {
    const int status = static_cast<int>(finding.status);
    table.add({finding.group, finding.what, name_of(finding.verdict), finding.text, finding.remedy,
               report::Cell(status, std::to_string(status))});
  }
  return table.print(format);
}

}  // namespace espalier::check
