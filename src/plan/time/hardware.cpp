#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <set>

#include "base/error.hpp"
#include "base/text.hpp"
#include "base/whole_file.hpp"
#include "config/changes.hpp"
#include "io/toml_reader.hpp"
#include "plan/time/step_time.hpp"

namespace espalier::plan {
namespace {

namespace fs = std::filesystem;

template <class... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ExitStatus::bad_configuration, fmt::format(format, std::forward<Args>(args)...),
              Met::by_every_rank);
}

/// Where names of devices are looked up, first to last: the working directory, then beside the
/// program, of which a build tree and a bundle lie in a folder of the source's, and an installation
/// has its own.
std::vector<fs::path> device_folders() {
  std::vector<fs::path> folders = {"inputs/devices"};
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (!error)
    for (const char* beside : {"../inputs/devices", "../share/espalier/devices"})
      folders.push_back((program.parent_path() / beside).lexically_normal());
  return folders;
}

/// Names of the device files there are.
std::vector<std::string> device_names() {
  std::set<std::string> names;
  for (const fs::path& folder : device_folders()) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error))
      if (entry.path().extension() == ".toml") names.insert(entry.path().stem().string());
  }
  return {names.begin(), names.end()};
}

fs::path path_of(const std::string& name) {
  std::error_code error;
  const bool is_path = name.find('/') != std::string::npos || name.ends_with(".toml");
  if (fs::is_regular_file(name, error)) return name;
  if (is_path) refuse("the device file {} is not there", name);
  for (const fs::path& folder : device_folders())
    if (fs::path file = folder / (name + ".toml"); fs::is_regular_file(file, error)) return file;
  const std::vector<std::string> names = device_names();
  if (names.empty()) {
    std::string looked;
    for (const fs::path& folder : device_folders())
      looked += (looked.empty() ? "" : ", ") + folder.string();
    refuse(
        "no device \"{}\": there are no device files (looked in {}). Start the command in the "
        "source's folder, or name a file with a [hardware] table",
        name, looked);
  }
  std::string all;
  for (const std::string& known : names) all += (all.empty() ? "" : ", ") + known;
  const std::string nearest = nearest_name(name, names);
  refuse("no device \"{}\"{}. There are {}; or name a file with a [hardware] table", name,
         nearest.empty() ? "" : fmt::format("; did you mean \"{}\"?", nearest), all);
}

/// The first table but [hardware] in which a document sets anything; empty: none.
std::string other_table(const config::Parameters& document) {
  std::string found;
  config::Parameters::tables(
      document, [&](std::string_view table, std::string_view, const auto& values) {
        if (!found.empty() || table == "hardware") return;
        if (!config::changes(table, std::decay_t<decltype(values)>(), values).empty())
          found = table;
      });
  return found;
}

config::HardwareParameters read_file(const fs::path& path) {
  const std::optional<std::string> text = read_whole_file(path);
  if (!text) refuse("the device file {} cannot be read: {}", path.string(), std::strerror(errno));
  config::Parameters document;
  io::read_parameters(*text, path.string(), {}, document);
  config::HardwareParameters hardware = document.hardware;
  if (hardware.name.empty())
    refuse(
        "{} describes no device: it needs a [hardware] table with a name (see inputs/devices and "
        "`espalier help parameters hardware`)",
        path.string());
  if (const std::string other = other_table(document); !other.empty())
    refuse("{}: the file of a device has a [hardware] table only, not [{}]", path.string(), other);
  return hardware;
}

}  // namespace

config::HardwareParameters read_hardware(const std::string& name) {
  if (name.empty()) refuse("plan.device holds an empty name");
  return read_file(path_of(name));
}

std::vector<config::HardwareParameters> hardware_of(const config::Parameters& parameters) {
  std::vector<config::HardwareParameters> devices;
  for (const std::string& name : parameters.plan.device) devices.push_back(read_hardware(name));
  if (!devices.empty()) return devices;
  if (parameters.hardware.name.empty()) {
    std::string all;
    for (const std::string& known : device_names()) all += (all.empty() ? "" : ", ") + known;
    refuse(
        "which device? Give --device NAME (plan.device){}, or describe one in the input's "
        "[hardware] table, name first",
        all.empty() ? "" : ", one of " + all);
  }
  return {parameters.hardware};
}

}  // namespace espalier::plan
