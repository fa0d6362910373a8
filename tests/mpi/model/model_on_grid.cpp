#include "mpi/model/model_on_grid.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <numeric>

#include "model/initialize.hpp"
#include "parallel/comm/counting_communicator.hpp"
#include "train/step/programs.hpp"

namespace espalier::testing {

parallel::MpiSession& session() {
  // MPI is already initialised by the test's main; the session joins it.
  static parallel::MpiSession instance(nullptr, nullptr);
  return instance;
}

std::string fixture_path(const std::string& name) {
  const char* folder = std::getenv("ESPALIER_FIXTURES");
  const std::string fixtures = folder != nullptr ? folder : ESPALIER_SOURCE_DIR "/tests/fixtures";
  return fixtures + "/model/" + name + ".h5";
}

std::shared_ptr<device::Gpu> gpu_of_test() {
  using device::Backend;
  const char* name = std::getenv("ESPALIER_TEST_BACKEND");
  const std::string backend = name != nullptr ? name : "host";
  if (backend == "host") return nullptr;
  if (backend == "emulated") return device::Gpu::open(Backend::emulated, session().rank());
  REQUIRE(backend == "cuda");
  return device::Gpu::open(Backend::cuda,
                           session().rank() % std::max(1, device::Gpu::count(Backend::cuda)));
}

parallel::CollectiveLibrary library_of_test() {
  const char* name = std::getenv("ESPALIER_TEST_COMMUNICATOR");
  return name != nullptr && std::string(name) == "nccl" ? parallel::CollectiveLibrary::nccl
                                                        : parallel::CollectiveLibrary::mpi;
}

config::Parameters parameters_of(const Hdf5Fixture& f, int tensor, int data, bool sequence_parallel,
                                 int zero_stage, const std::string& dtype) {
  const auto integer = [&](const char* name) {
    return static_cast<std::int64_t>(f.attribute("/", name));
  };
  config::Parameters p;
  p.model.vocab_size = integer("vocab_size");
  p.model.hidden_size = integer("hidden_size");
  p.model.intermediate_size = integer("intermediate_size");
  p.model.num_hidden_layers = integer("num_hidden_layers");
  p.model.num_attention_heads = integer("num_attention_heads");
  p.model.num_key_value_heads = integer("num_key_value_heads");
  p.model.head_dim = integer("head_dim");
  p.model.tie_word_embeddings = integer("tie_word_embeddings") != 0;
  const bool gpt2 = f.has_dataset("weights/transformer.wte.weight");
  p.model.model_type = gpt2 ? "gpt2" : integer("qk_norm") != 0 ? "qwen3" : "llama";
  if (f.has_attribute("/", "num_experts")) {
    p.model.model_type = "qwen3_moe";
    p.model.num_experts = integer("num_experts");
    p.model.num_experts_per_tok = integer("num_experts_per_tok");
    p.model.moe_intermediate_size = integer("moe_intermediate_size");
    p.model.norm_topk_prob = integer("norm_topk_prob") != 0;
    if (f.has_attribute("/", "decoder_sparse_step"))
      p.model.decoder_sparse_step = integer("decoder_sparse_step");
    p.experts.balance = integer("with_balance") != 0 ? "huggingface" : "none";
    if (f.has_attribute("/", "router_aux_loss_coef"))
      p.model.router_aux_loss_coef = f.attribute("/", "router_aux_loss_coef");
  }
  p.model.max_position_embeddings = integer("max_position_embeddings");
  p.model.rope_theta = f.attribute("/", "rope_theta");
  const auto rope = [&](const char* name, auto& value) {
    if (!f.has_attribute("/", name)) return;
    value = static_cast<std::remove_reference_t<decltype(value)>>(f.attribute("/", name));
    if (p.model.rope_type == "default") p.model.rope_type = "llama3";  // older files name none
  };
  for (const std::string type : {"linear", "dynamic", "yarn", "llama3"})
    if (f.has_attribute("/", "rope_is_" + type)) p.model.rope_type = type;
  rope("rope_factor", p.model.rope_factor);
  rope("rope_low_freq_factor", p.model.rope_low_freq_factor);
  rope("rope_high_freq_factor", p.model.rope_high_freq_factor);
  rope("rope_original_max_position_embeddings", p.model.rope_original_max_position_embeddings);
  rope("rope_beta_fast", p.model.rope_beta_fast);
  rope("rope_beta_slow", p.model.rope_beta_slow);
  p.model.rms_norm_eps = f.attribute("/", "rms_norm_eps");
  p.parallel.tensor = tensor;
  p.parallel.data = data;
  p.parallel.sequence_parallel = sequence_parallel;
  p.parallel.zero_stage = zero_stage;
  p.training.sequence_length = 24;
  p.training.global_batch_size = 2;
  p.training.micro_batch_size = 2 / data;
  p.training.loss_chunk_tokens = 7;  // does not divide the tokens
  p.training.dtype = dtype;
  return p;
}

namespace {

parallel::GridShape shape_of(const config::Parameters& p) {
  return {.tensor = static_cast<int>(p.parallel.tensor),
          .context = static_cast<int>(p.parallel.context),
          .data = static_cast<int>(p.parallel.data),
          .pipeline = static_cast<int>(p.parallel.pipeline)};
}

/// Rows and columns of `rectangle` out of a global tensor.
template <class Visit>
void for_each(const parallel::Rectangle& r, std::int64_t global_cols, Visit&& visit) {
  for (std::int64_t row = r.row_begin; row < r.row_end; ++row)
    for (std::int64_t col = r.col_begin; col < r.col_end; ++col)
      visit(row - r.row_begin, col - r.col_begin,
            static_cast<std::size_t>(row * global_cols + col));
}

/// A weight or gradient of the fixture as a row of the tensor table, and its largest absolute value
/// over all of Hugging Face's tensor.
struct FixtureTensor {
  std::vector<float> values;  // (rows, cols)
  double largest = 0.0;
};

FixtureTensor read_tensor(const Hdf5Fixture& fixture, const std::string& folder,
                          const parallel::TensorSpec& spec) {
  const parallel::HuggingFacePlace& place = spec.place;
  const std::vector<float> file =
      fixture.floats(folder + (place.name.empty() ? spec.name : place.name));
  FixtureTensor result;
  for (const float value : file) result.largest = std::max(result.largest, std::abs(double{value}));
  if (place.name.empty()) {
    result.values = file;
    return result;
  }
  REQUIRE(static_cast<std::int64_t>(file.size()) == place.total_rows * spec.cols);
  for (std::int64_t row = place.offset; row < place.offset + spec.rows; ++row)
    for (std::int64_t col = 0; col < spec.cols; ++col)
      result.values.push_back(file[static_cast<std::size_t>(
          place.transposed ? col * place.total_rows + row : row * spec.cols + col)]);
  return result;
}

}  // namespace

/// Counted, but for those of NCCL, which know their memory.
static parallel::GridCommunicators communicators_of(parallel::MpiSession& on,
                                                    const config::Parameters& p,
                                                    const parallel::ProcessGrid& grid,
                                                    const plan::TrainingMemory& memory,
                                                    const device::Context& context) {
  auto made = parallel::make_communicators(on, grid, memory.parameter_store->gradient_spans(),
                                           &context, library_of_test(), p.parallel.overlap_tensor);
  const bool over_nccl = library_of_test() == parallel::CollectiveLibrary::nccl;
  return over_nccl ? std::move(made) : parallel::counted(std::move(made));
}

ModelOnGrid::ModelOnGrid(const config::Parameters& p, std::shared_ptr<device::Gpu> with_gpu,
                         parallel::MpiSession& on, WithoutWeights)
    : parameters(p),
      grid(shape_of(p), on.rank(),
           parallel::views_of(p.model.num_key_value_heads, shape_of(p),
                              static_cast<int>(p.parallel.expert))),
      gpu(std::move(with_gpu)),
      context(gpu, plan::workspace_elements(p, grid, gpu ? gpu->backend() : device::Backend::host)),
      memory(plan::TrainingMemory::backed(
          parameters, grid, context,
          parallel::registered_memory(on, grid, context, library_of_test()))),
      communicators(communicators_of(on, parameters, grid, memory, context)),
      link(grid.shape().pipeline == 1
               ? nullptr
               : parallel::make_pipeline_link(on, grid, memory.assignment.placement, context,
                                              library_of_test())),
      stages(memory.architecture, *memory.weights, *memory.activations, context, communicators),
      stage(stages[0]) {
  memory.parameter_store->connect(communicators);
  if (link != nullptr && gpu == nullptr) stages.set_between_blocks([this] { link->progress(); });
  const bool reached =
      parallel::register_buffers(communicators, memory.activation_arena.from_source());
  const bool over_nccl = gpu && library_of_test() == parallel::CollectiveLibrary::nccl;
  REQUIRE(reached == (over_nccl && grid.shape().tensor > 1));
}

ModelOnGrid::ModelOnGrid(const config::Parameters& p, std::shared_ptr<device::Gpu> with_gpu,
                         parallel::MpiSession& on)
    : ModelOnGrid(p, std::move(with_gpu), on, WithoutWeights{}) {
  for (optim::StateShard& state : memory.optimizer->state()) {
    std::vector<float> master(static_cast<std::size_t>(state.master.size()));
    model::initialize(memory.architecture, *memory.parameter_store->tensor_of(state.shard).spec,
                      static_cast<std::uint64_t>(p.training.seed), state.shard.rectangle,
                      master.data());
    context.upload(state.master, master.data());
  }
  memory.optimizer->weights_from_master(context);
  memory.parameter_store->gather(context);
}

ModelOnGrid::ModelOnGrid(const Hdf5Fixture& fixture, const config::Parameters& p,
                         parallel::MpiSession& on)
    : ModelOnGrid(p, gpu_of_test(), on, WithoutWeights{}) {
  optim::AdamW& optimizer = *memory.optimizer;
  for (optim::StateShard& state : optimizer.state()) {
    const parallel::TensorSpec& spec = *optimizer.store().tensor_of(state.shard).spec;
    const std::vector<float> values = read_tensor(fixture, "weights/", spec).values;
    std::vector<float> master(static_cast<std::size_t>(state.master.size()));
    for_each(state.shard.rectangle, spec.cols, [&](std::int64_t r, std::int64_t c, std::size_t g) {
      master[static_cast<std::size_t>(r * state.master.cols + c)] = values[g];
    });
    context.upload(state.master, master.data());
  }
  optimizer.weights_from_master(context);
  memory.parameter_store->gather(context);
}

model::Batch ModelOnGrid::Tokens::view() const {
  return {
      .samples = device::view_of(samples.data(), num_samples, std::ssize(samples) / num_samples),
      .num_counted = num_samples};
}

ModelOnGrid::Tokens ModelOnGrid::share_of(const std::vector<std::uint32_t>& tokens,
                                          std::int64_t num_sequences) const {
  const std::int64_t row = parameters.training.sequence_length + 1;
  const std::int64_t share = num_sequences / grid.shape().data;
  const auto first = tokens.begin() + grid.data_rank() * share * row;
  return {.samples = {first, first + share * row}, .num_samples = share};
}

double ModelOnGrid::train(const std::vector<std::uint32_t>& tokens, std::int64_t num_sequences) {
  const Tokens share = share_of(tokens, num_sequences);
  const double total = static_cast<double>(num_sequences * parameters.training.sequence_length);
  stage.train(share.view(), {.loss_scale = static_cast<float>(1.0 / total),
                             .first = true,
                             .last = true,
                             .bucket_done =
                                 [&](int bucket) {
                                   memory.parameter_store->accumulated(context, bucket,
                                                                       /*last=*/true);
                                 },
                             .num_sequences = static_cast<double>(num_sequences)});
  std::vector<double> sums{train::loss_share(grid, stage.take_loss_sum())};
  const model::ExpertStatistics experts = stage.take_expert_statistics();
  experts.append_to(sums);
  communicators.world->all_reduce_sum(std::span<double>(sums));
  expert_statistics = model::ExpertStatistics::from(std::span(sums).subspan(1), experts);
  return sums[0] / total;
}

train::StepResult ModelOnGrid::step(const train::StepBatches& batches, std::int64_t step,
                                    const train::StepHooks& hooks) {
  config::OptimizerParameters unclipped = parameters.optimizer;
  unclipped.max_grad_norm = 0.0;
  config::Parameters p = parameters;  // some tests take other steps than those of their parameters
  p.training.global_batch_size =
      batches.num_micro_batches * p.training.micro_batch_size * grid.shape().data;
  memory.program = train::training_program(p, grid);
  return train::training_step(
      plan::step_model(context, grid, communicators, stages, memory, link.get()), batches,
      {.optimizer = unclipped, .learning_rate = 0.01, .step = step}, hooks);
}

double ModelOnGrid::max_over_ranks(double value) {
  std::array<double, 1> values{value};
  communicators.world->all_reduce_max(values);
  return values[0];
}

std::vector<float> ModelOnGrid::logits(const Hdf5Fixture& fixture) {
  const Tokens share = share_of(fixture.words("tokens"), 2);
  const std::int64_t vocab = memory.weights->sizes().vocab;
  const std::int64_t num_tokens = memory.activations->shape.tokens();
  const std::int64_t bytes = num_tokens * vocab * std::int64_t{sizeof(float)};
  device::Arena arena = device::Arena::backed("logits", bytes, gpu);
  const device::View out = arena.allocate("logits", DType::f32, num_tokens, vocab);
  stage.logits(share.view(), out);
  return context.download<float>(out);
}

double ModelOnGrid::divergence(const Hdf5Fixture& fixture) {
  const std::vector<float> expected = fixture.floats("logits");
  const std::vector<float> found = logits(fixture);
  REQUIRE(found.size() == expected.size());
  const auto vocab = static_cast<std::size_t>(parameters.model.vocab_size);
  const auto log_sum = [&](const float* row) {
    double sum = 0.0;
    for (std::size_t v = 0; v < vocab; ++v) sum += std::exp(double{row[v]});
    return std::log(sum);
  };
  double sum = 0.0;
  for (std::size_t begin = 0; begin < expected.size(); begin += vocab) {
    const float* p = expected.data() + begin;
    const float* q = found.data() + begin;
    const double log_p = log_sum(p);
    const double log_q = log_sum(q);
    for (std::size_t v = 0; v < vocab; ++v)
      sum += std::exp(double{p[v]} - log_p) * ((double{p[v]} - log_p) - (double{q[v]} - log_q));
  }
  return sum / static_cast<double>(expected.size() / vocab);
}

std::vector<std::int32_t> ModelOnGrid::tokens_of_rank() const {
  std::vector<std::int32_t> all(static_cast<std::size_t>(memory.activations->shape.tokens()));
  std::iota(all.begin(), all.end(), 0);
  if (grid.shape().context == 1) return all;
  const parallel::ContextBlocks blocks = model::context_blocks(memory.activations->shape);
  const auto rows = parallel::context_order(blocks, parallel::block_starts(blocks)).token_of_row;
  std::copy_n(rows.begin() + grid.context_rank() * std::ssize(all), all.size(), all.begin());
  return all;
}

double ModelOnGrid::logits_error(const Hdf5Fixture& fixture) {
  const model::LocalSizes& sizes = memory.weights->sizes();
  const std::vector<float> found = logits(fixture);
  const std::vector<std::int32_t> tokens = tokens_of_rank();
  const std::vector<float> expected = fixture.floats("logits");
  double largest = 0.0;
  for (const float value : expected) largest = std::max(largest, std::abs(double{value}));
  double error = 0.0;
  for (std::int64_t t = 0; t < std::ssize(tokens); ++t)
    for (std::int64_t v = 0; v < sizes.vocab_valid; ++v) {
      const std::int64_t row = grid.data_rank() * std::ssize(tokens) * grid.shape().context +
                               tokens[static_cast<std::size_t>(t)];
      const auto at =
          static_cast<std::size_t>(row * parameters.model.vocab_size + sizes.vocab_first + v);
      error =
          std::max(error, std::abs(double{found[static_cast<std::size_t>(t * sizes.vocab + v)]} -
                                   double{expected[at]}));
    }
  return max_over_ranks(error / largest);
}

double ModelOnGrid::gradient_error(const Hdf5Fixture& fixture) {
  double error = 0.0;
  for (const optim::StateShard& state : memory.optimizer->state()) {
    const parallel::LocalTensor& tensor = memory.parameter_store->tensor_of(state.shard);
    const FixtureTensor expected = read_tensor(fixture, "gradients/", *tensor.spec);
    const std::int64_t cols = tensor.gradient.cols;
    const std::vector<float> gradient = context.download<float>(tensor.gradient.row_range(
        state.shard.row_begin, state.shard.row_end - state.shard.row_begin));
    for_each(state.shard.rectangle, tensor.spec->cols,
             [&](std::int64_t r, std::int64_t c, std::size_t g) {
               const double found = gradient[static_cast<std::size_t>(r * cols + c)];
               error =
                   std::max(error, std::abs(found - double{expected.values[g]}) / expected.largest);
             });
  }
  return max_over_ranks(error);
}

double ModelOnGrid::gradient_norm() {
  const std::span<const double> mine = memory.gradient_norm->square_sums(context);
  std::vector<double> sums(mine.begin(), mine.end());
  communicators.world->all_reduce_sum(sums);
  return std::sqrt(optim::squared_norm(sums));
}

}  // namespace espalier::testing
