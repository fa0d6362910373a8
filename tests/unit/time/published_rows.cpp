#include "unit/time/published_rows.hpp"

#include <filesystem>
#include <map>
#include <sstream>

#include "base/error.hpp"
#include "base/whole_file.hpp"
#include "io/toml_reader.hpp"

namespace espalier::testing {
namespace {

const std::string kSource = ESPALIER_SOURCE_DIR;
const std::string kFolder = kSource + "/validation/published_throughput";

std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> cells;
  std::stringstream stream(line);
  for (std::string cell; std::getline(stream, cell, ',');) cells.push_back(cell);
  return cells;
}

config::Parameters model_of(const std::string& name) {
  config::Parameters p;
  const std::string own = kFolder + "/models/" + name + ".toml";
  const std::string file =
      std::filesystem::exists(own) ? own : kSource + "/inputs/models/" + name + ".toml";
  io::read_parameters("[model]\nfile = \"" + file + "\"\n", file, {}, p);
  return p;
}

}  // namespace

double PublishedRow::predicted(plan::StepTime* time) const {
  auto hardware = plan::read_hardware(kSource + "/inputs/devices/" + device + ".toml");
  if (flash_attention_2) {
    // FlashAttention-3 (arXiv 2407.08608), figures 5 and 6: FlashAttention-2 on an H100, head_dim
    // 128, TFLOP/s from 512 to 16k tokens: 191 to 335 forward (causal), 214 to 322 backward.
    const double share = hardware.product_bf16_tflops / 794.5;
    hardware.attention_forward_tflops = 343.0 * share;
    hardware.attention_forward_half = 408.0;
    hardware.attention_backward_tflops = 327.0 * share;
    hardware.attention_backward_half = 271.0;
  }
  const plan::StepTime step = plan::layout_time(parameters, layout, hardware);
  if (time != nullptr) *time = step;
  return static_cast<double>(parameters.training.global_batch_size *
                             parameters.training.sequence_length) /
         (step.step() * static_cast<double>(layout.ranks()));
}

std::vector<PublishedRow> published_rows() {
  const auto text = read_whole_file(kFolder + "/rows.csv");
  require(text.has_value(), ExitStatus::bad_data, "{}/rows.csv is not there", kFolder);
  std::stringstream lines(*text);
  std::string line;
  std::getline(lines, line);
  const std::vector<std::string> names = cells_of(line);
  std::vector<PublishedRow> rows;
  while (std::getline(lines, line)) {
    const std::vector<std::string> cells = cells_of(line);
    require(cells.size() == names.size(), ExitStatus::bad_data, "{}: {} cells of {}", line,
            cells.size(), names.size());
    std::map<std::string, std::string> row;
    for (std::size_t i = 0; i < cells.size(); ++i) row[names[i]] = cells[i];
    const auto number = [&](const char* name) { return std::int64_t{std::stoll(row.at(name))}; };
    PublishedRow result{.program = row.at("program"),
                        .model = row.at("model"),
                        .device = row.at("device"),
                        .parameters = model_of(row.at("model")),
                        .layout = {.tensor = number("tensor"),
                                   .context = number("context"),
                                   .data = number("data"),
                                   .pipeline = number("pipeline"),
                                   .virtual_stages = number("chunks"),
                                   .shard = number("shard"),
                                   .zero_stage = number("zero"),
                                   .recompute = row.at("recompute"),
                                   .fp8 = number("fp8") != 0,
                                   .overlap_tensor = number("overlap_tensor") != 0},
                        .flash_attention_2 = row.at("attention") == "fa2",
                        .measured = std::stod(row.at("measured"))};
    auto& training = result.parameters.training;
    training.sequence_length = number("length");
    training.micro_batch_size = number("micro");
    training.global_batch_size = number("global");
    training.dtype = "bfloat16";
    result.parameters.model.max_position_embeddings =
        std::max(result.parameters.model.max_position_embeddings, training.sequence_length);
    rows.push_back(std::move(result));
  }
  return rows;
}

}  // namespace espalier::testing
