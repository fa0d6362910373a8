#include "commands/help.hpp"

#include <vector>

#include "base/text.hpp"
#include "commands/build_info.hpp"
#include "commands/commands.hpp"
#include "config/reference.hpp"

namespace espalier::commands {
namespace {

std::string overview() {
  std::string page = version_line() +
                     ": pretrains language models on a grid of MPI ranks\n"
                     "\n"
                     "  espalier <command> [input.toml] [section.key=value ...] [--dry-run]\n"
                     "  mpirun -n 8 espalier train input.toml\n"
                     "\n"
                     "Commands\n";
  for (const Command& command : command_table())
    page += fmt::format("  {:<16} {}\n", command.name, command.summary);
  page +=
      fmt::format("  {:<16} {}\n", "help", "this page; help <command>, help parameters [table]");
  page +=
      "\n"
      "Exit status\n"
      "  0 done             64 command line        65 bad data          70 internal error\n"
      "  74 input/output    75 stopped early with a checkpoint: submit the same command again\n"
      "  78 bad configuration\n";
  return page;
}

std::string command_page(const Command& command) {
  return fmt::format("espalier {} {}\n\n{}", command.name, command.arguments, command.details);
}

[[noreturn]] void fail_usage(const std::string& message) {
  throw Error(ExitStatus::usage, message, Met::by_every_rank);
}

}  // namespace

std::string help_page(std::span<const std::string> topics) {
  if (topics.empty()) return overview();
  if (topics[0] == "parameters") {
    if (topics.size() > 2) fail_usage("`espalier help parameters` takes at most one table");
    return config::reference_page(topics.size() == 2 ? topics[1] : std::string());
  }
  for (const Command& command : command_table())
    if (topics.size() == 2 && command.name == topics[0] + " " + topics[1])
      return command_page(command);
  if (topics.size() == 1 && topics[0] == "plan") return std::string(plan_guide());
  if (topics.size() > 1) fail_usage("`espalier help` takes one command, or: parameters [table]");
  std::vector<std::string> names = {"parameters", "help"};
  for (const Command& command : command_table()) {
    if (command.name == topics[0]) return command_page(command);
    names.emplace_back(command.name);
  }
  if (topics[0] == "help") return overview();
  const std::string near = nearest_name(topics[0], names);
  fail_usage(fmt::format(
      "there is no help on \"{}\"; {}", topics[0],
      near.empty() ? "`espalier help` lists the commands" : fmt::format("did you mean {}?", near)));
}

}  // namespace espalier::commands
