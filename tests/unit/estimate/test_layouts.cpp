#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <set>
#include <tuple>

#include "../../support/expect_error.hpp"
#include "../../support/parameters.hpp"
#include "config/grid.hpp"
#include "plan/estimate/estimate.hpp"
#include "plan/memory_fit.hpp"
#include "planned_devices.hpp"

using namespace espalier;
using plan::Layout;

namespace {

/// What tells layouts apart: tensor, context, data, pipeline, expert, sequence parallelism,
/// micro-batch, recompute, ZeRO.
using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t, bool,
                       std::int64_t, std::string, std::int64_t>;

Key key_of(const config::Parameters& p) {
  const config::ParallelParameters& grid = p.parallel;
  return {grid.tensor,
          grid.context,
          grid.data,
          grid.pipeline,
          grid.expert,
          grid.sequence_parallel,
          p.training.micro_batch_size,
          p.memory.recompute,
          grid.zero_stage};
}

bool resolves(config::Parameters p, int ranks) {
  try {
    config::resolve(p, ranks, config::Use::planning);
    return true;
  } catch (const Error&) {
    return false;
  }
}

/// Every combination of the keys is asked for.
std::set<Key> brute_force(const config::Parameters& run, int ranks) {
  std::set<Key> legal;
  config::Parameters p = run;
  const auto try_micro_batches = [&] {
    for (p.training.micro_batch_size = 1; p.training.micro_batch_size <= 13;
         ++p.training.micro_batch_size) {
      if (p.parallel.pipeline > 1 &&
          p.training.global_batch_size / p.training.micro_batch_size / p.parallel.data <
              p.parallel.pipeline)
        continue;
      for (const char* recompute : {"none", "selective", "mlp", "full"})
        for (p.parallel.zero_stage = 0; p.parallel.zero_stage <= 1; ++p.parallel.zero_stage) {
          p.memory.recompute = recompute;
          if (p.parallel.zero_stage == 0 && (p.parallel.data == 1 || p.parallel.pipeline > 1 ||
                                             p.parallel.expert > 1 || p.parallel.context > 1))
            continue;
          p.parallel.sequence_parallel = true;
          if (!resolves(p, ranks)) p.parallel.sequence_parallel = false;
          if (resolves(p, ranks)) legal.insert(key_of(p));
        }
    }
  };
  for (p.parallel.pipeline = 1; p.parallel.pipeline <= ranks; ++p.parallel.pipeline)
    for (p.parallel.tensor = 1; p.parallel.tensor <= ranks; ++p.parallel.tensor)
      for (p.parallel.data = 1; p.parallel.data <= ranks; ++p.parallel.data)
        for (p.parallel.context = 1; p.parallel.context <= ranks; ++p.parallel.context) {
          const std::int64_t length = p.training.sequence_length;
          if (p.parallel.context > 1 &&
              (length / p.parallel.context < 4096 || length % (128 * p.parallel.context) != 0))
            continue;
          for (p.parallel.expert = 1; p.parallel.expert <= (p.model.num_experts > 0 ? ranks : 1);
               ++p.parallel.expert)
            if (config::grid_shape(p).size() == ranks) try_micro_batches();
        }
  return legal;
}

void expect_all(const config::Parameters& run, int ranks) {
  INFO("on " << ranks << " ranks");
  const std::set<Key> expected = brute_force(run, ranks);
  if (expected.empty()) {
    testing::message_of([&] { plan::layouts(run, testing::device(), ranks); });
    return;
  }
  const std::vector<Layout> found = plan::layouts(run, testing::device(), ranks);
  std::set<Key> keys;
  for (const Layout& layout : found) keys.insert(key_of(layout.parameters));
  CHECK(keys.size() == found.size());
  CHECK(keys == expected);
}

}  // namespace

TEST_CASE("every legal layout is there once, and no other") {
  for (const int ranks : {1, 2, 4, 5, 6, 8}) expect_all(testing::small_run(), ranks);
}

TEST_CASE("experts are divided over ranks in every way that their number allows") {
  config::Parameters run = testing::small_run();
  run.model.model_type = "qwen3_moe";
  run.model.num_experts = 6;
  run.model.num_experts_per_tok = 2;
  run.model.moe_intermediate_size = 96;
  for (const int ranks : {2, 4, 6}) expect_all(run, ranks);
}

TEST_CASE("ranks share long sequences in every way that leaves each 4,096 tokens") {
  config::Parameters run = testing::small_run();
  run.training.sequence_length = 3 * 4096;
  for (const int ranks : {2, 3, 6}) expect_all(run, ranks);
  run.training.sequence_length = 2 * 4095;
  expect_all(run, 2);
}

