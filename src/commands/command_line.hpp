#pragma once
#include <optional>
#include <string>
#include <vector>

#include "commands/commands.hpp"

namespace espalier::commands {

/// What a person asked for:
///   espalier <command> [input.toml] [section.key=value ...] [--dry-run]
///   espalier <eval | generate> folder [section.key=value ...] [--option value ...]
///   espalier inspect path ...
///   espalier help [command | parameters [table]], espalier --version
struct CommandLine {
  std::optional<std::string> answer;  ///< help or version: print it and be done
  const Command* command = nullptr;   ///< else: never null
  std::string input_file;             ///< or a folder (Command::takes_checkpoint); may be empty
  std::vector<std::string> overrides;
  std::vector<std::string> paths;  ///< of a command that is given file names
  bool dry_run = false;
  bool stops_early() const { return command != nullptr && command->stops_early && !dry_run; }
};

/// Throws Error (usage, met by every rank) that says how to write it, naming the nearest command.
CommandLine parse_command_line(int argc, const char* const* argv);

}  // namespace espalier::commands
