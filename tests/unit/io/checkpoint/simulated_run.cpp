#include "unit/io/checkpoint/simulated_run.hpp"

#include <fmt/format.h>

#include <bit>

#include "base/error.hpp"

namespace espalier::io::testing {

namespace fs = std::filesystem;
using parallel::Rectangle;
using parallel::ShardRule;
using parallel::TensorSpec;

namespace {
constexpr std::int64_t kNumKvHeads = 2;
}

std::vector<TensorSpec> small_model() {
  std::vector<TensorSpec> specs;
  const auto add = [&](const std::string& name, std::int64_t rows, std::int64_t cols,
                       ShardRule shard) {
    TensorSpec spec;
    spec.name = name;
    spec.rows = rows;
    spec.cols = cols;
    spec.is_vector = cols == 1;
    spec.shard = shard;
    spec.num_kv_heads = shard == ShardRule::kv_rows ? kNumKvHeads : 0;
    if (shard == ShardRule::kv_rows) spec.gradient_span = parallel::Span::kv_tokens;
    if (name.ends_with("q_norm.weight")) spec.gradient_span = parallel::Span::tokens;
    specs.push_back(spec);
  };
  add("model.embed_tokens.weight", 101, 24, ShardRule::vocab_rows);
  for (int layer = 0; layer < 2; ++layer) {
    const std::string block = fmt::format("model.layers.{}.", layer);
    add(block + "input_layernorm.weight", 24, 1, ShardRule::none);
    add(block + "self_attn.q_proj.weight", 48, 24, ShardRule::rows);
    add(block + "self_attn.k_proj.weight", 12, 24, ShardRule::kv_rows);
    add(block + "self_attn.v_proj.weight", 12, 24, ShardRule::kv_rows);
    add(block + "self_attn.q_norm.weight", 6, 1, ShardRule::none);
    add(block + "self_attn.o_proj.weight", 24, 48, ShardRule::columns);
    add(block + "mlp.down_proj.weight", 24, 36, ShardRule::columns);
  }
  add("model.norm.weight", 24, 1, ShardRule::none);
  return specs;
}

float expected_value(std::size_t tensor, int field, std::int64_t element, std::int64_t step) {
  // Any bits are allowed to be stored, NaN and denormals too; the comparison is of bits.
  std::uint64_t x = static_cast<std::uint64_t>(element) * 0x9E3779B97F4A7C15u +
                    static_cast<std::uint64_t>(step) * 0xBF58476D1CE4E5B9u + tensor * 977u +
                    static_cast<std::uint64_t>(field) * 31u;
  x ^= x >> 29;
  x *= 0x94D049BB133111EBu;
  return std::bit_cast<float>(static_cast<std::uint32_t>(x >> 32));
}

parallel::ProcessGrid grid_of(int num_tensor, int num_data, int rank) {
  const parallel::GridShape shape{.tensor = num_tensor, .data = num_data};
  return {shape, rank, parallel::views_of(kNumKvHeads, shape)};
}

SimulatedRank::SimulatedRank(const parallel::ProcessGrid& grid) : specs_(small_model()) {
  for (std::size_t i = 0; i < specs_.size(); ++i) {
    State state;
    state.tensor = i;
    state.rectangle = parallel::owned_shard(specs_[i], grid);
    state.writes = parallel::counts_here(specs_[i], grid);
    for (auto& field : state.fields) {
      field.resize(static_cast<std::size_t>(std::max<std::int64_t>(state.rectangle.size(), 0)) + 1);
    }
    states_.push_back(std::move(state));
  }
}

void SimulatedRank::set_step(std::int64_t step) {
  for (std::int64_t i = 0; i < num_states(); ++i) overwrite(i, step);
}

void SimulatedRank::overwrite(std::int64_t index, std::int64_t step) {
  State& state = states_[static_cast<std::size_t>(index)];
  const Rectangle& r = state.rectangle;
  for (int field = 0; field < 3; ++field) {
    float* to = state.fields[field].data();
    for (std::int64_t row = r.row_begin; row < r.row_end; ++row) {
      for (std::int64_t col = r.col_begin; col < r.col_end; ++col) {
        *to++ = expected_value(state.tensor, field, row * specs_[state.tensor].cols + col, step);
      }
    }
  }
}

std::vector<CheckpointShard> SimulatedRank::shards() const {
  std::vector<CheckpointShard> shards;
  for (std::size_t i = 0; i < states_.size(); ++i) {
    const State& state = states_[i];
    const TensorSpec& spec = specs_[state.tensor];
    if (!state.writes) continue;
    shards.push_back({.name = spec.name,
                      .global_rows = spec.rows,
                      .global_cols = spec.cols,
                      .is_vector = spec.is_vector,
                      .rectangle = state.rectangle,
                      .master = state.fields[0].data(),
                      .exp_avg = state.fields[1].data(),
                      .exp_avg_sq = state.fields[2].data(),
                      .state_index = static_cast<std::int64_t>(i)});
  }
  return shards;
}

SimulatedRun::SimulatedRun(const fs::path& where, int num_tensor, int num_data,
                           CheckpointWriter::Staging staging, bool is_shared)
    : directory(where), num_tensor_(num_tensor), num_data_(num_data), is_shared_(is_shared) {
  for (int rank = 0; rank < num_tensor * num_data; ++rank) {
    ranks.emplace_back(grid_of(num_tensor, num_data, rank));
    writers.push_back(
        std::make_unique<CheckpointWriter>(directory, rank, num_tensor * num_data, staging));
  }
  for (auto& writer : writers)
    if (is_shared) writer->use_shared_file(CheckpointWriter::shared_layout(indices()));
}

CheckpointInfo SimulatedRun::info(std::int64_t step) const {
  CheckpointInfo info;
  info.step = step;
  info.samples_consumed = static_cast<std::uint64_t>(step) * 8;
  info.tokens_consumed = static_cast<std::uint64_t>(step) * 8 * 128;
  info.adam_step = step;
  info.resolved_input = "[run]\nname = \"naïve\"\n";
  info.tokenizer_identity = "0123456789abcdef";
  info.build = "test";
  info.grid = fmt::format("tensor {} x data {} = {} ranks", num_tensor_, num_data_, num_ranks());
  info.num_ranks = num_ranks();
  info.is_shared = is_shared_;
  return info;
}

void SimulatedRun::begin(std::int64_t step) {
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    // Every other step leaves master.h5 to commit.
    writers[i]->begin(info(step), ranks[i].shards(),
                      is_shared_ || step % 2 == 0 ? indices() : std::vector<std::string>());
  }
}

