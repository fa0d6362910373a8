#include "io/toml_reader.hpp"

#define TOML_EXCEPTIONS 1
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <array>
#include <cctype>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>
#include <sstream>

#include "base/error.hpp"
#include "base/whole_file.hpp"
#include "config/unknown_names.hpp"
#include "io/home_path.hpp"

namespace espalier::io {
namespace {

using config::Field;
using config::Parameters;

[[noreturn]] void fail_configuration(const std::string& message) {
  throw Error(ExitStatus::bad_configuration, message, Met::by_every_rank);
}

/// Everything that is wrong with one file, by line.
class FileProblems {
 public:
  explicit FileProblems(std::string file) : file_(std::move(file)) {}
  /// `key`: whose value is not known now; empty: none's.
  void add(const toml::node& node, const std::string& message, const std::string& key = {}) {
    const auto line = node.source().begin.line;
    by_line_.emplace(line, std::pair(fmt::format("{}:{}: {}", file_, line, message), key));
  }
  void tell(config::Mistakes& mistakes) const {
    for (const auto& [line, problem] : by_line_) mistakes.add(problem.first, problem.second);
  }

 private:
  std::string file_;
  std::multimap<toml::source_index, std::pair<std::string, std::string>> by_line_;
};

// Values ------------------------------------------------------------------------------------------
// assign(value, node) sets a parameter from a TOML value; it returns what is wrong, or nothing.

std::string found_type(const toml::node& node) {
  std::ostringstream text;
  if (node.is_table()) return "a table";
  if (node.is_array()) return "a list";
  node.visit([&](const auto& value) { text << value; });
  const char* type = node.is_string()           ? "the string"
                     : node.is_integer()        ? "the integer"
                     : node.is_floating_point() ? "the number"
                     : node.is_boolean()        ? "the boolean"
                                                : "the date or time";
  // Not every operator<< quotes a string.
  if (const auto* string = node.as_string())
    return fmt::format("{} {}", type, config::toml_value(string->get()));
  return fmt::format("{} {}", type, text.str());
}

std::string assign(bool& value, const toml::node& node) {
  if (!node.is_boolean()) return fmt::format("needs true or false, not {}", found_type(node));
  value = node.as_boolean()->get();
  return {};
}

std::string assign(std::int64_t& value, const toml::node& node) {
  if (node.is_integer()) {
    value = node.as_integer()->get();
    return {};
  }
  if (!node.is_floating_point()) return fmt::format("needs an integer, not {}", found_type(node));
  // 80e9 tokens is how people write; beyond 2^53 a double no longer holds every integer.
  const double number = node.as_floating_point()->get();
  if (number != std::floor(number) || std::abs(number) > 9007199254740992.0)
    return fmt::format("needs a whole number, not {}", number);
  value = static_cast<std::int64_t>(number);
  return {};
}

std::string assign(double& value, const toml::node& node) {
  if (node.is_integer())
    value = static_cast<double>(node.as_integer()->get());
  else if (node.is_floating_point())
    value = node.as_floating_point()->get();
  else
    return fmt::format("needs a number, not {}", found_type(node));
  return {};
}

std::string assign(std::string& value, const toml::node& node) {
  if (!node.is_string()) return fmt::format("needs a string in quotes, not {}", found_type(node));
  value = node.as_string()->get();
  return {};
}

/// A list of values, or one in place of a list of one.
template <class T>
std::string assign_list(std::vector<T>& value, const toml::node& node) {
  T item{};
  if (assign(item, node).empty()) {
    value = {std::move(item)};
    return {};
  }
  const std::string_view type = config::type_name(value);
  const toml::array* list = node.as_array();
  if (list == nullptr) return fmt::format("needs a {}, not {}", type, found_type(node));
  std::vector<T> items;
  for (const toml::node& element : *list) {
    if (!assign(item, element).empty())
      return fmt::format("needs a {}, not one with {}", type, found_type(element));
    items.push_back(item);
  }
  value = std::move(items);
  return {};
}

std::string assign(std::vector<std::string>& value, const toml::node& node) {
  return assign_list(value, node);
}
std::string assign(std::vector<std::int64_t>& value, const toml::node& node) {
  return assign_list(value, node);
}

/// ~ in what the field says are paths. Returns what is wrong with one of them, or nothing.
template <class Value>
std::string expand_paths(const Field& field, Value& value) {
  if (!field.is_path) return {};
  std::string wrong;
  if constexpr (std::is_same_v<Value, std::string>) wrong = expand_home(value);
  if constexpr (std::is_same_v<Value, std::vector<std::string>>)
    for (std::string& path : value)
      if (wrong.empty()) wrong = expand_home(path);
  return wrong;
}

/// [[table.name]] or a list of inline tables.
template <config::Described T>
std::string assign(std::vector<T>& values, const toml::node& node) {
  const toml::array* list = node.as_array();
  if (list == nullptr) return fmt::format("needs a list of tables, not {}", found_type(node));
  std::vector<T> items;
  for (const toml::node& entry : *list) {
    const toml::table* table = entry.as_table();
    if (table == nullptr)
      return fmt::format("needs a list of tables, not one with {}", found_type(entry));
    T& item = items.emplace_back();
    for (const auto& [bound_key, bound_value] : *table) {
      // Lambdas of clang before 16 cannot capture a structured binding.
      const toml::key& key = bound_key;
      const toml::node& value = bound_value;
      std::string wrong;
      std::vector<std::string> known;
      bool found = false;
      T::describe(item, [&](const Field& field, auto& member) {
        known.emplace_back(field.name);
        if (field.name != key.str()) return;
        found = true;
        wrong = assign(member, value);
        if (wrong.empty()) wrong = expand_paths(field, member);
      });
      if (!found)
        return fmt::format("has an unknown key {} in entry {}; an entry has {}", key.str(),
                           items.size(), fmt::join(known, ", "));
      if (!wrong.empty())
        return fmt::format("has {} in entry {}, which {}", key.str(), items.size(), wrong);
    }
  }
  values = std::move(items);
  return {};
}

// Keys --------------------------------------------------------------------------------------------

/// Calls visit(field, value) for the member that `table.key` names; false when there is none.
template <class Visit>
bool with_parameter(Parameters& parameters, std::string_view table, std::string_view key,
                    Visit&& visit) {
  bool found = false;
  Parameters::tables(parameters, [&](std::string_view name, std::string_view, auto& values) {
    if (name != table) return;
    std::decay_t<decltype(values)>::describe(values, [&](const Field& field, auto& value) {
      if (field.name != key) return;
      found = true;
      visit(field, value);
    });
  });
  return found;
}

/// Sets the parameter from the node, and returns what is wrong with either; nothing: done.
std::string set_parameter(Parameters& parameters, const std::string& table, const std::string& key,
                          const toml::node& node) {
  std::string wrong;
  const bool found = with_parameter(parameters, table, key, [&](const Field& field, auto& value) {
    auto candidate = value;
    wrong = assign(candidate, node);
    if (wrong.empty()) wrong = expand_paths(field, candidate);
    if (!wrong.empty()) {
      wrong = fmt::format("{}.{} {}", table, key, wrong);
    } else if (wrong = violation(field, candidate); !wrong.empty()) {
      wrong = fmt::format("{}.{} = {} {}", table, key, config::toml_value(candidate), wrong);
    } else {
      value = std::move(candidate);
    }
  });
  return found ? wrong : config::unknown_key(table, key);
}

/// The key whose value is not known because `table.key` is wrong: itself, or the one that was
/// meant.
std::string key_in_question(const std::string& table, const std::string& key) {
  Parameters scratch;
  const bool exists = with_parameter(scratch, table, key, [](const Field&, const auto&) {});
  return exists ? table + "." + key : config::meant_key(table, key);
}

/// As that, of a table: "training."
std::string table_in_question(const std::string& name) {
  const std::string meant = config::meant_table(name);
  return meant.empty() ? meant : meant + ".";
}

// Files -------------------------------------------------------------------------------------------

/// Whether the value of a line begins as a word does: to TOML that is a broken `true` or `nan`.
bool is_bare_word(const std::string& text, toml::source_index line) {
  std::istringstream lines(text);
  std::string found;
  for (toml::source_index i = 0; i < line; ++i) std::getline(lines, found);
  const std::size_t equals = found.find('=');
  if (equals == std::string::npos) return false;
  const std::size_t value = found.find_first_not_of(" \t", equals + 1);
  return value != std::string::npos && std::isalpha(static_cast<unsigned char>(found[value])) != 0;
}

toml::table parse(const std::string& text, const std::string& file) {
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF") ||
      text.find('\0') != std::string::npos)
    fail_configuration(
        fmt::format("{}:1: not TOML: the file is UTF-16 or no text; save it as UTF-8", file));
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    const auto where = error.source().begin;
    fail_configuration(fmt::format(
        "{}:{}: not TOML (column {}): {}{}", file, where.line, where.column, error.description(),
        is_bare_word(text, where.line) ? "; a text stands in quotes" : ""));
  }
}

