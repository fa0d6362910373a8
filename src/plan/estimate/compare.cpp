#include "plan/estimate/compare.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "base/error.hpp"
#include "base/text.hpp"
#include "plan/estimate/planned_input.hpp"
#include "plan/flops.hpp"
#include "plan/scaling/step_law.hpp"

namespace espalier::plan {
namespace {

using config::HardwareParameters;
using config::Parameters;
using model::Architecture;
using report::Cell;

Cell nothing() {
  return Cell(std::numeric_limits<double>::quiet_NaN(), "");
}
Cell count(std::int64_t value) {
  return {static_cast<double>(value), with_commas(value)};
}
/// With so many significant digits.
Cell number(double value, int digits) {
  return {value, fmt::format("{:.{}g}", value, digits)};
}
Cell scientific(double value, int decimals) {
  return {value, fmt::format("{:.{}e}", value, decimals)};
}
Cell fixed(double value, int decimals) {
  return {value, fmt::format("{:.{}f}", value, decimals)};
}
/// Of a test of minutes as of a training of months.
Cell hours(double value) {
  return fixed(value, value < 1.0 ? 3 : value < 100.0 ? 2 : 1);
}
Cell yes_or_no(bool value) {
  return value ? "yes" : "no";
}

/// A run, with all that its rows are made from.
struct Column {
  Parameters parameters;  // resolved on one rank
  Architecture architecture;
  FlopsByPart flops;
  double sequence_length, tokens;

  explicit Column(const ComparedRun& run)
      : parameters(resolved_without_grid(run.parameters, run.name)),
        architecture(Architecture::from(parameters.model)),
        sequence_length(static_cast<double>(parameters.training.sequence_length)) {
    flops = flops_by_part(architecture, sequence_length);
    tokens = static_cast<double>(parameters.training.steps) * batch_tokens();
  }
  double batch_tokens() const {
    return static_cast<double>(parameters.training.global_batch_size) * sequence_length;
  }
  bool is_run() const { return tokens > 0.0; }
  double causal_flops() const { return linear_flops() + flops.causal_attention; }
  double full_flops() const { return linear_flops() + flops.full_attention; }
  double linear_flops() const { return flops.projections + flops.mlp + flops.lm_head; }
  StepLaw hint() const {
    return step_law(static_cast<double>(architecture.num_active_parameters_without_embedding()),
                    tokens);
  }
};

/// Rows as they are added.
class Rows {
 public:
  explicit Rows(const std::vector<Column>& columns) : columns_(columns) {}
  template <class CellOf>
  void add(const char* key, const std::string& heading, CellOf&& cell_of) {
    ComparedProperty row{{key, heading}, {}};
    for (const Column& column : columns_) row.cells.push_back(cell_of(column));
    add(std::move(row));
  }
  /// For what only runs have.
  template <class CellOf>
  void add_of_runs(const char* key, const std::string& heading, CellOf&& cell_of) {
    add(key, heading,
        [&](const Column& column) { return column.is_run() ? Cell(cell_of(column)) : nothing(); });
  }
  void add(ComparedProperty row) {
    const bool any = std::any_of(row.cells.begin(), row.cells.end(),
                                 [](const Cell& cell) { return !cell.text.empty(); });
    if (any) rows_.push_back(std::move(row));
  }
  std::vector<ComparedProperty> take() { return std::move(rows_); }