TEST_CASE("experts and stages stand beside context ranks; times and memory are the estimate's") {
  config::Parameters run = testing::small_run();
  run.training.sequence_length = 8192;
  run.model.model_type = "qwen3_moe";
  run.model.num_experts = 6;
  run.model.num_experts_per_tok = 2;
  run.model.moe_intermediate_size = 96;
  expect_all(run, 4);
  const config::HardwareParameters hardware = testing::device();
  bool any = false;
  for (const Layout& layout : plan::layouts(run, hardware, 4)) {
    const config::Parameters& p = layout.parameters;
    if (p.parallel.context == 1 || p.training.micro_batch_size > 2) continue;
    INFO(plan::describe_layout(p));
    any |= p.parallel.expert == 2 && p.parallel.pipeline == 2;
    CHECK(layout.estimate.memory_bytes == plan::estimate(p, hardware).memory_bytes);
    CHECK(layout.estimate.time.step() == plan::estimate(p, hardware).time.step());
    CHECK(layout.estimate.time.context_exposed > 0.0);
  }
  CHECK(any);
}

TEST_CASE("a sequence that no rank can hold is shared by several") {
  config::Parameters run = testing::qwen3_8b();
  run.training.global_batch_size = 16;
  run.training.sequence_length = 131072;
  run.training.steps = 10;
  run.model.max_position_embeddings = 131072;
  const Layout best = plan::best_layout(run, testing::device(80.0), 64);
  CHECK(best.parameters.parallel.context > 1);
  CHECK(plan::describe_layout(best.parameters)
            .starts_with(
                fmt::format("tensor {} x context {} x data {}", best.parameters.parallel.tensor,
                            best.parameters.parallel.context, best.parameters.parallel.data)));
  CHECK_THAT(plan::short_grid(best.parameters),
             Catch::Contains(fmt::format(", c {}", best.parameters.parallel.context)));
}

TEST_CASE("a pipeline has the input's schedule where that fits, else 1f1b") {
  config::Parameters run = testing::small_run();
  run.model.num_hidden_layers = 4;
  run.parallel.schedule = "interleaved";  // needs a multiple of its ranks, and six stages
  run.parallel.chunks = 3;
  std::set<std::string> schedules;
  for (const Layout& layout : plan::layouts(run, testing::device(), 2)) {
    const config::Parameters& p = layout.parameters;
    if (p.parallel.pipeline == 1) continue;
    const bool fits = 12 / p.training.micro_batch_size / p.parallel.data % p.parallel.pipeline == 0;
    CHECK(p.parallel.schedule == (fits ? "interleaved" : "1f1b"));
    schedules.insert(p.parallel.schedule);
  }
  CHECK(schedules.size() == 2);
}

TEST_CASE("a pipeline of an input that names no schedule has the fastest that fits") {
  config::Parameters run = testing::small_run();
  run.model.num_hidden_layers = 8;
  const config::HardwareParameters hardware = testing::device();
  const auto with = [&](const char* schedule, std::int64_t chunks) {
    config::Parameters p = run;
    p.plan.schedule = schedule;
    p.plan.chunks = chunks;
    return plan::layouts(p, hardware, 4);
  };
  std::map<Key, double> fastest;
  struct Way {
    const char* schedule;
    std::int64_t chunks;
  };
  for (const auto& [schedule, chunks] : {Way{"1f1b", 0},
                                         {"zb-h1", 0},
                                         {"interleaved", 2},
                                         {"interleaved", 4},
                                         {"zb1p", 2},
                                         {"zb1p", 4},
                                         {"zb-v", 2},
                                         {"dualpipe-v", 2}})
    for (const Layout& layout : with(schedule, chunks)) {
      const config::Parameters& p = layout.parameters;
      CHECK((p.parallel.pipeline == 1 || p.parallel.schedule == schedule ||
             p.parallel.schedule == "1f1b"));
      const double seconds = layout.estimate.time.step();
      const auto [known, is_new] = fastest.try_emplace(key_of(p), seconds);
      known->second = std::min(known->second, seconds);
    }
  std::set<std::string> chosen;
  const std::vector<Layout> open = plan::layouts(run, hardware, 4);
  CHECK(open.size() == fastest.size());
  for (const Layout& layout : open) {
    const config::Parameters& p = layout.parameters;
    INFO(plan::describe_layout(p));
    CHECK(layout.estimate.time.step() == fastest.at(key_of(p)));
    CHECK(resolves(p, 4));
    CHECK(layout.estimate.memory_bytes == plan::estimate(p, hardware).memory_bytes);
    CHECK(layout.estimate.time.step() == plan::estimate(p, hardware).time.step());
    if (p.parallel.pipeline > 1) chosen.insert(p.parallel.schedule);
  }
  CHECK(chosen.size() > 1);
}

