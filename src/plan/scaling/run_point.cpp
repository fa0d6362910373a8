// The point of a run: what its folder says of N, D and loss.
#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <optional>

#include "base/error.hpp"
#include "base/text.hpp"
#include "base/whole_file.hpp"
#include "config/parameters.hpp"
#include "io/checkpoint.hpp"
#include "io/toml_reader.hpp"
#include "model/architecture.hpp"
#include "plan/scaling/csv.hpp"
#include "plan/scaling/fit_points.hpp"

namespace espalier::plan {
namespace {

namespace fs = std::filesystem;

/// Columns of a table of a run, row by row, all of them numbers.
template <std::size_t N>
struct Table {
  std::vector<std::array<double, N>> rows;
  std::vector<std::int64_t> lines;
};

constexpr const char* kCut = "the run was stopped while it wrote, or the file was copied in part";

/// Throws Error (bad_data) where the file has other columns, a row that is cut off or text.
template <std::size_t N>
Table<N> read_table(const fs::path& path, const std::array<std::string_view, N>& columns) {
  const std::optional<std::string> text = read_whole_file(path);
  require(text.has_value(), ExitStatus::bad_data, "{}: cannot be read", path.string());
  const std::vector<CsvRow> rows = csv_rows(*text);
  require(!rows.empty(), ExitStatus::bad_data, "{}: is empty: {}", path.string(), kCut);
  std::array<std::size_t, N> places;
  for (std::size_t i = 0; i < N; ++i) {
    const auto& fields = rows.front().fields;
    const auto found = std::find(fields.begin(), fields.end(), columns[i]);
    require(found != fields.end(), ExitStatus::bad_data,
            "{}:{}: has no column {}: it is not a table that espalier train wrote", path.string(),
            rows.front().line, columns[i]);
    places[i] = static_cast<std::size_t>(found - fields.begin());
  }
  Table<N> table;
  for (const CsvRow& row : std::span(rows).subspan(1)) {
    require(!row.is_cut && row.fields.size() == rows.front().fields.size(), ExitStatus::bad_data,
            "{}:{}: the line is cut off: {}. Continue the run with espalier train, or leave it out",
            path.string(), row.line, kCut);
    auto& numbers = table.rows.emplace_back();
    table.lines.push_back(row.line);
    for (std::size_t i = 0; i < N; ++i) {
      const std::optional<double> value = csv_number(row.fields[places[i]]);
      require(value.has_value(), ExitStatus::bad_data, "{}:{}: {} is \"{}\" and not a number",
              path.string(), row.line, columns[i], row.fields[places[i]]);
      numbers[i] = *value;
    }
  }
  return table;
}

struct Step {
  std::int64_t step;
  double tokens, loss;
};

/// All steps of a run, without a gap.
std::vector<Step> read_history(const fs::path& folder) {
  const fs::path path = folder / "history.csv";
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    std::string hint;
    for (const auto& entry : fs::directory_iterator(folder, ignored))
      if (hint.empty() && fs::exists(entry.path() / "history.csv", ignored))
        hint = fmt::format(". There are runs in it: name them, as in {}/*", folder.string());
    fail(ExitStatus::bad_data, "{}: has no history.csv, so it is not the folder of a run{}",
         folder.string(), hint);
  }
  const auto table = read_table<3>(path, {"step", "tokens", "loss"});
  require(!table.rows.empty(), ExitStatus::bad_data,
          "{}: has no step: the run ended before its first one. Start it again, or leave it out",
          path.string());
  std::vector<Step> steps;
  for (std::size_t i = 0; i < table.rows.size(); ++i) {
    const auto& [step, tokens, loss] = table.rows[i];
    const std::int64_t expected = steps.empty() ? 1 : steps.back().step + 1;
    require(step == static_cast<double>(expected), ExitStatus::bad_data,
            "{}:{}: step {} where step {} is expected: rows are missing or out of order, so the "
            "file is not the whole history of a run",
            path.string(), table.lines[i], step, expected);
    steps.push_back({.step = expected, .tokens = tokens, .loss = loss});
  }
  return steps;
}

struct Described {
  double parameters;
  std::int64_t steps;  ///< that the run is to make
};

/// From the newest checkpoint, which has the input that the run used.
Described read_description(const fs::path& folder, bool with_embedding) {
  const std::optional<fs::path> checkpoint = io::checkpoint_at(folder);
  require(checkpoint.has_value(), ExitStatus::bad_data,
          "{}: has no complete checkpoint, from which the number of parameters is read. Let the "
          "run come to its end, or write it as a row of a CSV in place of its folder (columns "
          "parameters, tokens, loss)",
          folder.string());
  const io::CheckpointReader reader(*checkpoint);
  config::Parameters p;
  io::read_parameters(reader.info().resolved_input, (*checkpoint / "master.h5").string(), {}, p);
  const auto architecture = model::Architecture::from(p.model);
  return {.parameters = static_cast<double>(
              with_embedding ? architecture.num_active_parameters()
                             : architecture.num_active_parameters_without_embedding()),
          .steps = p.training.steps};
}

double mean_of_last_tenth(const std::vector<Step>& steps) {
  const std::size_t count = std::max<std::size_t>(1, steps.size() / 10);
  double sum = 0.0;
  for (std::size_t i = steps.size() - count; i < steps.size(); ++i) sum += steps[i].loss;
  return sum / static_cast<double>(count);
}

/// The last validation, and the tokens it came after.
Step last_validation(const fs::path& folder, const std::vector<Step>& steps,
                     const config::FitParameters& fit) {
  const fs::path path = folder / "validation.csv";
  constexpr const char* kRemedy =
      "Set data.validation and validation.interval so that the last step is validated, or use "
      "fit.loss=training";
  std::error_code ignored;
  require(fs::exists(path, ignored), ExitStatus::bad_data, "{}: has no validation.csv. {}",
          folder.string(), kRemedy);
  const auto table = read_table<2>(path, {"step", "loss"});
  require(!table.rows.empty(), ExitStatus::bad_data, "{}: has no validation. {}", path.string(),
          kRemedy);
  const auto [step, loss] = table.rows.back();
  const std::int64_t last = steps.back().step;
  require(step >= 1.0 && step <= static_cast<double>(last) &&
              (fit.unfinished || step == static_cast<double>(last)),
          ExitStatus::bad_data, "{}:{}: the last validation is of step {}, and the run has {}. {}",
          path.string(), table.lines.back(), step, last, kRemedy);
  Step at = steps[static_cast<std::size_t>(step) - 1];
  at.loss = loss;
  return at;
}

}  // namespace

FitPoint point_of_run(const std::string& named, const config::FitParameters& fit) {
  const fs::path folder = fs::path(named).lexically_normal();
  const std::vector<Step> steps = read_history(folder);
  const Described run = read_description(folder, fit.counts == "all");
  require(fit.unfinished || steps.back().step >= run.steps, ExitStatus::bad_data,
          "{}: is at step {} of {}: continue it with espalier train, or leave it out "
          "(fit.unfinished=true fits it as it is, with the loss of a schedule that was made for "
          "more tokens)",
          folder.string(), with_commas(steps.back().step), with_commas(run.steps));
  Step end = steps.back();
  if (fit.loss == "training")
    end.loss = mean_of_last_tenth(steps);
  else
    end = last_validation(folder, steps, fit);
  require(std::isfinite(end.loss) && end.loss > 0.0 && end.tokens > 0.0, ExitStatus::bad_data,
          "{}: its {} loss at step {} is {}: the run has diverged; leave it out", folder.string(),
          fit.loss, end.step, end.loss);
  const fs::path name = folder.has_filename() ? folder.filename() : folder.parent_path().filename();
  return {
      .name = name.string(), .parameters = run.parameters, .tokens = end.tokens, .loss = end.loss};
}

}  // namespace espalier::plan
