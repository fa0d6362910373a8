#include "commands/plan_search_table.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <functional>

#include "base/text.hpp"

namespace espalier::commands {
namespace {

using plan::OnDevice;
using plan::PlannedCandidate;
using plan::SearchOnDevices;
using plan::SearchSpace;
using report::Cell;
using report::Format;

struct Row {
  std::size_t number;  ///< from 1
  const PlannedCandidate& planned;
};
/// A column, and what stands in it.
struct Shown {
  report::Column column;
  bool for_people;  ///< in text and Markdown; CSV and JSON have all columns
  std::function<Cell(const Row&)> cell;
};

Cell whole(std::int64_t value) {
  return {static_cast<double>(value), std::to_string(value)};
}
Cell in_billions(double value) {
  return {value, fmt::format("{:.3f}", 1e-9 * value)};
}

/// "" of a figure that is not known.
Cell known(bool is_known, double value, const std::string& shown) {
  return is_known ? Cell(value, shown) : Cell();
}

bool is_timed(const OnDevice& on) {
  return on.verdict == OnDevice::Verdict::possible || on.verdict == OnDevice::Verdict::too_long;
}

/// What a person compares devices by.
std::string hours_in_words(const OnDevice& on) {
  switch (on.verdict) {
    case OnDevice::Verdict::possible:
      return fmt::format("{:.1f} h", on.layout.estimate.hours);
    case OnDevice::Verdict::too_long:
      return fmt::format("too long ({:.0f} h)", on.layout.estimate.hours);
    case OnDevice::Verdict::too_large:
      return "too large";
    case OnDevice::Verdict::no_layout:
      return "no layout";
  }
  return {};
}

void add_device_columns(std::vector<Shown>& columns, const SearchOnDevices& devices) {
  // Of several devices people see the hours, or why not; programs see everything of each.
  const bool is_alone = devices.devices.size() == 1;
  for (std::size_t i = 0; i < devices.devices.size(); ++i) {
    const std::string name = devices.devices[i].name;
    const auto add = [&](const char* key, const std::string& shown, bool for_people, auto&& cell) {
      columns.push_back({{name + "_" + key, shown}, for_people, [i, cell](const Row& row) {
                           return cell(row.planned.on[i]);
                         }});
    };
    if (!is_alone)
      add("in_words", name, true, [](const OnDevice& on) { return Cell(hours_in_words(on)); });
    add("memory_bytes", "GiB", is_alone, [](const OnDevice& on) {
      const std::int64_t bytes = on.layout.estimate.memory_bytes;
      return known(on.verdict != OnDevice::Verdict::no_layout, static_cast<double>(bytes),
                   fmt::format("{:.1f}", static_cast<double>(bytes) / (1 << 30)));
    });
    add("hours", "hours", is_alone, [](const OnDevice& on) {
      const double hours = on.layout.estimate.hours;
      return known(is_timed(on), hours, fmt::format("{:.1f}", hours));
    });
    add("tokens_per_second", "tokens/s", false, [](const OnDevice& on) {
      const double rate = on.layout.estimate.tokens_per_second;
      return known(is_timed(on), rate, fmt::format("{:.0f}", rate));
    });
    add("mfu_causal", "MFU", false, [](const OnDevice& on) {
      const double mfu = on.layout.estimate.mfu_causal;
      return known(is_timed(on), mfu, fmt::format("{:.1f}", 100.0 * mfu));
    });
    add("layout", "layout", false, [](const OnDevice& on) {
      return is_timed(on) ? Cell(plan::describe_layout(on.layout.parameters)) : Cell();
    });
  }
}

std::vector<Shown> columns_of(const SearchSpace& space, const SearchOnDevices& devices) {
  const auto architecture = [](auto member) {
    return [member](const Row& row) { return whole(row.planned.candidate.architecture.*member); };
  };
  const auto candidate = [](auto&& cell) {
    return [cell](const Row& row) { return cell(row.planned.candidate); };
  };
  using model::Architecture;
  using plan::Candidate;
  // Lines have 100 columns: several devices take the place of what follows from other columns.
  const bool has_place = devices.devices.size() < 2;
  std::vector<Shown> columns;
  columns.push_back({{"row", "row"}, true, [](const Row& row) {
                       return whole(static_cast<std::int64_t>(row.number));
                     }});
  columns.push_back({{"loss", "loss"}, true, candidate([](const Candidate& c) {
                       return Cell(c.loss, fmt::format("{:.6f}", c.loss));
                     })});
  columns.push_back({{"parameters", "N/1e9"}, true, candidate([](const Candidate& c) {
                       return in_billions(c.parameters);
                     })});
  columns.push_back({{"law_parameters", "N of the law/1e9"},
                     !space.law_counts_embedding,
                     candidate([](const Candidate& c) { return in_billions(c.law_parameters); })});
  columns.push_back({{"tokens", "D/1e9"}, true, candidate([](const Candidate& c) {
                       return in_billions(c.tokens);
                     })});
  columns.push_back({{"num_hidden_layers", "L"}, true, architecture(&Architecture::num_layers)});
  columns.push_back({{"hidden_size", "H"}, true, architecture(&Architecture::hidden_size)});
  columns.push_back({{"num_attention_heads", "A"}, true, architecture(&Architecture::num_heads)});
  columns.push_back(
      {{"num_key_value_heads", "K"}, false, architecture(&Architecture::num_kv_heads)});
  columns.push_back({{"head_dim", "head"}, has_place, architecture(&Architecture::head_dim)});
  columns.push_back(
      {{"intermediate_size", "F"}, has_place, architecture(&Architecture::intermediate)});
  columns.push_back({{"chinchilla_ratio", "D/N/20"}, true, candidate([](const Candidate& c) {
                       return Cell(c.chinchilla_ratio(),
                                   fmt::format("{:.1f}", c.chinchilla_ratio()));
                     })});
  columns.push_back({{"flops", "FLOPs"}, false, candidate([](const Candidate& c) {
                       return Cell(c.flops, fmt::format("{:.4e}", c.flops));
                     })});
  const double budget = space.budget;
  columns.push_back({{"budget_error", "off, %"}, has_place, candidate([budget](const Candidate& c) {
                       return Cell(c.flops / budget - 1.0,
                                   fmt::format("{:+.2f}", 100.0 * (c.flops / budget - 1.0)));
                     })});
  add_device_columns(columns, devices);
  return columns;
}

/// "16 to 62 (24 of them)", "24, 32"
std::string numbers_in_words(const std::vector<std::int64_t>& numbers) {
  if (numbers.size() <= 4) return fmt::format("{}", fmt::join(numbers, ", "));
  const auto [low, high] = std::minmax_element(numbers.begin(), numbers.end());
  return fmt::format("{} to {} ({} of them)", *low, *high, numbers.size());
}

}  // namespace

std::string search_table(const config::Parameters& p, const SearchSpace& space,
                         const SearchOnDevices& devices, Format format) {
  const std::vector<Shown> all = columns_of(space, devices);
  std::vector<report::Column> columns;
  std::vector<const Shown*> shown;
  for (const Shown& column : all)
    if (column.for_people || !is_for_people(format)) {
      columns.push_back(column.column);
      shown.push_back(&column);
    }
  report::Table table(columns);
  const auto selected = static_cast<std::size_t>(p.plan.write_row - 1);
  const auto most = p.plan.rows == 0 || !is_for_people(format)
                        ? devices.possible.size()
                        : static_cast<std::size_t>(p.plan.rows);
  for (std::size_t i = 0; i < devices.possible.size(); ++i) {
    if (i >= most && i != selected) continue;
    if (i == selected) table.mark(table.num_rows());
    std::vector<Cell> cells;
    for (const Shown* column : shown) cells.push_back(column->cell({i + 1, devices.possible[i]}));
    table.add(std::move(cells));
  }
  return table.print(format);
}

std::string search_statistics(const config::Parameters& p, const SearchSpace& space,
                              const plan::SearchResult& result, const SearchOnDevices& devices,
                              Format format) {
  report::Table table({{"statistic", "statistic"}, {"count", "count"}, {"of", "of"}});
  const auto add = [&](const char* name, std::int64_t count, const std::string& of) {
    table.add({name, Cell(static_cast<double>(count), with_commas(count)), of});
  };
  add("tried", result.num_shapes,
      fmt::format("shapes, with {} numbers of tokens each", with_commas(std::ssize(space.tokens))));
  if (space.parameter_range)
    add("sized", result.num_sized_shapes,
        fmt::format("shapes of {:.4g} to {:.4g} parameters", space.parameter_range->first,
                    space.parameter_range->second));
  if (space.chinchilla_range)
    add("filtered", result.num_in_range,
        fmt::format("of {} pairs have {:.4g} to {:.4g} times 20 tokens per parameter",
                    with_commas(result.num_pairs), space.chinchilla_range->first,
                    space.chinchilla_range->second));
  add("passed", std::ssize(result.candidates),
      fmt::format("shapes spend the budget within {:.4g} %", 100.0 * space.tolerance));
  std::string of = "shapes, each with its best number of tokens";
  if (!devices.devices.empty()) {
    of = "shapes that a device can train";
    if (p.plan.hours > 0.0) of += fmt::format(" in {:.4g} h", p.plan.hours);
    if (devices.num_not_asked > 0)
      of += fmt::format(", of the first {} (plan.rows=0 asks all)",
                        with_commas(std::ssize(devices.possible) + std::ssize(devices.dropped)));
  }
  add("candidates", std::ssize(devices.possible), of);
  return table.print(format);
}

std::string describe_search(const config::Parameters& p, const SearchSpace& space) {
  const model::Architecture& base = space.base;
  return fmt::format(
      "{}: {:.6g} FLOPs within {:.4g} %, {} count, sequences of {} tokens\n"
      "  model   {}, V {}{}, K {}\n"
      "  shapes  L {}, H {}, heads of {}, F {:.4g} H{}\n"
      "  tokens  {:.4g} to {:.4g}, {} numbers, {} spacing\n"
      "  loss    {} + {}/N^{} + {}/D^{}{}\n"
      "          {}\n",
      p.run.name, space.budget, 100.0 * space.tolerance, plan::convention_name(space.convention),
      space.sequence_length, base.model_type, base.vocab_size, base.tied ? " tied" : "",
      base.num_kv_heads == 0 ? std::string("= A") : std::to_string(base.num_kv_heads),
      numbers_in_words(space.layers), numbers_in_words(space.hidden_sizes),
      numbers_in_words(space.head_dims), space.intermediate_ratio,
      space.intermediate_multiple > 1
          ? fmt::format(" in multiples of {}", space.intermediate_multiple)
          : "",
      space.tokens.front(), space.tokens.back(), space.tokens.size(), p.search.tokens_spacing,
      space.law.e, space.law.a, space.law.alpha, space.law.b, space.law.beta,
      space.law_counts_embedding ? "" : ", N without embeddings", p.loss_law.name);
}

std::string describe_selected(const config::Parameters& p, const SearchOnDevices& devices) {
  const auto selected = static_cast<std::size_t>(p.plan.write_row - 1);
  const PlannedCandidate& row = devices.possible[selected];
  std::string text;
  for (std::size_t i = 0; i < devices.devices.size(); ++i)
    if (row.on[i].verdict == OnDevice::Verdict::possible)
      text +=
          fmt::format("row {} on {} x {}: {}\n", p.plan.write_row, devices.ranks,
                      devices.devices[i].name, plan::describe_layout(row.on[i].layout.parameters));
  const std::int64_t more = std::ssize(devices.possible) - p.plan.rows;
  if (p.plan.rows > 0 && more > 0)
    text += fmt::format("{} more rows: plan.rows=0 shows them\n", more);
  return text;
}

}  // namespace espalier::commands
