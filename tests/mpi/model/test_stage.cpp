// What a stage of a pipeline does with its slots has the bits of one micro-batch after another
// through the whole model.
#include <catch2/catch.hpp>
#include <cstring>

#include "mpi/model/model_on_grid.hpp"

namespace espalier {
namespace {

using model::Stage;
using testing::Hdf5Fixture;
using testing::ModelOnGrid;

constexpr float kLossScale = 1.0F / 48.0F;

struct Outcome {
  double loss;
  std::vector<std::vector<float>> gradients;  ///< of this rank, in the order of the table
  bool operator==(const Outcome&) const = default;
};

/// A stage over weights, with activations of its own.
struct StageInMemory {
  StageInMemory(ModelOnGrid& model, model::Weights& weights, const model::ActivationShape& shape)
      : arena(device::Arena::backed("activations", planned_bytes(model, shape), model.gpu)),
        activations(weights.sizes(), shape, model.memory.dtype, arena),
        stage(model.memory.architecture, weights, activations, model.context, model.communicators) {
    CHECK(arena.used_bytes() == planned_bytes(model, shape));
  }
  static std::int64_t planned_bytes(ModelOnGrid& model, const model::ActivationShape& shape) {
    device::Arena plan = device::Arena::planning("activations");
    const model::Activations planned(model.memory.weights->sizes(), shape, model.memory.dtype,
                                     plan);
    return plan.used_bytes();
  }
  device::Arena arena;
  model::Activations activations;
  Stage stage;
};

/// Runs micro-batches of a sequence each, of the fixture's two.
class Run {
 public:
  Run(const Hdf5Fixture& fixture, const config::Parameters& p)
      : model(fixture, p), share_(model.share_of(fixture.words("tokens"), 2)) {
    for (const parallel::LocalTensor& tensor : model.memory.parameter_store->tensors())
      for (std::int64_t row = 0; row < tensor.gradient.rows; ++row)
        std::fill_n(tensor.gradient.as<float>(row), tensor.gradient.cols, 7.0F);  // of before
  }
  model::Batch batch(int number) const {
    model::Batch batch = share_.view();
    batch.samples = batch.samples.row_range(number, 1);
    batch.num_counted = 1;
    return batch;
  }
  Stage::BackwardPass pass(int number) {
    return {.loss_scale = kLossScale,
            .first = number == 0,
            .last = number == 1,
            .bucket_done = [this](int bucket) { done.push_back(bucket); }};
  }
  Outcome outcome(Stage& last) {
    Outcome outcome{.loss = last.take_loss_sum(), .gradients = {}};
    for (const parallel::LocalTensor& tensor : model.memory.parameter_store->tensors())
      outcome.gradients.push_back(model.context.download<float>(tensor.gradient));
    return outcome;
  }
  model::ActivationShape shape() const { return model.memory.activations->shape; }

  ModelOnGrid model;
  std::vector<int> done;  ///< buckets, in the order in which they became final