/// Tables that another file may hold, which the key `file` names and which is read first.
constexpr std::array<std::string_view, 2> kTablesWithFile = {"model", "loss_law"};

/// Sets what the document says. `only`: the one table that such a file has; empty: an input.
void apply(const toml::table& document, const std::string& file, std::string_view only,
           Parameters& parameters, config::Mistakes& mistakes) {
  FileProblems problems(file);
  for (const auto& [name_key, node] : document) {
    const std::string name(name_key.str());
    const toml::table* table = node.as_table();
    if (table == nullptr) {
      problems.add(node,
                   config::is_table_name(name)
                       ? fmt::format("{} is a table: write its keys under a line [{}]", name, name)
                       : config::key_outside_table(name));
      continue;
    }
    if (!config::is_table_name(name)) {
      problems.add(node, config::unknown_table(name), table_in_question(name));
      continue;
    }
    if (!only.empty() && name != only) {
      problems.add(node, fmt::format("a {0} file has a [{0}] table only, not [{1}]", only, name));
      continue;
    }
    for (const auto& [key, value] : *table) {
      if (!only.empty() && key.str() == "file")
        problems.add(value, fmt::format("a {0} file cannot name another in {0}.file", only));
      else if (std::string wrong = set_parameter(parameters, name, std::string(key.str()), value);
               !wrong.empty())
        problems.add(value, wrong, key_in_question(name, std::string(key.str())));
    }
  }
  problems.tell(mistakes);
}

