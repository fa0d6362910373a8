// What a stage of a pipeline does with its slots has the bits of one micro-batch after another
// through the whole model.
#include <catch2/catch.hpp>
#include <memory>

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

/// A stage over the weights of a model, in memory of its own.
struct StageInMemory {
  StageInMemory(ModelOnGrid& model, const model::ActivationShape& shape)
      : arena(backed_for(model, shape)),
        activations(model.memory.weights->sizes(), shape, model.memory.dtype, arena),
        stage(model.memory.architecture, *model.memory.weights, activations, model.context,
              model.communicators) {
    CHECK(arena.used_bytes() == planned_bytes(model, shape));
  }
  static std::int64_t planned_bytes(ModelOnGrid& model, const model::ActivationShape& shape) {
    device::Arena plan = device::Arena::planning("activations");
    const model::Activations planned(model.memory.weights->sizes(), shape, model.memory.dtype,
                                     plan);
    return plan.used_bytes();
  }
  static device::Arena backed_for(ModelOnGrid& model, const model::ActivationShape& shape) {
    return device::Arena::backed("activations", planned_bytes(model, shape), model.gpu);
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
    return {.loss_scale = kLossScale, .first = number == 0, .bucket_done = [this](int bucket) {
              done.push_back(bucket);
            }};
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
  for (const int number : {0, 1})
    stage.train(run.batch(number), kLossScale, number == 0,
                [&](int bucket) { run.done.push_back(bucket); });
  return run.outcome(stage);
}

/// Parameters of the fixtures' models that a pipeline may meet, for a tensor group of all ranks.
std::vector<config::Parameters> cases(const Hdf5Fixture& fixture) {
  std::vector<config::Parameters> all;
  const int size = testing::session().size();
  for (const char* recompute : {"none", "selective", "mlp", "full"})
    for (const bool sequence_parallel : {false, true})
      for (const bool overlap : {false, true}) {
        if (size == 1 && (sequence_parallel || overlap)) continue;
        config::Parameters p = testing::parameters_of(fixture, size, 1, sequence_parallel, 1,
                                                      overlap ? "bfloat16" : "float32");
        p.memory.recompute = recompute;
        p.parallel.overlap_tensor = overlap;
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
      StageInMemory two_slots(together.model, shape);
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
      shape.defers_weights = true;
      StageInMemory deferring(later.model, shape);
      Stage& stage = deferring.stage;
      stage.load(0, later.batch(0));
      stage.forward(0);
      stage.load(1, later.batch(1));
      stage.forward(1);
      stage.backward_inputs(0, later.pass(0));
      stage.backward_inputs(1, later.pass(1));
      stage.backward_weights(0, later.pass(0));
      stage.backward_weights(1, later.pass(1));
      capture(p, name);
      CHECK(later.outcome(stage) == expected);
    }
  }
}

TEST_CASE("two stages have the bits of the whole model") {
  if (testing::gpu_of_test() != nullptr) return;
  for (const std::string name : {"tied_k2", "untied_k1", "gpt2"}) {
    const Hdf5Fixture fixture(testing::fixture_path(name));
    for (const config::Parameters& p : cases(fixture)) {
      Run plain(fixture, p), divided(fixture, p);
      const Outcome expected = one_after_another(plain);
      model::ActivationShape shape = divided.shape();
      const std::int64_t num_layers = p.model.num_hidden_layers;
      shape.num_slots = 2;
      shape.extent = {.first = 0, .num_layers = 1, .has_embedding = true, .has_head = false};
      StageInMemory first(divided.model, shape);
      shape.extent = {
          .first = 1, .num_layers = num_layers - 1, .has_embedding = false, .has_head = true};
      StageInMemory second(divided.model, shape);
      device::Context& context = divided.model.context;
      const auto hand_over = [&](const device::View& to, const device::View& from) {
        REQUIRE(to.size_bytes() == from.size_bytes());
        std::copy_n(static_cast<const std::byte*>(from.data), from.size_bytes(),
                    static_cast<std::byte*>(to.data));
      };
      const auto forward = [&](int number) {
        for (StageInMemory* stage : {&first, &second})
          stage->stage.load(number, divided.batch(number));
        first.stage.forward(number);
        const auto slot = static_cast<std::size_t>(number);
        hand_over(second.activations.slots[slot].input(), first.activations.slots[slot].x_final);
        second.stage.forward(number);
      };
      const auto backward = [&](int number) {
        second.stage.backward(number, divided.pass(number));
        const auto slot = static_cast<std::size_t>(number);
        hand_over(first.activations.slots[slot].d_output, second.activations.slots[slot].d_input);
        first.stage.backward(number, divided.pass(number));
      };
      forward(0);
      forward(1);
      backward(0);
      backward(1);
      context.synchronize();
      capture(p, name);
      CHECK(divided.outcome(second.stage) == expected);
      CHECK(divided.done == plain.done);
    }
  }
}

}  // namespace espalier