 private:
  const std::vector<Column>& columns_;
  std::vector<ComparedProperty> rows_;
};

void add_model(Rows& rows) {
  using A = const Architecture&;
  const auto add = [&](const char* key, const char* heading, auto&& cell_of) {
    rows.add(key, heading, [&](const Column& c) -> Cell { return cell_of(c.architecture); });
  };
  const auto has_rope = [](A a) { return a.position_embedding == model::PositionEmbedding::rope; };
  add("family", "family", [](A a) { return Cell(a.model_type); });
  add("layers", "layers", [](A a) { return count(a.num_layers); });
  add("hidden_size", "hidden size", [](A a) { return count(a.hidden_size); });
  add("attention_heads", "query heads", [](A a) { return count(a.num_heads); });
  add("key_value_heads", "key/value heads", [](A a) { return count(a.num_kv_heads); });
  add("queries_per_key", "queries per key",
      [](A a) { return Cell(fmt::format("{}:1", a.num_heads / a.num_kv_heads)); });
  add("head_dim", "head size", [](A a) { return count(a.head_dim); });
  add("attention_width", "width of all heads", [](A a) { return count(a.num_heads * a.head_dim); });
  add("mlp", "MLP",
      [](A a) { return Cell(a.mlp == model::Mlp::swiglu ? "SwiGLU" : "GELU (tanh)"); });
  const auto has_dense = [](A a) { return a.num_sparse_layers() < a.num_layers; };
  add("intermediate_size", "MLP size",
      [&](A a) { return has_dense(a) ? count(a.intermediate) : nothing(); });
  add("intermediate_ratio", "MLP size / hidden size", [&](A a) {
    if (!has_dense(a)) return nothing();
    return number(static_cast<double>(a.intermediate) / static_cast<double>(a.hidden_size), 3);
  });
  const auto add_of_experts = [&](const char* key, const char* heading, auto&& value) {
    add(key, heading, [&](A a) { return a.has_experts ? count(value(a)) : nothing(); });
  };
  add_of_experts("experts", "experts", [](A a) { return a.num_experts; });
  add_of_experts("experts_per_token", "experts of a token",
                 [](A a) { return a.num_experts_per_token; });
  add_of_experts("expert_size", "expert size", [](A a) { return a.expert_intermediate; });
  add_of_experts("expert_layers", "layers with experts", [](A a) { return a.num_sparse_layers(); });
  add("normalization", "norm", [](A a) {
    return Cell(a.normalization == model::Normalization::rms_norm ? "RMSNorm" : "LayerNorm");
  });
  add("qk_norm", "QK-norm", [](A a) { return yes_or_no(a.qk_norm); });
  add("biases", "biases", [](A a) { return yes_or_no(a.biases); });
  add("positions", "positions", [&](A a) { return Cell(has_rope(a) ? "rotary" : "learned"); });
  add("rope_theta", "base of rotation (theta)", [&](A a) {
    return has_rope(a) ? Cell(a.rope_theta, with_commas(std::llround(a.rope_theta))) : nothing();
  });
  rows.add("rope_type", "rotation is scaled", [&](const Column& c) -> Cell {
    if (!has_rope(c.architecture)) return nothing();
    return c.parameters.model.rope_type == "default" ? "no" : c.parameters.model.rope_type;
  });
  rows.add("longest_sequence", "longest sequence",
           [](const Column& c) { return count(config::longest_sequence(c.parameters.model)); });
  add("vocab_size", "vocabulary", [](A a) { return count(a.vocab_size); });
  add("tied", "embedding and LM head tied", [](A a) { return yes_or_no(a.tied); });
  add("parameters", "parameters", [](A a) { return count(a.num_parameters()); });
  add("parameters_without_embedding", "outside embeddings and head",
      [](A a) { return count(a.num_parameters_without_embedding()); });
  add("active_parameters", "active parameters",
      [](A a) { return count(a.num_active_parameters()); });
}

void add_flops(Rows& rows) {
  rows.add("sequence_length", "sequence, tokens",
           [](const Column& c) { return count(c.parameters.training.sequence_length); });
  const auto add = [&](const char* key, const char* heading, auto&& flops) {
    rows.add(key, heading, [&](const Column& c) {
      const double value = flops(c);
      return Cell(value, fmt::format("{:.3f}", 1e-9 * value));
    });
  };
  using C = const Column&;
  add("flops_projections", "GFLOP/token: projections", [](C c) { return c.flops.projections; });
  add("flops_causal_attention", "GFLOP/token: causal attention",
      [](C c) { return c.flops.causal_attention; });
  add("flops_full_attention", "GFLOP/token: full attention",
      [](C c) { return c.flops.full_attention; });
  add("flops_mlp", "GFLOP/token: MLP", [](C c) { return c.flops.mlp; });
  add("flops_lm_head", "GFLOP/token: LM head", [](C c) { return c.flops.lm_head; });
  add("flops_causal", "GFLOP/token: all, causal", [](C c) { return c.causal_flops(); });
  add("flops_full", "GFLOP/token: all, full attention", [](C c) { return c.full_flops(); });
}

void add_training(Rows& rows) {
  rows.add_of_runs("tokens", "tokens, 1e9", [](const Column& c) {
    return Cell(c.tokens, fmt::format("{:.3f}", c.tokens / 1e9));
  });
  // Of those that a token meets.
  rows.add_of_runs("tokens_per_parameter", "tokens per parameter", [](const Column& c) {
    return fixed(c.tokens / static_cast<double>(c.architecture.num_active_parameters()), 1);
  });
  rows.add_of_runs("training_flops", "FLOPs of the training, causal",
                   [](const Column& c) { return scientific(c.tokens * c.causal_flops(), 3); });
  rows.add_of_runs("expected_loss", "expected loss",
                   [](const Column& c) { return fixed(expected_loss(c.parameters), 6); });
  rows.add_of_runs("steps", "steps",
                   [](const Column& c) { return count(c.parameters.training.steps); });
  rows.add_of_runs("batch_tokens", "batch, tokens", [](const Column& c) {
    return count(static_cast<std::int64_t>(c.batch_tokens()));
  });
  rows.add_of_runs("step_law_batch_tokens", "batch by Step Law",
                   [](const Column& c) { return count(std::llround(c.hint().batch_tokens)); });
  rows.add_of_runs("learning_rate", "learning rate", [](const Column& c) {
    return scientific(c.parameters.optimizer.learning_rate, 2);
  });
  rows.add_of_runs("step_law_learning_rate", "learning rate by Step Law",
                   [](const Column& c) { return scientific(c.hint().learning_rate, 2); });
}

// Devices -----------------------------------------------------------------------------------------

/// On as many devices as plan.ranks says, or on the grid of the input.
Layout layout_of(const ComparedRun& run, const HardwareParameters& hardware) {
  Parameters p = run.parameters;
  // A model alone is laid out and timed as a run of one step.
  if (!has_length(p)) p.training.steps = 1;
  try {
    if (p.plan.ranks > 0) return layouts(p, hardware, p.plan.ranks).front();
    config::resolve(p, config::declared_ranks(p), config::Use::planning);
    return {p, estimate(p, hardware)};
  } catch (const Error& error) {
    throw Error(error.status(), fmt::format("{} on {}: {}", run.name, hardware.name, error.what()),
                error.met());
  }
}

std::string short_layout(const Parameters& p) {
  return fmt::format("{}, {}, {}", short_grid(p), p.training.micro_batch_size, p.memory.recompute);
}

void add_device(Rows& rows, const std::vector<ComparedRun>& runs,
                const HardwareParameters& hardware) {
  std::vector<Layout> layouts;
  for (const ComparedRun& run : runs) layouts.push_back(layout_of(run, hardware));
  const bool has_context = std::any_of(layouts.begin(), layouts.end(), [](const Layout& l) {
    return l.parameters.parallel.context > 1;
  });
  const auto add = [&](const std::string& key, const std::string& heading, auto&& cell_of) {
    ComparedProperty row{.column = {fmt::format("{}_{}", hardware.name, key),
                                    fmt::format("{}: {}", hardware.name, heading)},
                         .cells = {},
                         .legend = key == "layout" ? layout_legend(has_context) : std::string()};
    for (std::size_t i = 0; i < runs.size(); ++i) row.cells.push_back(cell_of(layouts[i], runs[i]));
    rows.add(std::move(row));
  };
  using L = const Layout&;
  using R = const ComparedRun&;
  const auto if_timed = [](L l, Cell cell) {
    return l.estimate.tokens_per_second > 0.0 ? cell : nothing();
  };
  const auto if_run = [&](L l, R run, Cell cell) {
    return has_length(run.parameters) ? if_timed(l, std::move(cell)) : nothing();
  };
  add("ranks", "devices", [](L l, R) { return count(l.estimate.ranks); });
  add("layout", "layout", [](L l, R) { return Cell(short_layout(l.parameters)); });
  add("memory_bytes", "memory, GiB", [](L l, R) {
    const auto bytes = static_cast<double>(l.estimate.memory_bytes);
    return Cell(bytes, fmt::format("{:.1f}", bytes / (1 << 30)));
  });
  add("fits", fmt::format("fits in {:.4g} GiB", hardware.memory_gib),
      [](L l, R) { return yes_or_no(l.estimate.fits); });
  add("tokens_per_second", "tokens/s",
      [&](L l, R) { return if_timed(l, count(std::llround(l.estimate.tokens_per_second))); });
  add("mfu_causal", "MFU, %", [&](L l, R) {
    const double mfu = l.estimate.mfu_causal;
    return if_timed(l, Cell(mfu, fmt::format("{:.1f}", 100.0 * mfu)));
  });
  add("hours", "hours", [&](L l, R run) { return if_run(l, run, hours(l.estimate.hours)); });
  add("device_hours", "device-hours",
      [&](L l, R run) { return if_run(l, run, hours(l.estimate.device_hours())); });
}

// Printing ----------------------------------------------------------------------------------------

constexpr std::size_t kColumns = 100;

/// Runs [first, last) as columns.
report::Table table_of(const std::vector<ComparedRun>& runs,
                       const std::vector<ComparedProperty>& properties, std::size_t first,
                       std::size_t last, report::Format format) {
  const auto heading = [&](const ComparedProperty& property) {
    const std::string& words = property.column.heading;
    if (format == report::Format::text) return (property.differs() ? "* " : "  ") + words;
    return property.differs() ? fmt::format("**{}**", words) : words;
  };
  std::vector<report::Column> columns = {
      {"name", format == report::Format::text ? "* differs" : "**differs**"}};
  for (const ComparedProperty& property : properties)
    columns.push_back({property.column.key, heading(property)});
  report::Table table(columns);
  for (std::size_t i = first; i < last; ++i) {
    std::vector<Cell> row = {runs[i].name};
    for (const ComparedProperty& property : properties) row.push_back(property.cells[i]);
    table.add(std::move(row));
  }
  return table;
}

std::size_t width_of(const std::string& text) {
  std::size_t widest = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    widest = std::max(widest, end - begin);
    begin = end + 1;
  }
  return widest;
}

}  // namespace