 private:
  ModelOnGrid::Tokens share_;
};

Outcome one_after_another(Run& run) {
  Stage& stage = run.model.stage;
  for (const int number : {0, 1}) stage.train(run.batch(number), run.pass(number));
  return run.outcome(stage);
}

/// Parameters of the fixtures' models that a pipeline may meet, for a tensor group of all ranks.
std::vector<config::Parameters> cases(const Hdf5Fixture& fixture) {
  std::vector<config::Parameters> all;
  const int size = testing::session().size();
  for (const char* recompute : {"none", "selective", "mlp", "full", "budget"})
    for (const bool sequence_parallel : {false, true})
      for (const bool overlap : {false, true}) {
        if (size == 1 && sequence_parallel) continue;
        if (size == 4 && !overlap) continue;  // for their time
        const char* dtype = sequence_parallel == overlap ? "bfloat16" : "float32";
        config::Parameters p =
            testing::parameters_of(fixture, size, 1, sequence_parallel, 1, dtype);
        p.memory.recompute = recompute;
        // A block that recomputes all behind one that recomputes little.
        if (p.memory.recompute == "budget") p.memory.recompute_blocks = {0, 1, 0, 1};
        p.parallel.overlap_tensor = overlap && size > 1;
        p.training.micro_batch_size = 1;
        all.push_back(p);
      }
  return all;
}

void capture(const config::Parameters& p, const std::string& name) {
  UNSCOPED_INFO(name << ", " << p.memory.recompute << ", sequence parallel "
                     << p.parallel.sequence_parallel << ", overlap " << p.parallel.overlap_tensor);
}

}  // namespace

TEST_CASE("micro-batches that are on their way together have the bits of one after another") {
  if (testing::gpu_of_test() != nullptr) return;
  for (const std::string name : {"tied_k2", "untied_k1", "gpt2"}) {
    const Hdf5Fixture fixture(testing::fixture_path(name));
    for (const config::Parameters& p : cases(fixture)) {
      if (p.model.num_key_value_heads % p.parallel.tensor != 0 &&
          p.parallel.tensor % p.model.num_key_value_heads != 0)
        continue;
      Run plain(fixture, p), together(fixture, p);
      const Outcome expected = one_after_another(plain);
      model::ActivationShape shape = together.shape();
      shape.num_slots = 2;
      StageInMemory two_slots(together.model, *together.model.memory.weights, shape);
      Stage& stage = two_slots.stage;
      for (const int slot : {0, 1}) {
        stage.load(slot, together.batch(slot));
        stage.forward(slot);
      }
      for (const int slot : {0, 1}) stage.backward(slot, together.pass(slot));
      capture(p, name);
      CHECK(together.outcome(stage) == expected);
      CHECK(together.done == plain.done);
    }
  }
}

TEST_CASE("gradients of weights that are computed later have the same bits") {
  if (testing::gpu_of_test() != nullptr) return;
  for (const std::string name : {"tied_k2", "untied_k1", "gpt2"}) {
    const Hdf5Fixture fixture(testing::fixture_path(name));
    for (const config::Parameters& p : cases(fixture)) {
      Run plain(fixture, p), later(fixture, p);
      const Outcome expected = one_after_another(plain);
      model::ActivationShape shape = later.shape();
      shape.num_slots = 2;
      shape.num_weight_slots = 2;
      StageInMemory deferring(later.model, *later.model.memory.weights, shape);
      Stage& stage = deferring.stage;
      stage.load(0, later.batch(0));
      stage.forward(0);
      stage.load(1, later.batch(1));
      stage.forward(1);
      stage.backward_inputs(0, 0, later.pass(0));
      stage.backward_inputs(1, 1, later.pass(1));
      stage.backward_weights(0, 0, later.pass(0));
      stage.backward_weights(1, 1, later.pass(1));
      capture(p, name);
      CHECK(later.outcome(stage) == expected);
      // Head, embeddings, head, embeddings; then the blocks of either micro-batch.
      const model::Buckets buckets = later.model.memory.weights->buckets();
      std::vector<int> order{buckets.head(), buckets.embedding(), buckets.head(),
                             buckets.embedding()};
      for (int slot = 0; slot < 2; ++slot)
        for (auto layer = p.model.num_hidden_layers - 1; layer >= 0; --layer)
          order.push_back(buckets.of_block(layer));
      CHECK(later.done == order);
    }
  }
}

namespace {

/// A stage of a pipeline of two with weights of its own, which are those of the whole model.
struct StageWithWeights {
  StageWithWeights(ModelOnGrid& model, const model::StageAssignment& assignment, int place)
      : weight_arena(device::Arena::backed("weights", 1 << 24)),
        gradient_arena(device::Arena::backed("gradients", 1 << 24)),
        message_arena(device::Arena::backed("messages", 1 << 24)),
        weights(model.memory.architecture, grid_of(model, place), model.memory.dtype, weight_arena,
                &gradient_arena, model.parameters.parallel.sequence_parallel, assignment),
        memory(model, weights, with(model.memory.activations->shape, assignment.of_rank(place))) {
    const std::int64_t rows = memory.activations.shape.local_tokens();
    message = message_arena.allocate("message", model.memory.dtype, rows, weights.sizes().hidden);
    for (const parallel::LocalTensor& mine : weights.local_tensors()) {
      if (!mine.is_here()) continue;
      for (const parallel::LocalTensor& whole : model.memory.parameter_store->tensors())
        if (whole.spec->name == mine.spec->name) copy(mine.weight, whole.weight);
      for (std::int64_t row = 0; row < mine.gradient.rows; ++row)
        std::fill_n(mine.gradient.as<float>(row), mine.gradient.cols, 7.0F);  // of before
    }
  }
  static parallel::ProcessGrid grid_of(const ModelOnGrid& model, int place) {
    parallel::GridShape shape = model.grid.shape();
    shape.pipeline = 2;
    return {shape, model.grid.rank() + place * shape.stage_size(), model.grid.views()};
  }
  static model::ActivationShape with(model::ActivationShape shape,
                                     std::vector<model::StageExtent> chunks) {
    shape.num_slots = 2;
    shape.chunks = std::move(chunks);
    return shape;
  }
  static void copy(const device::View& to, const device::View& from) {
    REQUIRE(to.size() == from.size());
    const auto bytes = from.cols * static_cast<std::int64_t>(size_of(from.dtype));
    for (std::int64_t row = 0; row < from.rows; ++row)
      std::memcpy(row_of(to, row), row_of(from, row), static_cast<std::size_t>(bytes));
  }
  static std::byte* row_of(const device::View& view, std::int64_t row) {
    return static_cast<std::byte*>(view.row_range(row, 1).data);
  }
  std::vector<float> gradient(device::Context& context, const std::string& name) const {
    for (const parallel::LocalTensor& tensor : weights.local_tensors())
      if (tensor.spec->name == name && tensor.is_here())
        return context.download<float>(tensor.gradient);
    return {};
  }
  device::Arena weight_arena, gradient_arena, message_arena;
  model::Weights weights;
  StageInMemory memory;
  device::View message;  ///< from it to the other stage
};

}  // namespace

TEST_CASE("two stages, each with its part of the weights, have the bits of the whole model") {
  if (testing::gpu_of_test() != nullptr) return;
  for (const std::string name : {"tied_k2", "untied_k1", "gpt2"}) {
    const Hdf5Fixture fixture(testing::fixture_path(name));
    for (const config::Parameters& p : cases(fixture)) {
      Run plain(fixture, p), divided(fixture, p);
      const Outcome expected = one_after_another(plain);
      const model::StageAssignment assignment = model::assign_stages(
          {.ranks = 2}, std::vector<std::int64_t>{1, p.model.num_hidden_layers - 1});
      StageWithWeights first(divided.model, assignment, 0);
      StageWithWeights second(divided.model, assignment, 1);
      const auto forward = [&](int number) {
        for (StageWithWeights* stage : {&first, &second})
          stage->memory.stage.load(number, divided.batch(number));
        first.memory.stage.forward(number, {}, first.message);
        second.memory.stage.forward(number, first.message);
      };
      const auto backward = [&](int number) {
        Stage::BackwardPass pass = divided.pass(number);
        pass.d_input = second.message;
        second.memory.stage.backward(number, pass);
        pass.d_output = second.message;
        first.memory.stage.backward(number, pass);
      };
      forward(0);
      forward(1);
      backward(0);
      backward(1);
      capture(p, name);
      CHECK(second.memory.stage.take_loss_sum() == expected.loss);
      const auto tensors = divided.model.memory.parameter_store->tensors();
      for (std::size_t i = 0; i < tensors.size(); ++i) {
        INFO(tensors[i].spec->name);
        const std::vector<float> of_first =
            first.gradient(divided.model.context, tensors[i].spec->name);
        const std::vector<float> of_second =
            second.gradient(divided.model.context, tensors[i].spec->name);
        if (of_first.empty() || of_second.empty()) {
          CHECK((of_first.empty() ? of_second : of_first) == expected.gradients[i]);
          continue;
        }
        // The tied weight: its two users' gradients are added up once, as in one rank.
        std::vector<float> sum = of_first;
        for (std::size_t e = 0; e < sum.size(); ++e) sum[e] += of_second[e];
        CHECK(sum == expected.gradients[i]);
      }
    }
  }
}

}  // namespace espalier
