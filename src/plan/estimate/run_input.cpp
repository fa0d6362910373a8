#include "plan/estimate/run_input.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

#include "base/error.hpp"
#include "base/text.hpp"
#include "io/output_file.hpp"

namespace espalier::plan {
namespace {

constexpr std::size_t kColumns = 100;
/// Said even where they are the default.
constexpr std::array<std::string_view, 6> kLayoutKeys = {"parallel.tensor",
                                                         "parallel.data",
                                                         "parallel.sequence_parallel",
                                                         "parallel.zero_stage",
                                                         "training.micro_batch_size",
                                                         "memory.recompute"};

template <class List>
bool has(const List& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

/// A key of a table: "tensor = 2", and what it means.
struct Line {
  std::string text;
  std::string_view meaning;
};

/// "# ..." broken at spaces.
std::string comment_of(std::string_view words) {
  std::string text, line = "#";
  while (!words.empty()) {
    const std::size_t end = std::min(words.find(' '), words.size());
    if (line.size() + 1 + end > kColumns) {
      text += line + "\n";
      line = "#";
    }
    line += fmt::format(" {}", words.substr(0, end));
    words.remove_prefix(std::min(end + 1, words.size()));
  }
  return text + line + "\n";
}

/// The lines of a table with their meanings behind them, in a column, as far as the line has room;
/// a longer meaning is cut at its first semicolon or, where that does not do, stands in front.
std::string print(const std::vector<Line>& lines) {
  constexpr std::size_t kWidest = 40;
  std::size_t width = 0;
  for (const Line& line : lines)
    if (line.text.size() <= kWidest) width = std::max(width, line.text.size());
  std::string text;
  for (const auto& [key, whole] : lines) {
    const std::size_t room = kColumns - std::min(kColumns, std::max(width, key.size()) + 4);
    const std::string_view part = whole.substr(0, whole.find(';'));
    const bool cuts = whole.size() > room && !whole.starts_with("0:");
    const std::string_view meaning = cuts ? part : whole;
    if (meaning.size() > room)
      text += comment_of(whole) + key + "\n";
    else
      text += fmt::format("{:<{}}  # {}\n", key, width, meaning);
  }
  return text;
}

std::string name_of(const config::Parameters& p) {
  return p.run.name.empty() ? p.model.model_type : p.run.name;
}

std::string expectations(const Layout& layout, const config::HardwareParameters& hardware) {
  const config::Parameters& p = layout.parameters;
  const Estimate& e = layout.estimate;
  return fmt::format(
      "# {} on {} x {}, as `espalier plan grid` lays it out:\n"
      "# {}.\n"
      "#\n"
      "# Expected: {} of memory on a device, {:.4g} s a step, {} tokens/s,\n"
      "#           MFU {:.1f} % ({:.1f} % full attention), {:.4g} h, {:.4g} device-hours,\n"
      "#           loss {:.3f} after {:.4g} tokens\n"
      "# Loss by:  {}\n",
      name_of(p), with_commas(e.ranks), hardware.name, describe_layout(p),
      human_bytes(static_cast<double>(e.memory_bytes)), e.step(),
      with_commas(static_cast<std::int64_t>(e.tokens_per_second)), 100.0 * e.mfu_causal,
      100.0 * e.mfu_full, e.hours, e.device_hours(), expected_loss(p),
      static_cast<double>(p.training.steps * p.training.global_batch_size) *
          static_cast<double>(p.training.sequence_length),
      p.loss_law.name);
}

}  // namespace

std::string run_input(const Layout& layout, const config::HardwareParameters& hardware) {
  std::string text = expectations(layout, hardware);
  const config::Parameters defaults;
  std::vector<std::string> standard;  // in the order in which all keys are visited
  const auto visit = [](const config::Parameters& p, auto&& with) {
    config::Parameters::tables(p, [&](std::string_view table, std::string_view, const auto& of) {
      std::decay_t<decltype(of)>::describe(
          of, [&](const config::Field& field, const auto& value) { with(table, field, value); });
    });
  };
  visit(defaults, [&](std::string_view, const config::Field&, const auto& value) {
    standard.push_back(config::toml_value(value));
  });
  std::string table_now;
  std::vector<Line> lines;
  const auto end_table = [&] {
    if (!lines.empty()) text += fmt::format("\n[{}]\n", table_now) + print(lines);
    lines.clear();
  };
  auto known = standard.begin();
  visit(layout.parameters,
        [&](std::string_view table, const config::Field& field, const auto& value) {
          const std::string own = config::toml_value(value);
          const bool is_default = own == *known++;
          const std::string key = fmt::format("{}.{}", table, field.name);
          // What the files of model and law gave stands here; whether steps came from tokens does
          // not matter any more.
          if (key == "model.file" || key == "loss_law.file") return;
          if (config::is_of_plans(table) && table != "loss_law") return;
          if (is_default && !has(kLayoutKeys, key)) return;
          if (table != table_now) end_table();
          table_now = table;
          lines.push_back({fmt::format("{} = {}", field.name, own), field.meaning});
        });
  end_table();
  return text;
}

std::string run_input_name(const Layout& layout, const config::HardwareParameters& hardware) {
  const std::string words =
      fmt::format("{}-{}-{}", name_of(layout.parameters), layout.estimate.ranks, hardware.name);
  std::string name;
  for (const char c : words) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || c == '.' || c == '_')
      name += static_cast<char>(std::tolower(byte));
    else if (!name.empty() && name.back() != '-')
      name += '-';
  }
  name.erase(name.find_last_not_of('-') + 1);
  return name;
}

namespace {

std::filesystem::path path_of(const std::string& folder, const Layout& layout,
                              const config::HardwareParameters& hardware) {
  return std::filesystem::path(folder) / (run_input_name(layout, hardware) + ".toml");
}

}  // namespace

void require_new_run_input(const std::string& folder, const Layout& layout,
                           const config::HardwareParameters& hardware) {
  std::error_code ignored;
  if (std::filesystem::exists(std::filesystem::symlink_status(folder, ignored)))
    io::require_new_output(path_of(folder, layout, hardware), "plan.write");
}

std::string write_run_input(const std::string& folder, const Layout& layout,
                            const config::HardwareParameters& hardware) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::create_directories(folder, error);
  require(!error, ExitStatus::io_error, "plan.write = \"{}\" cannot be made a folder: {}", folder,
          error.message());
  const std::string path = path_of(folder, layout, hardware).string();
  io::require_new_output(path, "plan.write");
  // x: another program that makes it at the same moment is not overwritten either.
  errno = 0;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "wx"), std::fclose);
  require(file != nullptr, ExitStatus::io_error, "{} cannot be written: {}", path,
          std::strerror(errno));
  const std::string text = run_input(layout, hardware);
  const bool written = std::fwrite(text.data(), 1, text.size(), file.get()) == text.size();
  require(std::fclose(file.release()) == 0 && written, ExitStatus::io_error,
          "{} cannot be written: {}", path, std::strerror(errno));
  return path;
}

}  // namespace espalier::plan