/// Reads the file that `file` of the table names: beside the input when it exists there, else as
/// given.
void apply_file(std::string_view table, std::string named, const std::string& input_file,
                Parameters& parameters, config::Mistakes& mistakes) {
  // Nothing is known of the table without it.
  const auto cannot = [&](std::string what) {
    mistakes.add(std::move(what), fmt::format("{}.", table));
  };
  if (const std::string wrong = expand_home(named); !wrong.empty())
    return cannot(fmt::format("{}.file = \"{}\" {}", table, named, wrong));
  const auto is_file = [](const std::filesystem::path& path) {
    std::error_code ignored;
    return std::filesystem::is_regular_file(path, ignored);
  };
  const std::filesystem::path beside = std::filesystem::path(input_file).parent_path() / named;
  const std::filesystem::path path =
      is_file(beside) ? beside.lexically_normal() : std::filesystem::path(named);
  if (!is_file(path))
    return cannot(beside == std::filesystem::path(named)
                      ? fmt::format("{}.file = \"{}\" is not there", table, named)
                      : fmt::format("{}.file = \"{}\" is neither at {} nor at {}", table, named,
                                    beside.lexically_normal().string(), named));
  const std::optional<std::string> text = read_whole_file(path);
  if (!text) return cannot(fmt::format("{}.file = {} cannot be read", table, path.string()));
  apply(parse(*text, path.string()), path.string(), table, parameters, mistakes);
}

