#include "commands/command_line.hpp"

#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>

#include "base/text.hpp"
#include "commands/build_info.hpp"
#include "commands/help.hpp"
#include "config/reference.hpp"
#include "io/home_path.hpp"
#include "tokenizer/unicode.hpp"

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
  std::map<std::string_view, std::string> options;  ///< by flag
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
  for (const Command& command : command_table())
    for (const Option& option : command.options) {
      if (words.options.contains(option.flag)) continue;  // several commands share it
      std::string& value = words.options[option.flag];
      if (option.value == Option::Value::none)
        app.add_flag_callback(std::string(option.flag), [&value] { value = "true"; });
      else
        app.add_option(std::string(option.flag), value);
    }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    fail_usage(fmt::format("{} (`espalier help` says what there is)", error.what()));
  }
  // A command of two words, such as "bench operators".
  if (!words.rest.empty()) {
    const std::string both = words.command + " " + words.rest.front();
    const auto commands = command_table();
    if (std::any_of(commands.begin(), commands.end(),
                    [&](const Command& command) { return command.name == both; })) {
      words.command = both;
      words.rest.erase(words.rest.begin());
    }
  }
  return words;
}

const Command& find_command(const std::string& name) {
  std::vector<std::string> names = {"help"};
  for (const Command& command : command_table()) {
    if (command.name == name) return command;
    names.emplace_back(command.name);
  }
  if (name == "plan")
    fail_usage(
        "plan what? search, compare, memory, time, grid, schedule, campaign or fit: `espalier help "
        "plan`");
  const std::string near = nearest_name(name, names);
  fail_usage(fmt::format(
      "there is no command \"{}\"; {}", name,
      near.empty() ? "`espalier help` lists the commands" : fmt::format("did you mean {}?", near)));
}

/// Options as the overrides they are short for.
void add_options(const Words& words, CommandLine& line) {
  for (const auto& [flag, value] : words.options) {
    if (value.empty()) continue;
    const auto known = std::find_if(line.command->options.begin(), line.command->options.end(),
                                    [&](const Option& option) { return option.flag == flag; });
    if (known == line.command->options.end())
      fail_usage(fmt::format("espalier {} has no option {}", line.command->name, flag));
    const bool is_text = known->value == Option::Value::text;
    line.overrides.push_back(
        fmt::format("{}={}", known->key, is_text ? config::toml_value(value) : value));
  }
}

/// section.key=value, as opposed to a path that happens to have an equals sign in it.
bool is_override(const std::string& word) {
  const std::size_t equals = word.find('=');
  return equals != std::string::npos && word.substr(0, equals).find('/') == std::string::npos;
}

/// A path of the command line, with its ~.
std::string expanded(std::string path) {
  if (const std::string wrong = io::expand_home(path); !wrong.empty()) fail_usage(wrong);
  return path;
}

/// Words of a command that is given file names and overrides.
void take_paths_and_overrides(const Words& words, CommandLine& line) {
  for (const std::string& word : words.rest)
    if (is_override(word))
      line.overrides.push_back(word);
    else
      line.paths.push_back(expanded(word));
  if (line.paths.empty())
    fail_usage(fmt::format("name a file or folder: espalier {} {}", line.command->name,
                           line.command->arguments));
}

/// What the command would not heed is refused, so that nobody waits for its effect.
void require_heeded(const Words& words, const CommandLine& line) {
  const Command& command = *line.command;
  if (line.dry_run && !command.has_dry_run)
    fail_usage(fmt::format("espalier {} has no --dry-run", command.name));
  const bool measures_host =
      std::any_of(command.options.begin(), command.options.end(),
                  [](const Option& option) { return option.key == "bench.write"; });
  for (const std::string& word : words.rest) {
    if (!is_override(word)) continue;
    const std::string key = word.substr(0, word.find('='));
    if (key == "bench.write" && !measures_host)
      fail_usage(fmt::format("espalier {} does not heed bench.write", command.name));
    if (!command.name.starts_with("plan ") || !key.starts_with("plan.")) continue;
    const auto keys = command.plan_keys;
    const auto known = config::key_names();
    const bool exists = std::find(known.begin(), known.end(), key) != known.end();
    if (exists &&
        std::find(keys.begin(), keys.end(), std::string_view(key).substr(5)) == keys.end())
      fail_usage(fmt::format("espalier {} does not heed {}; of [plan] it heeds {}", command.name,
                             key, fmt::join(keys, ", ")));
  }
}

/// Parameters are handed on as TOML, which is UTF-8.
void require_utf8(const Words& words) {
  const auto check = [](std::string_view key, const std::string& value) {
    if (!tokenizer::is_valid_utf8(value))
      fail_usage(fmt::format("the value of {} is not UTF-8: write it so", key));
  };
  for (const auto& [flag, value] : words.options) check(flag, value);
  for (const std::string& word : words.rest)
    if (is_override(word)) check(word.substr(0, word.find('=')), word);
}

}  // namespace

CommandLine parse_command_line(int argc, const char* const* argv) {
  const Words words = split(argc, argv);
  CommandLine line;
  line.dry_run = words.dry_run;
  if (words.version) {
    line.answer = fmt::format("{}\nSIMD      {}", build_description(), simd_levels_here());
    return line;
  }
  if (words.command.empty() || words.command == "help") {
    if (words.command.empty() && !words.help)
      fail_usage("name a command; `espalier help` lists them");
    line.answer = help_page(words.rest);
    return line;
  }
  if (words.help && words.command == "plan") {
    line.answer = help_page(std::vector{words.command});
    return line;
  }
  line.command = &find_command(words.command);
  if (words.help) {
    line.answer = help_page(std::vector{words.command});
    return line;
  }

  require_utf8(words);
  require_heeded(words, line);
  add_options(words, line);
  if (line.command->run_on_paths_with_input != nullptr) {
    take_paths_and_overrides(words, line);
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
      line.input_file = expanded(word);
    }
  }
  if (line.input_file.empty() && line.overrides.empty())
    fail_usage(fmt::format("name an input file: espalier {} {}", line.command->name,
                           line.command->arguments));
  return line;
}

}  // namespace espalier::commands
