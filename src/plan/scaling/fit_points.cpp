#include "plan/scaling/fit_points.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <filesystem>
#include <optional>

#include "base/error.hpp"
#include "base/text.hpp"
#include "base/whole_file.hpp"
#include "plan/scaling/csv.hpp"

namespace espalier::plan {

namespace fs = std::filesystem;

namespace {

enum Column : std::uint8_t { kParameters, kTokens, kFlops, kLoss, kName, kNumColumns };
constexpr std::array<std::string_view, kNumColumns> kColumnNames = {"parameters", "tokens", "flops",
                                                                    "loss", "name"};

std::string in_lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

/// What the file calls each column.
std::array<std::string, kNumColumns> called(std::span<const std::string> columns) {
  std::array<std::string, kNumColumns> names;
  std::copy(kColumnNames.begin(), kColumnNames.end(), names.begin());
  for (const std::string& entry : columns) {
    const std::size_t equals = entry.find('=');
    const auto* const ours =
        std::find(kColumnNames.begin(), kColumnNames.end(), entry.substr(0, equals));
    require(equals != std::string::npos && equals + 1 < entry.size() && ours != kColumnNames.end(),
            ExitStatus::bad_configuration,
            "fit.columns has \"{}\": write one of {}, then = and what the file calls it, as in "
            "\"parameters=Model Size\"",
            entry, fmt::join(kColumnNames, ", "));
    names[static_cast<std::size_t>(ours - kColumnNames.begin())] = entry.substr(equals + 1);
  }
  return names;
}

using Places = std::array<std::optional<std::size_t>, kNumColumns>;

Places find_columns(const CsvRow& header, const std::string& file,
                    std::span<const std::string> columns) {
  const std::array<std::string, kNumColumns> names = called(columns);
  Places places;
  for (std::size_t column = 0; column < kNumColumns; ++column) {
    for (std::size_t i = 0; i < header.fields.size(); ++i) {
      if (in_lower_case(header.fields[i]) != in_lower_case(names[column])) continue;
      require(!places[column], ExitStatus::bad_data, "{}:{}: two columns are called {}", file,
              header.line, names[column]);
      places[column] = i;
    }
    require(places[column].has_value() || names[column] == kColumnNames[column],
            ExitStatus::bad_configuration,
            "fit.columns says that {} are called \"{}\", and {}:{} has no such column but {}",
            kColumnNames[column], names[column], file, header.line, fmt::join(header.fields, ", "));
  }
  const int num_of_n_d_c =
      places[kParameters].has_value() + places[kTokens].has_value() + places[kFlops].has_value();
  require(places[kLoss].has_value() && num_of_n_d_c >= 2, ExitStatus::bad_data,
          "{}:{}: the columns are {}; needed are loss and two of parameters, tokens and flops, "
          "separated by commas. Other names are told with fit.columns, as in "
          "'fit.columns=[\"parameters=Model Size\"]'",
          file, header.line, fmt::join(header.fields, ", "));
  return places;
}

/// The number of a column, which must be above 0; nothing when the file has no such column.
std::optional<double> number_in(const CsvRow& row, Column column, const Places& places,
                                const std::string& file) {
  if (!places[column]) return std::nullopt;
  const std::string& field = row.fields[*places[column]];
  const std::optional<double> value = csv_number(field);
  require(value.has_value() && std::isfinite(*value) && *value > 0.0, ExitStatus::bad_data,
          "{}:{}: {} is \"{}\", and a number above 0 is needed. Correct the row, or make it a "
          "comment with \"# \" in front",
          file, row.line, kColumnNames[column], field);
  return value;
}

bool is_history(const fs::path& path) {
  return path.filename() == "history.csv";
}

void require_different(std::span<const std::string> paths) {
  for (std::size_t i = 0; i < paths.size(); ++i)
    for (std::size_t k = 0; k < i; ++k) {
      std::error_code ignored;
      require(!fs::equivalent(paths[i], paths[k], ignored), ExitStatus::usage,
              "{} and {} are the same: a point would count twice", paths[k], paths[i]);
    }
}

}  // namespace

std::vector<FitPoint> points_of_csv(std::string_view text, const std::string& file,
                                    std::span<const std::string> columns) {
  const std::vector<CsvRow> rows = csv_rows(text);
  require(!rows.empty(), ExitStatus::bad_data,
          "{}: is empty; its first line names the columns: parameters, tokens and loss", file);
  const Places places = find_columns(rows.front(), file, columns);
  std::vector<FitPoint> points;
  for (const CsvRow& row : std::span(rows).subspan(1)) {
    require(row.fields.size() == rows.front().fields.size(), ExitStatus::bad_data,
            "{}:{}: has {} values, and the first line names {} columns", file, row.line,
            row.fields.size(), rows.front().fields.size());
    const auto n = number_in(row, kParameters, places, file);
    const auto d = number_in(row, kTokens, places, file);
    const auto c = number_in(row, kFlops, places, file);
    FitPoint point{.name = places[kName] ? row.fields[*places[kName]] : std::string(),
                   .parameters = n ? *n : *c / 6.0 / *d,
                   .tokens = d ? *d : *c / 6.0 / *n,
                   .loss = *number_in(row, kLoss, places, file)};
    if (point.name.empty())
      point.name = fmt::format("{}:{}", fs::path(file).filename().string(), row.line);
    points.push_back(std::move(point));
  }
  require(!points.empty(), ExitStatus::bad_data, "{}: has columns and no row", file);
  return points;
}

std::vector<FitPoint> read_points(std::span<const std::string> paths,
                                  const config::FitParameters& fit) {
  require_different(paths);
  std::vector<FitPoint> points;
  std::vector<std::pair<std::size_t, std::string>> runs;  // places in `points`, and paths
  std::string problems;
  for (const std::string& path : paths) {
    std::error_code ignored;
    if (fs::is_directory(path, ignored) || is_history(path)) {
      try {
        const fs::path folder = is_history(path) ? fs::path(path).parent_path() : fs::path(path);
        points.push_back(point_of_run(folder.empty() ? "." : folder.string(), fit));
        runs.emplace_back(points.size() - 1, path);
      } catch (const Error& error) {
        if (error.status() != ExitStatus::bad_data) throw;
        problems += fmt::format("{}{}", problems.empty() ? "" : "\n", error.what());
      }
      continue;
    }
    const std::optional<std::string> text = read_whole_file(path);
    require(text.has_value(), ExitStatus::bad_data,
            "{}: {}. Name run folders, or a CSV with the columns parameters, tokens and loss", path,
            fs::exists(path, ignored) ? "cannot be read" : "is not there");
    for (FitPoint& point : points_of_csv(*text, path, fit.columns))
      points.push_back(std::move(point));
  }
  require(problems.empty(), ExitStatus::bad_data, "{}", problems);
  // Runs of the same name in different folders go by their paths.
  for (const auto& [i, path] : runs)
    if (std::count_if(points.begin(), points.end(),
                      [&](const FitPoint& p) { return p.name == points[i].name; }) > 1)
      points[i].name = path;
  return points;
}

DividedPoints divide_points(std::vector<FitPoint> points, std::span<const std::string> hold_back) {
  std::vector<std::string> names;
  for (const FitPoint& point : points) names.push_back(point.name);
  for (const std::string& held : hold_back) {
    if (std::find(names.begin(), names.end(), held) != names.end()) continue;
    const std::string near = nearest_name(held, names);
    fail(ExitStatus::bad_configuration, "fit.hold_back names \"{}\", and no point is called so; {}",
         held,
         !near.empty()
             ? fmt::format("did you mean {}?", near)
             : fmt::format(
                   "they are called {}{}",
                   fmt::join(std::span(names).first(std::min<std::size_t>(names.size(), 8)), ", "),
                   names.size() > 8 ? ", ..." : ""));
  }
  DividedPoints divided;
  for (FitPoint& point : points) {
    const bool is_held =
        std::find(hold_back.begin(), hold_back.end(), point.name) != hold_back.end();
    (is_held ? divided.held_back : divided.fitted).push_back(std::move(point));
  }
  return divided;
}

}  // namespace espalier::plan
