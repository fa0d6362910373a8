#include "io/corpus_manifest.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.hpp"

namespace espalier::io {
namespace {

using Json = nlohmann::ordered_json;
constexpr const char* kFormat = "espalier tokenize manifest";
constexpr int kVersion = 1;

/// JSON holds UTF-8 only, and a path may be any bytes: such a one is a list of numbers.
Json json_of_path(const std::string& path) {
  try {
    (void)Json(path).dump();
    return path;
  } catch (const Json::exception&) {
    return std::vector<unsigned char>(path.begin(), path.end());
  }
}

std::string path_of_json(const Json& json) {
  if (json.is_string()) return json.get<std::string>();
  const auto bytes = json.get<std::vector<unsigned char>>();
  return {bytes.begin(), bytes.end()};
}

}  // namespace

std::string CorpusManifest::text() const {
  Json json{{"format", kFormat}, {"version", kVersion}};
  Json& named = json["settings"] = Json::object();
  for (const auto& [name, value] : settings) named[name] = value;
  json["bytes_per_token"] = bytes_per_token;
  Json& all_files = json["files"] = Json::array();
  for (const File& file : files)
    all_files.push_back(Json::array({json_of_path(file.path), file.num_bytes, file.mtime_ns}));
  Json& all_units = json["units"] = Json::array();
  for (const Unit& unit : units) {
    Json parts = Json::array();
    for (const Part& part : unit)
      parts.push_back(Json::array({part.file, part.range.begin, part.range.end}));
    all_units.push_back(std::move(parts));
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

CorpusManifest CorpusManifest::parse(const std::string& text, const std::string& where) {
  CorpusManifest manifest;
  try {
    const Json json = Json::parse(text);
    require(json.at("format") == kFormat && json.at("version") == kVersion, ExitStatus::bad_data,
            "{}: is no manifest of this version of the program", where);
    for (const auto& item : json.at("settings").items())
      manifest.settings.emplace_back(item.key(), item.value().get<std::string>());
    manifest.bytes_per_token = json.at("bytes_per_token").get<double>();
    for (const Json& file : json.at("files"))
      manifest.files.push_back({path_of_json(file.at(0)), file.at(1).get<std::uint64_t>(),
                                file.at(2).get<std::int64_t>()});
    for (const Json& unit : json.at("units")) {
      Unit& parts = manifest.units.emplace_back();
      for (const Json& part : unit) {
        const auto file = part.at(0).get<std::uint64_t>();
        require(file < manifest.files.size(), ExitStatus::bad_data, "{}: is damaged", where);
        parts.push_back({file, {part.at(1).get<std::uint64_t>(), part.at(2).get<std::uint64_t>()}});
      }
    }
  } catch (const Json::exception& error) {
    fail(ExitStatus::bad_data, "{}: is damaged, or no manifest: {}", where, error.what());
  }
  return manifest;
}

std::string CorpusManifest::difference(const CorpusManifest& earlier) const {
  const auto value_of = [](const CorpusManifest& manifest, const std::string& name) {
    for (const auto& [known, value] : manifest.settings)
      if (known == name) return value;
    return std::string("not there");
  };
  for (const auto& [name, value] : settings)
    if (const std::string before = value_of(earlier, name); before != value)
      return fmt::format("{} was {} and is {}", name, before, value);
  if (files.size() != earlier.files.size())
    return fmt::format("there were {} input files and are {}", earlier.files.size(), files.size());
  for (std::size_t i = 0; i < files.size(); ++i) {
    const File &now = files[i], &before = earlier.files[i];
    if (now.path != before.path)
      return fmt::format("input file {} was {} and is {}", i, before.path, now.path);
    if (now.num_bytes != before.num_bytes)
      return fmt::format("{} had {} bytes and has {}", now.path, before.num_bytes, now.num_bytes);
    if (now.mtime_ns != before.mtime_ns) return fmt::format("{} was written anew", now.path);
  }
  if (units != earlier.units || bytes_per_token != earlier.bytes_per_token)
    return "the same inputs are cut otherwise, by another version of the program";
  return {};
}

std::uint64_t CorpusManifest::unit_bytes(const Unit& unit) const {
  std::uint64_t sum = 0;
  for (const Part& part : unit) {
    const std::uint64_t size = files[part.file].num_bytes;
    sum += std::min(part.range.end, size) - std::min(part.range.begin, size);
  }
  return sum;
}

}  // namespace espalier::io