// Overrides ---------------------------------------------------------------------------------------

struct Override {
  std::string text, table, key, value;
};

Override split_override(const std::string& text) {
  const std::size_t equals = text.find('=');
  const std::string name = text.substr(0, equals);
  const std::size_t dot = name.find('.');
  if (equals == std::string::npos || dot == std::string::npos || dot == 0 ||
      dot + 1 == name.size() || name.find('.', dot + 1) != std::string::npos)
    throw Error(ExitStatus::usage,
                fmt::format("override \"{}\" is not of the form section.key=value, as in "
                            "training.steps=100",
                            text),
                Met::by_every_rank);
  return {text, name.substr(0, dot), name.substr(dot + 1), text.substr(equals + 1)};
}

/// The value as TOML, when it is exactly one TOML value.
std::optional<toml::table> as_toml(const std::string& value) {
  try {
    toml::table document = toml::parse("value = " + value);
    if (document.size() == 1 && document.contains("value")) return document;
  } catch (const toml::parse_error&) {
    // A bare word, like fineweb/train-00.h5: no TOML value, and meant as it stands.
  }
  return std::nullopt;
}

void apply_override(const Override& o, Parameters& parameters, config::Mistakes& mistakes) {
  const auto wrong_here = [&](const std::string& problem) {
    mistakes.add(fmt::format("override {}: {}", o.text, problem), key_in_question(o.table, o.key));
  };
  if (!config::is_table_name(o.table)) {
    mistakes.add(fmt::format("override {}: {}", o.text, config::unknown_table(o.table)),
                 table_in_question(o.table));
    return;
  }

  std::optional<toml::table> document = as_toml(o.value);
  // On the command line the shell takes the quotes: for a string (01:30:00, 42) the text counts.
  bool is_text = false;
  with_parameter(parameters, o.table, o.key,
                 [&]<class T>(const Field&, T&) { is_text = std::is_same_v<T, std::string>; });
  const bool bare = !document || (is_text && !document->get("value")->is_string());
  const bool quoted = !o.value.empty() && (o.value.front() == '"' || o.value.front() == '[' ||
                                           o.value.front() == '\'' || o.value.front() == '{');
  if (!document && quoted && !is_text) return wrong_here("the value is not TOML");
  if (bare) {
    toml::table text;
    text.insert("value", o.value);
    document = std::move(text);
  }
  if (const std::string wrong = set_parameter(parameters, o.table, o.key, *document->get("value"));
      !wrong.empty())
    wrong_here(wrong);
}

}  // namespace

config::Mistakes read_parameters_noting(const std::string& text, const std::string& file_name,
                                        std::span<const std::string> overrides,
                                        Parameters& parameters) {
  std::vector<Override> changes;
  for (const std::string& override_text : overrides)
    changes.push_back(split_override(override_text));
  const toml::table document = parse(text, file_name);
  config::Mistakes mistakes;

  // The model file comes first, and that of the loss law, so that the input may change single keys
  // of it; hence its name is looked up before anything is applied. The last word has the command
  // line.
  for (const std::string_view table : kTablesWithFile) {
    std::string file = document[table]["file"].value_or(std::string());
    for (const Override& change : changes) {
      if (change.table != table || change.key != "file") continue;
      Parameters scratch;
      config::Mistakes said_below;
      apply_override(change, scratch, said_below);
      file = table == "model" ? scratch.model.file : scratch.loss_law.file;
    }
    if (!file.empty()) apply_file(table, std::move(file), file_name, parameters, mistakes);
  }
  apply(document, file_name, {}, parameters, mistakes);
  for (const Override& change : changes) apply_override(change, parameters, mistakes);
  return mistakes;
}

void read_parameters(const std::string& text, const std::string& file_name,
                     std::span<const std::string> overrides, Parameters& parameters) {
  read_parameters_noting(text, file_name, overrides, parameters).throw_if_any();
}

}  // namespace espalier::io
