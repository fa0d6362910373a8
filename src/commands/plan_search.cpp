// espalier plan search: the shapes and tokens with the lowest expected loss for a budget of FLOPs.
#include <fmt/ranges.h>

#include <functional>

#include "base/log.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "io/output_file.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "plan/estimate/search_on_devices.hpp"
#include "plan/scaling/candidate_input.hpp"
#include "plan/scaling/nearest_miss.hpp"
#include "plan/scaling/search_chart.hpp"
#include "plan/scaling/search_space.hpp"
#include "report/table.hpp"

namespace espalier::commands {
namespace {

using plan::OnDevice;
using plan::PlannedCandidate;
using plan::SearchOnDevices;
using plan::SearchSpace;
using report::Cell;
using report::Format;

// The table of candidates ------------------------------------------------------------------------

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

std::string describe_layout(const config::Parameters& p) {
  return fmt::format("tensor {} x data {}, micro-batch {}, recompute {}, ZeRO-{}",
                     p.parallel.tensor, p.parallel.data, p.training.micro_batch_size,
                     p.memory.recompute, p.parallel.zero_stage);
}

/// "" of a figure that is not known.
Cell known(bool is_known, double value, const std::string& shown) {
  return is_known ? Cell(value, shown) : Cell();
}

void add_device_columns(std::vector<Shown>& columns, const SearchOnDevices& devices) {
  for (std::size_t i = 0; i < devices.devices.size(); ++i) {
    const std::string name = devices.devices[i].name;
    // With one device its name stands above the table.
    const std::string heading = devices.devices.size() == 1 ? "" : name + " ";
    const auto add = [&](const char* key, const std::string& shown, bool for_people, auto&& cell) {
      columns.push_back({{name + "_" + key, heading + shown},
                         for_people,
                         [i, cell](const Row& row) { return cell(row.planned.on[i]); }});
    };
    add("memory_bytes", "GiB", true, [](const OnDevice& on) {
      const std::int64_t bytes = on.layout.estimate.memory_bytes;
      return known(on.verdict != OnDevice::Verdict::no_layout, static_cast<double>(bytes),
                   fmt::format("{:.1f}", static_cast<double>(bytes) / (1 << 30)));
    });
    const auto is_timed = [](const OnDevice& on) {
      return on.verdict == OnDevice::Verdict::possible || on.verdict == OnDevice::Verdict::too_long;
    };
    add("hours", "hours", true, [is_timed](const OnDevice& on) {
      const double hours = on.layout.estimate.hours;
      return known(is_timed(on), hours, fmt::format("{:.1f}", hours));
    });
    add("tokens_per_second", "tokens/s", false, [is_timed](const OnDevice& on) {
      const double rate = on.layout.estimate.tokens_per_second;
      return known(is_timed(on), rate, fmt::format("{:.0f}", rate));
    });
    add("mfu_causal", "MFU", false, [is_timed](const OnDevice& on) {
      const double mfu = on.layout.estimate.mfu_causal;
      return known(is_timed(on), mfu, fmt::format("{:.1f}", 100.0 * mfu));
    });
    add("layout", "layout", false, [is_timed](const OnDevice& on) {
      return is_timed(on) ? Cell(describe_layout(on.layout.parameters)) : Cell("does not fit");
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
  columns.push_back({{"head_dim", "head"}, true, architecture(&Architecture::head_dim)});
  columns.push_back({{"intermediate_size", "F"}, true, architecture(&Architecture::intermediate)});
  columns.push_back({{"chinchilla_ratio", "D/N/20"}, true, candidate([](const Candidate& c) {
                       return Cell(c.chinchilla_ratio(),
                                   fmt::format("{:.1f}", c.chinchilla_ratio()));
                     })});
  columns.push_back({{"flops", "FLOPs"}, false, candidate([](const Candidate& c) {
                       return Cell(c.flops, fmt::format("{:.4e}", c.flops));
                     })});
  const double budget = space.budget;
  columns.push_back({{"budget_error", "off, %"}, true, candidate([budget](const Candidate& c) {
                       return Cell(c.flops / budget - 1.0,
                                   fmt::format("{:+.2f}", 100.0 * (c.flops / budget - 1.0)));
                     })});
  add_device_columns(columns, devices);
  return columns;
}

bool is_for_people(Format format) {
  return format == Format::text || format == Format::markdown;
}

/// People get plan.rows of them and the selected one; programs get all.
std::string table_of(const config::Parameters& p, const SearchSpace& space,
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

// Statistics and words ----------------------------------------------------------------------------

std::string statistics_of(const config::Parameters& p, const SearchSpace& space,
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
  add("candidates", std::ssize(devices.possible),
      devices.devices.empty()
          ? std::string("shapes, each with its best number of tokens")
          : fmt::format("shapes that a device can train{}",
                        p.plan.hours > 0.0 ? fmt::format(" in {:.4g} h", p.plan.hours) : ""));
  return table.print(format);
}

/// "16 to 62 (24 of them)", "24, 32"
std::string numbers_in_words(const std::vector<std::int64_t>& numbers) {
  if (numbers.size() <= 4) return fmt::format("{}", fmt::join(numbers, ", "));
  const auto [low, high] = std::minmax_element(numbers.begin(), numbers.end());
  return fmt::format("{} to {} ({} of them)", *low, *high, numbers.size());
}

std::string space_in_words(const config::Parameters& p, const SearchSpace& space) {
  const model::Architecture& base = space.base;
  return fmt::format(
      "{}: {:.6g} FLOPs within {:.4g} %, {} count, sequences of {} tokens\n"
      "  model   {}, V {}{}, K {}\n"
      "  shapes  L {}, H {}, heads of {}, F {:.4g} H{}\n"
      "  tokens  {:.4g} to {:.4g}, {} numbers, {} spacing\n"
      "  loss    {} + {}/N^{} + {}/D^{}{}\n"
      "          {}",
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

/// A line for the selected row, and what a reader may ask next.
std::string selected_in_words(const config::Parameters& p, const SearchOnDevices& devices) {
  const auto selected = static_cast<std::size_t>(p.plan.write_row - 1);
  const PlannedCandidate& row = devices.possible[selected];
  std::string text;
  for (std::size_t i = 0; i < devices.devices.size(); ++i)
    if (row.on[i].verdict == OnDevice::Verdict::possible)
      text += fmt::format("row {} on {} x {}: {}\n", p.plan.write_row, devices.ranks,
                          devices.devices[i].name, describe_layout(row.on[i].layout.parameters));
  const std::int64_t more = std::ssize(devices.possible) - p.plan.rows;
  if (p.plan.rows > 0 && more > 0)
    text += fmt::format("{} more rows: plan.rows=0 shows them\n", more);
  return text;
}

// Files -------------------------------------------------------------------------------------------

/// Lines for the head of a run input: what its best layout needs where it is possible.
std::string remarks_on(const SearchOnDevices& devices, const PlannedCandidate& row) {
  std::string text;
  for (std::size_t i = 0; i < row.on.size(); ++i)
    if (const OnDevice& on = row.on[i]; on.verdict == OnDevice::Verdict::possible)
      text += fmt::format("# Estimate:  {} x {}: {:.1f} GiB each, {:.3g} h, {:.0f} tokens/s\n",
                          devices.ranks, devices.devices[i].name,
                          static_cast<double>(on.layout.estimate.memory_bytes) / (1 << 30),
                          on.layout.estimate.hours, on.layout.estimate.tokens_per_second);
  return text;
}

std::string write_row(const config::Parameters& p, const SearchSpace& space,
                      const SearchOnDevices& devices) {
  const PlannedCandidate& row = devices.possible[static_cast<std::size_t>(p.plan.write_row - 1)];
  config::Parameters run = plan::run_of(p, row.candidate);
  // The first device that can train it decides the grid.
  for (const OnDevice& on : row.on) {
    if (on.verdict != OnDevice::Verdict::possible) continue;
    const config::Parameters& laid_out = on.layout.parameters;
    run.parallel = laid_out.parallel;
    run.memory = laid_out.memory;
    run.training.micro_batch_size = laid_out.training.micro_batch_size;
    break;
  }
  // What `espalier train --dry-run` would refuse is not written.
  config::Parameters resolved = run;
  config::resolve(resolved, config::declared_ranks(run), config::Use::planning);
  const plan::CandidateInput input =
      plan::candidate_input(run, row.candidate, space, remarks_on(devices, row));
  plan::write_candidate_input(p.plan.write, input);
  return fmt::format("row {}: {}/{}.toml (model) and {}-run.toml (input of espalier train)",
                     p.plan.write_row, p.plan.write, input.name, input.name);
}

void require_row(const config::Parameters& p, const SearchOnDevices& devices) {
  require(p.plan.write_row <= std::ssize(devices.possible), ExitStatus::bad_configuration,
          "plan.write_row = {}: the search has {} candidates; name a row from 1 to {}",
          p.plan.write_row, devices.possible.size(), devices.possible.size());
}

/// What is printed.
std::string search_and_write(const config::Parameters& p, bool dry_run) {
  const Format format = report::format_from_name(p.plan.format);
  if (!p.plan.plot.empty()) io::require_new_output(p.plan.plot, "plan.plot");
  const SearchSpace space = plan::space_of(p);
  if (dry_run) return space_in_words(p, space) + "\ndry run: nothing was searched or written\n";
  const plan::SearchResult result = plan::search(space);
  require(!result.candidates.empty(), ExitStatus::bad_configuration, "{}",
          plan::why_nothing_passes(space));
  const SearchOnDevices devices = plan::on_devices(
      p, result, plan::devices_of_search(p), plan::layouts, [](std::size_t done, std::size_t all) {
        log::live(fmt::format("memory and time of candidate {} of {}", done, all));
      });
  const std::string dropped = plan::why_dropped(p, devices);
  require(!devices.possible.empty(), ExitStatus::bad_configuration,
          "none of the {} candidates can be trained:\n{}\nUse more ranks (plan.ranks), another "
          "plan.device or more plan.hours, a smaller search.budget, or smaller shapes "
          "(search.parameters_max)",
          result.candidates.size(), dropped);
  require_row(p, devices);

  std::string text;
  const std::string table = table_of(p, space, devices, format);
  const std::string statistics = statistics_of(p, space, result, devices, format);
  if (format == Format::csv) text = table;
  if (format == Format::json)
    text = fmt::format("{{\n\"statistics\": {},\n\"candidates\": {}}}\n",
                       statistics.substr(0, statistics.size() - 1), table);
  if (is_for_people(format)) {
    const bool is_text = format == Format::text;
    if (is_text) text += space_in_words(p, space) + "\n";
    text += fmt::format("\n{}\n{}", table, statistics);
    if (!dropped.empty()) text += "\n" + dropped + "\n";
    if (is_text) text += "\n" + selected_in_words(p, devices);
  }
  std::string written;
  if (!p.plan.write.empty()) written += write_row(p, space, devices) + "\n";
  if (!p.plan.plot.empty()) {
    // The picture has the candidates that are left.
    plan::SearchResult left = result;
    left.candidates.clear();
    for (const PlannedCandidate& row : devices.possible) left.candidates.push_back(row.candidate);
    report::write_svg(p.plan.plot,
                      plan::loss_chart(space, left, static_cast<std::size_t>(p.plan.write_row - 1),
                                       fmt::format("{}: {:.4g} FLOPs", p.run.name, space.budget))
                          .svg());
    written += fmt::format("picture: {}\n", p.plan.plot);
  }
  if (is_for_people(format)) text += written;
  return text;
}

}  // namespace

ExitStatus plan_search(parallel::MpiSession& session, config::Parameters& parameters,
                       bool dry_run) {
  std::string text =
      parallel::on_rank_0(session, [&] { return search_and_write(parameters, dry_run); });
  while (!text.empty() && text.back() == '\n') text.pop_back();
  log::line(text);
  return ExitStatus::ok;
}

}  // namespace espalier::commands