TEST_CASE("chunks that a schedule cannot have are refused with what it has") {
  config::Parameters run = testing::small_run();
  const auto message = [&] {
    return testing::message_of([&] { plan::layouts(run, testing::device(), 2); });
  };
  run.plan.schedule = "zb-v";
  run.plan.chunks = 3;
  testing::expect_words(message(), {"plan.chunks = 3", "zb-v has 2 chunks"});
  run.plan.schedule = "all";
  run.parallel.schedule = "interleaved";
  run.parallel.chunks = 1;
  testing::expect_words(message(), {"parallel.chunks = 1", "interleaved has at least 2"});
}

TEST_CASE("layouts are legal as the input says, also where sequences do not divide") {
  config::Parameters run = testing::small_run();
  run.training.sequence_length = 255;  // not over two ranks with a micro-batch of one
  for (const int ranks : {2, 4, 6}) expect_all(run, ranks);
  const std::vector<Layout> found = plan::layouts(run, testing::device(), 2);
  const auto splits = [](const Layout& l) { return l.parameters.parallel.sequence_parallel; };
  const auto is_of_two = [](const Layout& l) { return l.parameters.parallel.tensor == 2; };
  CHECK(std::any_of(found.begin(), found.end(),
                    [&](const Layout& l) { return is_of_two(l) && splits(l); }));
  CHECK(std::any_of(found.begin(), found.end(),
                    [&](const Layout& l) { return is_of_two(l) && !splits(l); }));
}

TEST_CASE("more tensor ranks than key and value heads are laid out") {
  const std::vector<Layout> found = plan::layouts(testing::small_run(), testing::device(), 6);
  CHECK(std::any_of(found.begin(), found.end(),
                    [](const Layout& l) { return l.parameters.parallel.tensor == 6; }));
}

TEST_CASE("what the input says of the layout is not asked") {
  config::Parameters run = testing::small_run();
  const std::vector<Layout> plain = plan::layouts(run, testing::device(), 4);
  run.parallel.tensor = 5;
  run.parallel.context = 3;
  run.parallel.data = 7;
  run.training.micro_batch_size = 11;
  run.memory.recompute = "full";
  run.parallel.zero_stage = 0;
  const std::vector<Layout> other = plan::layouts(run, testing::device(), 4);
  REQUIRE(other.size() == plain.size());
  for (std::size_t i = 0; i < plain.size(); ++i)
    CHECK(key_of(other[i].parameters) == key_of(plain[i].parameters));
}

TEST_CASE("the memory of a layout is that of the rank that needs most, with its libraries") {
  const config::HardwareParameters hardware = testing::device();
  config::Parameters of_long = testing::small_run();
  of_long.training.sequence_length = 3 * 4096;
  of_long.training.global_batch_size = 4;
  const std::vector<std::pair<int, config::Parameters>> runs = {{1, testing::small_run()},
                                                                {2, testing::small_run()},
                                                                {4, testing::small_run()},
                                                                {6, testing::small_run()},
                                                                {6, of_long}};
  for (const auto& [ranks, run] : runs)
    for (const Layout& layout : plan::layouts(run, hardware, ranks)) {
      const config::Parameters& p = layout.parameters;
      INFO(plan::describe_layout(p));
      const parallel::GridShape shape = config::grid_shape(p);
      std::int64_t most = 0;
      for (int rank = 0; rank < ranks; ++rank)
        most = std::max(most,
                        plan::TrainingMemory::planned(p, {shape, rank}, device::Backend::cuda, 100)
                            .total_bytes());
      const plan::Room room{.backend = device::Backend::cuda,
                            .free_bytes = 0,
                            .whose = "",
                            .compute_capability = 100,
                            .has_context = false};
      CHECK(layout.estimate.library_bytes == plan::library_bytes(p, shape, room));
      CHECK(layout.estimate.memory_bytes == most + layout.estimate.library_bytes);
      CHECK(layout.estimate.memory_bytes == plan::estimate(p, hardware).memory_bytes);
    }
}

TEST_CASE("layouts that fit come first, the fastest first, and then the smallest") {
  // Between the smallest and the largest layout.
  const std::vector<Layout> everything = plan::layouts(testing::small_run(), testing::device(), 4);
  std::int64_t least = everything.front().estimate.memory_bytes, most = least;
  for (const Layout& layout : everything) {
    least = std::min(least, layout.estimate.memory_bytes);
    most = std::max(most, layout.estimate.memory_bytes);
  }
  const double between = 0.5 * static_cast<double>(least + most) / (1 << 30);
  const std::vector<Layout> all = plan::layouts(testing::small_run(), testing::device(between), 4);
  REQUIRE(all.size() == everything.size());
  REQUIRE(all.front().estimate.fits);
  REQUIRE_FALSE(all.back().estimate.fits);
  for (std::size_t i = 1; i < all.size(); ++i) {
    const plan::Estimate &before = all[i - 1].estimate, &now = all[i].estimate;
    if (now.fits) {
      CHECK(before.fits);
      CHECK(before.tokens_per_second >= now.tokens_per_second);
      CHECK(before.step() <= now.step());
    } else if (!before.fits) {
      CHECK(before.memory_bytes <= now.memory_bytes);
    }
    CHECK(now.fits == (static_cast<double>(now.memory_bytes) <= between * (1 << 30)));
  }
}