void SimulatedRun::wait() {
  for (auto& writer : writers) writer->wait();
}

std::vector<std::string> SimulatedRun::indices() const {
  std::vector<std::string> indices;
  for (const SimulatedRank& rank : ranks) {
    indices.push_back(CheckpointWriter::encode_index(rank.shards()));
  }
  return indices;
}

void SimulatedRun::commit(std::int64_t step, KeepRules keep) {
  writers[0]->commit(info(step), indices(), keep);
  for (std::size_t i = 1; i < writers.size(); ++i) writers[i]->release();
}

fs::path SimulatedRun::save(std::int64_t step, KeepRules keep) {
  for (SimulatedRank& rank : ranks) rank.set_step(step);
  begin(step);
  wait();
  commit(step, keep);
  return *newest_checkpoint(directory);
}

std::string compare_on_rank(CheckpointReader& reader, int t, int num_tensor, int d, int num_data,
                            std::int64_t step) {
  const auto specs = small_model();
  const parallel::ProcessGrid grid = grid_of(num_tensor, num_data, t + d * num_tensor);
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const TensorSpec& spec = specs[i];
    const Rectangle r = parallel::owned_shard(spec, grid);
    std::vector<float> out(static_cast<std::size_t>(std::max<std::int64_t>(r.size(), 0)));
    for (int field = 0; field < 3; ++field) {
      reader.read(spec.name, spec.rows, spec.cols, r, static_cast<CheckpointReader::Field>(field),
                  out.data());
      std::size_t k = 0;
      for (std::int64_t row = r.row_begin; row < r.row_end; ++row) {
        for (std::int64_t col = r.col_begin; col < r.col_end; ++col, ++k) {
          const float expected = expected_value(i, field, row * spec.cols + col, step);
          if (std::bit_cast<std::uint32_t>(out[k]) != std::bit_cast<std::uint32_t>(expected)) {
            return fmt::format("{} field {} row {} col {} on tensor {} data {}: {} != {}",
                               spec.name, field, row, col, t, d, out[k], expected);
          }
        }
      }
    }
  }
  return "";
}

std::string compare_on_grid(CheckpointReader& reader, int num_tensor, int num_data,
                            std::int64_t step) {
  for (int t = 0; t < num_tensor; ++t)
    for (int d = 0; d < num_data; ++d)
      if (std::string found = compare_on_rank(reader, t, num_tensor, d, num_data, step);
          !found.empty())
        return found;
  return "";
}

std::vector<CheckpointReader::Wanted> wanted_of_rank(int t, int num_tensor, int d, int num_data) {
  const parallel::ProcessGrid grid = grid_of(num_tensor, num_data, t + d * num_tensor);
  std::vector<CheckpointReader::Wanted> wanted;
  for (const TensorSpec& spec : small_model())
    wanted.push_back({spec.name, parallel::owned_shard(spec, grid)});
  return wanted;
}

}  // namespace espalier::io::testing
