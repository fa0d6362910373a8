#include "commands/command_line.hpp"

#include <CLI/CLI.hpp>

#include "base/text.hpp"
#include "commands/build_info.hpp"
#include "commands/help.hpp"

namespace espalier::commands {
namespace {

[[noreturn]] void fail_usage(const std::string& message) {
  throw Error(ExitStatus::usage, message, Met::by_every_rank);
}

/// The words as they stand on the line, before they have a meaning.
struct Words {
  std::string command;
  std::vector<std::string> rest;
  bool help = false, version = false, dry_run = false;
};

Words split(int argc, const char* const* argv) {
  Words words;
  CLI::App app;
  app.set_help_flag();  // our pages are written from the table of commands, not by CLI11
  app.add_option("command", words.command);
  app.add_option("words", words.rest);
  app.add_flag("-h,--help", words.help);
  app.add_flag("--version", words.version);
  app.add_flag("--dry-run", words.dry_run);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    fail_usage(fmt::format("{} (`espalier help` says what there is)", error.what()));
  }
  // The one command of two words.
  if (words.command == "bench" && !words.rest.empty() && words.rest.front() == "tokenizer") {
    words.command += " tokenizer";
    words.rest.erase(words.rest.begin());
  }
  return words;
}

const Command& find_command(const std::string& name) {
  std::vector<std::string> names = {"help"};
  for (const Command& command : command_table()) {
    if (command.name == name) return command;
    names.emplace_back(command.name);
  }
  const std::string near = nearest_name(name, names);
  fail_usage(fmt::format(
      "there is no command \"{}\"; {}", name,
      near.empty() ? "`espalier help` lists the commands" : fmt::format("did you mean {}?", near)));
}

/// section.key=value, as opposed to a path that happens to have an equals sign in it.
bool is_override(const std::string& word) {
  const std::size_t equals = word.find('=');
  return equals != std::string::npos && word.substr(0, equals).find('/') == std::string::npos;
}

}  // namespace

CommandLine parse_command_line(int argc, const char* const* argv) {
  const Words words = split(argc, argv);
  CommandLine line;
  line.dry_run = words.dry_run;
  if (words.version) {
    line.answer = build_description();
    return line;
  }
  if (words.command.empty() || words.command == "help") {
    if (words.command.empty() && !words.help)
      fail_usage("name a command; `espalier help` lists them");
    line.answer = help_page(words.rest);
    return line;
  }
  line.command = &find_command(words.command);
  if (words.help) {
    line.answer = help_page(std::vector{words.command});
    return line;
  }

  if (line.command->run_on_paths != nullptr) {
    if (words.rest.empty())
      fail_usage(fmt::format("name a file or folder: espalier {} {}", line.command->name,
                             line.command->arguments));
    line.paths = words.rest;
    return line;
  }
  for (const std::string& word : words.rest) {
    if (is_override(word)) {
      line.overrides.push_back(word);
    } else {
      if (!line.input_file.empty())
        fail_usage(
            fmt::format("two input files, {} and {}: name one (a change to it is written "
                        "section.key=value)",
                        line.input_file, word));
      line.input_file = word;
    }
  }
  if (line.input_file.empty() && line.overrides.empty())
    fail_usage(fmt::format("name an input file: espalier {} {}", line.command->name,
                           line.command->arguments));
  return line;
}

}  // namespace espalier::commands
