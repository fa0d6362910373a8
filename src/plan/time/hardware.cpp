// Devices: which files there are, and what one says.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "base/error.hpp"
#include "base/text.hpp"
#include "base/whole_file.hpp"
#include "config/changes.hpp"
#include "io/toml_reader.hpp"
#include "plan/time/step_time.hpp"

namespace espalier::plan {
namespace {

namespace fs = std::filesystem;

/// Where the devices that come with the program are: in the working directory, and beside the
/// program, which lies in a build folder or a bundle.
std::vector<fs::path> device_folders() {
  std::vector<fs::path> folders = {fs::path("inputs") / "devices"};
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (!error)
    for (const fs::path& above : {program.parent_path(), program.parent_path().parent_path()})
      folders.push_back(above / "inputs" / "devices");
  return folders;
}

/// Names without ".toml", each with the first file there is of it.
std::map<std::string, fs::path> known_devices() {
  std::map<std::string, fs::path> devices;
  for (const fs::path& folder : device_folders()) {
    std::error_code error;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
         entry.increment(error))
      if (entry->path().extension() == ".toml")
        devices.emplace(entry->path().stem().string(), entry->path());
  }
  return devices;
}

fs::path file_of(const std::string& name) {
  std::error_code ignored;
  if (fs::is_regular_file(name, ignored)) return name;
  const auto devices = known_devices();
  if (const auto found = devices.find(name); found != devices.end()) return found->second;
  std::vector<std::string> names;
  std::string list;
  for (const auto& [known, path] : devices) {
    names.push_back(known);
    list += (list.empty() ? "" : ", ") + known;
  }
  const std::string near = nearest_name(name, names);
  throw Error(
      ExitStatus::bad_configuration,
      fmt::format("plan.device = \"{}\" is neither a file nor a device of inputs/devices{}; "
                  "there are: {}",
                  name, near.empty() ? "" : fmt::format(" (did you mean {}?)", near),
                  list.empty() ? "none" : list),
      Met::by_every_rank);
}

/// The first table but [hardware] in which a document sets anything; empty: none.
std::string other_table(const config::Parameters& p) {
  std::string found;
  const config::Parameters defaults;
  config::Parameters::tables(p, [&](std::string_view name, std::string_view, const auto& values) {
    if (!found.empty() || name == "hardware") return;
    if (!config::changes(name, std::decay_t<decltype(values)>(), values).empty()) found = name;
  });
  return found;
}

}  // namespace

config::HardwareParameters read_hardware(const std::string& name) {
  const fs::path path = file_of(name);
  const std::optional<std::string> text = read_whole_file(path.string());
  require(text.has_value(), ExitStatus::bad_configuration, "the device file {} cannot be read",
          path.string());
  config::Parameters document;
  io::read_parameters(*text, path.string(), {}, document);
  const std::string other = other_table(document);
  if (!other.empty() || document.hardware.name.empty())
    throw Error(
        ExitStatus::bad_configuration,
        other.empty()
            ? fmt::format("{} is no device file: its table [hardware] has no name", path.string())
            : fmt::format("{}: a device file has a [hardware] table only, not [{}]", path.string(),
                          other),
        Met::by_every_rank);
  return document.hardware;
}

std::vector<config::HardwareParameters> hardware_of(const config::Parameters& parameters) {
  std::vector<config::HardwareParameters> all;
  for (const std::string& name : parameters.plan.device) all.push_back(read_hardware(name));
  if (all.empty() && !parameters.hardware.name.empty()) all.push_back(parameters.hardware);
  if (all.empty())
    throw Error(ExitStatus::bad_configuration,
                "no device is named: set plan.device, to \"b200\" (of inputs/devices) or to a file "
                "with a [hardware] table",
                Met::by_every_rank);
  return all;
}

}  // namespace espalier::plan