TEST_CASE("the best layout is the first, and more memory never makes it slower") {
  config::Parameters run = testing::qwen3_8b();
  run.training.global_batch_size = 64;
  run.training.steps = 10;
  double before = 0.0;
  for (const double gib : {60.0, 80.0, 141.0, 178.0, 268.0}) {
    const config::HardwareParameters hardware = testing::device(gib);
    const Layout best = plan::best_layout(run, hardware, 8);
    const std::vector<Layout> all = plan::layouts(run, hardware, 8);
    CHECK(key_of(best.parameters) == key_of(all.front().parameters));
    CHECK(best.estimate.tokens_per_second == all.front().estimate.tokens_per_second);
    CHECK(best.estimate.tokens_per_second >= before);
    before = best.estimate.tokens_per_second;
  }
}

TEST_CASE("why a layout comes behind the best names what takes longer") {
  const auto with = [](double tensor, double data, const char* recompute, std::int64_t micro) {
    Layout layout;
    layout.parameters = testing::small_run();
    layout.parameters.parallel.data = 1;
    layout.parameters.memory.recompute = recompute;
    layout.parameters.training.micro_batch_size = micro;
    layout.estimate.time.products = 0.9;
    layout.estimate.time.tensor_exposed = tensor;
    layout.estimate.time.data_exposed = data;
    return layout;
  };
  const Layout best = with(0.05, 0.05, "none", 4);
  CHECK(plan::why_slower(best, best).empty());
  CHECK(plan::why_slower(best, with(0.17, 0.05, "none", 4)) == "tensor communication +12.0 %");
  CHECK(plan::why_slower(best, with(0.17, 0.09, "none", 4)) ==
        "tensor communication +12.0 %, data communication +4.0 %");
  CHECK(plan::why_slower(best, with(0.05, 0.15, "full", 2)) ==
        "recompute, 2 x the micro-batches: data communication +10.0 %");
}

TEST_CASE("ranks that no layout can use name the numbers near that have one") {
  // Data ranks divide 12 samples; tensor ranks are 1, 2, 3 or 6; a pipeline of three blocks has up
  // to five ranks, and no fewer micro-batches.
  const auto message = [](std::int64_t ranks) {
    return testing::message_of(
        [&] { plan::layouts(testing::small_run(), testing::device(), ranks); });
  };
  testing::expect_words(message(7), {"7 ranks", "6 or 8", "global_batch_size = 12"});
  testing::expect_words(message(71), {"71 ranks", "60 or 72"});
  testing::expect_words(message(1000003), {"1,000,003 ranks", "Use 72 ranks"});
  testing::expect_words(message(0), {"plan.ranks = 0"});
  testing::expect_words(message(std::int64_t{1} << 40), {"plan.ranks", "1,048,576"});
  // Two or three ranks may share each sequence.
  config::Parameters of_long = testing::small_run();
  of_long.training.global_batch_size = 1;
  of_long.model.num_attention_heads = 1;
  of_long.model.num_key_value_heads = 1;
  of_long.training.sequence_length = 3 * 4096;
  testing::expect_words(testing::message_of([&] { plan::layouts(of_long, testing::device(), 4); }),
                        {"tensor x context x data x pipeline", "sequence_length = 12288",
                         "at most 3", "Use 3 ranks"});
}

TEST_CASE("an input that is wrong on every layout says so") {
  config::Parameters run = testing::small_run();
  run.training.steps = 0;
  testing::expect_words(testing::message_of([&] { plan::layouts(run, testing::device(), 4); }),
                        {"training.steps", "training.tokens"});
  run = {};
  run.training.steps = 10;
  testing::expect_words(testing::message_of([&] { plan::layouts(run, testing::device(), 4); }),
                        {"model.file"});
}

TEST_CASE("where nothing fits, the nearest layout and what would help are named") {
  config::Parameters run = testing::qwen3_8b();
  run.training.global_batch_size = 64;
  run.training.steps = 10;
  const std::string text =
      testing::message_of([&] { plan::best_layout(run, testing::device(40.0), 1); });
  testing::expect_words(text, {"1 x Test GPU", "40.0 GiB", "optimizer state", "recompute full",
                               "plan.ranks = 4", "plan.device", "training.sequence_length"});
  // What it proposes fits.
  CHECK(plan::layouts(run, testing::device(40.0), 4).front().estimate.fits);
}