bool ComparedProperty::differs() const {
  return std::any_of(cells.begin(), cells.end(), [&](const Cell& cell) {
    const Cell& first = cells.front();
    if (cell.is_number != first.is_number) return true;
    const bool both_absent = std::isnan(cell.value) && std::isnan(first.value);
    return cell.is_number ? cell.value != first.value && !both_absent : cell.text != first.text;
  });
}

std::vector<ComparedProperty> compared_properties(const std::vector<ComparedRun>& runs,
                                                  const std::vector<HardwareParameters>& devices) {
  const std::vector<Column> columns(runs.begin(), runs.end());
  Rows rows(columns);
  add_model(rows);
  add_flops(rows);
  add_training(rows);
  for (const HardwareParameters& hardware : devices) add_device(rows, runs, hardware);
  return rows.take();
}

std::string print_comparison(const std::vector<ComparedRun>& runs,
                             const std::vector<ComparedProperty>& properties,
                             report::Format format) {
  const auto table = [&](std::size_t first, std::size_t last) {
    return table_of(runs, properties, first, last, format).print_transposed(format);
  };
  if (format == report::Format::csv || format == report::Format::json) return table(0, runs.size());
  std::string legend;  // of layouts, the one that explains most
  for (const ComparedProperty& property : properties)
    if (property.legend.size() > legend.size()) legend = property.legend;
  if (!legend.empty()) legend = "\nlayout: " + legend + "\n";
  if (format == report::Format::markdown) return table(0, runs.size()) + legend;
  std::string text;
  for (std::size_t first = 0; first < runs.size();) {
    std::size_t last = first + 1;
    while (last < runs.size() && width_of(table(first, last + 1)) <= kColumns) ++last;
    text += (text.empty() ? "" : "\n") + table(first, last);
    first = last;
  }
  return text + legend;
}

}  // namespace espalier::plan
