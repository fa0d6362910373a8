// Who counts which gradient, for real tensor tables: every rank of a grid in one process.
#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "plan/memory_plan.hpp"

using namespace espalier;

namespace {

/// A small model of a family; sizes that tensor = 4 divides, K below that.
config::Parameters small(const std::string& family) {
  config::Parameters p;
  p.model.model_type = family;
  p.model.vocab_size = 131;
  p.model.hidden_size = 48;
  p.model.intermediate_size = 64;
  p.model.num_hidden_layers = 2;
  p.model.num_attention_heads = 4;
  p.model.num_key_value_heads = family == "gpt2" ? 4 : family == "llama" ? 1 : 2;
  p.model.head_dim = 12;
  p.model.tie_word_embeddings = family != "llama";
  p.model.max_position_embeddings = 32;
  p.training.sequence_length = 16;
  p.training.micro_batch_size = 1;
  p.training.loss_chunk_tokens = 16;
  if (family == "qwen3_moe") {
    p.model.num_experts = 8;
    p.model.num_experts_per_tok = 2;
    p.model.moe_intermediate_size = 12;
    p.model.mlp_only_layers = {0};
  }
  return p;
}

/// What the ranks of the grid count together when every gradient that they hold is `value`: the
/// sums over all ranks, a slot per tensor. Also adds up the bytes of the optimizer's state.
struct Count {
  std::vector<double> square_sums;
  std::vector<parallel::TensorSpec> table;
  std::int64_t state_elements = 0;

  Count(const config::Parameters& p, const parallel::GridShape& shape, float value) {
    device::Context context;
    for (int rank = 0; rank < shape.size(); ++rank) {
      const auto views = parallel::views_of(p.model.num_key_value_heads, shape,
                                            static_cast<int>(p.parallel.expert));
      const auto memory = plan::TrainingMemory::backed(p, {shape, rank, views}, context);
      for (const parallel::LocalTensor& tensor : memory.parameter_store->tensors())
        for (std::int64_t row = 0; row < tensor.gradient.rows; ++row)
          std::fill_n(tensor.gradient.as<float>(row), tensor.gradient.cols, value);
      const std::span<const double> mine = memory.gradient_norm->square_sums(context);
      square_sums.resize(mine.size());
      for (std::size_t i = 0; i < mine.size(); ++i) square_sums[i] += mine[i];
      for (const optim::StateShard& state : memory.optimizer->state())
        state_elements += state.master.size();
      table = memory.weights->table;
    }
  }
};

}  // namespace

TEST_CASE("with all gradients 1 the norm is sqrt(N) on every grid, and 0 with all 0") {
  for (const std::string family : {"qwen3", "llama", "gpt2"})
    for (const bool sequence_parallel : {false, true})
      for (const int zero_stage : {0, 1})
        for (const int tensor : {1, 2, 4})
          for (const int context : {1, 2})
            for (const int data : {1, 2, 3}) {
              if (tensor == 1 && sequence_parallel) continue;
              config::Parameters p = small(family);
              const parallel::GridShape shape{
                  .tensor = tensor, .context = context, .data = data, .pipeline = 1};
              p.parallel.tensor = tensor;
              p.parallel.context = context;
              p.parallel.data = data;
              p.parallel.sequence_parallel = sequence_parallel;
              p.parallel.zero_stage = zero_stage;
              CAPTURE(family, sequence_parallel, zero_stage, tensor, context, data);

              const Count count(p, shape, 1.0F);
              std::int64_t num_parameters = 0;
              for (std::size_t i = 0; i < count.table.size(); ++i) {
                INFO(count.table[i].name);
                REQUIRE(count.square_sums[i] == static_cast<double>(count.table[i].num_elements()));
                num_parameters += count.table[i].num_elements();
              }
              REQUIRE(std::sqrt(optim::squared_norm(count.square_sums)) ==
                      std::sqrt(static_cast<double>(num_parameters)));
              // At stage 1 every element has its state once, but for what all tensor ranks keep.
              if (zero_stage == 1 && (sequence_parallel || tensor == 1))
                REQUIRE(count.state_elements == num_parameters);
              if (data == 3) REQUIRE(optim::squared_norm(Count(p, shape, 0.0F).square_sums) == 0.0);
            }
}

TEST_CASE("with experts divided over ranks, and stages, the norm is sqrt(N), too") {
  for (const bool tied : {true, false})
    for (const int zero_stage : {0, 1})
      for (const int tensor : {1, 2})
        for (const auto& [context, data] :
             std::vector<std::pair<int, int>>{{1, 1}, {1, 2}, {1, 4}, {2, 1}, {2, 2}})
          for (const int pipeline : {1, 2})
            for (const int expert : {1, 2, 4, 8}) {
              if (tensor * context * data % expert != 0) continue;
              config::Parameters p = small("qwen3_moe");
              p.model.tie_word_embeddings = tied;
              const parallel::GridShape shape{
                  .tensor = tensor, .context = context, .data = data, .pipeline = pipeline};
              p.parallel.tensor = tensor;
              p.parallel.context = context;
              p.parallel.data = data;
              p.parallel.pipeline = pipeline;
              p.parallel.expert = expert;
              p.parallel.zero_stage = zero_stage;
              p.training.global_batch_size = data;
              CAPTURE(tied, zero_stage, tensor, context, data, pipeline, expert);

              const Count count(p, shape, 1.0F);
              double sum = 0.0;
              for (const double square : count.square_sums) sum += square;
              const auto a = model::Architecture::from(p.model);
              REQUIRE(sum == static_cast<double>(a.num_parameters()));
              // The embedding of a tied model has its state on both ends of a pipeline.
              const std::int64_t again = tied && pipeline > 1 ? a.vocab_size * a.hidden_size : 0;
              if (zero_stage == 1) REQUIRE(count.state_elements == a.num_parameters() + again);
              if (data == 4) REQUIRE(optim::squared_norm(Count(p, shape, 0.0F).square_sums) == 0.0);
            }
}
