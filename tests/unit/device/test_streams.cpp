// What a context does on a GPU: who waits for whom, whose time it is, what a graph repeats.
#include <catch2/catch.hpp>
#include <chrono>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "deferred_gpu.hpp"
#include "device/arena.hpp"
#include "device/context.hpp"
#include "device/gpu_timeline.hpp"

namespace espalier::device {
namespace {

using testing::DeferredGpu;

std::vector<float> counted(std::int64_t count, float first) {
  std::vector<float> values(static_cast<std::size_t>(count));
  std::iota(values.begin(), values.end(), first);
  return values;
}

double seconds_of(const Profiler& profiler, Phase phase) {
  return profiler.seconds()[static_cast<std::size_t>(phase)];
}

}  // namespace

TEST_CASE("small uploads do not wait for the stream, and their source may be reused", "[staging]") {
  const auto gpu = std::make_shared<DeferredGpu>();
  Context context(gpu);
  Arena arena = Arena::backed("matrices", 1 << 20, gpu);
  const View wide = arena.allocate("wide", DType::f32, 7, 40);
  const View part = wide.col_range(8, 20);  // rows with gaps
  std::vector<float> values = counted(part.size(), 1.0f);
  const std::vector<float> first = values;
  const int before = gpu->num_waits;
  context.upload(part, values.data());
  values.assign(values.size(), -1.0f);
  context.upload(wide.row_range(6, 1).col_range(0, 5), values.data());
  CHECK(gpu->num_waits == before);
  CHECK(gpu->num_pending() > 0);
  CHECK(context.download<float>(part) == first);
  CHECK(context.download<float>(wide.row_range(6, 1).col_range(0, 5)) ==
        std::vector<float>(5, -1.0f));
  CHECK(wide.as<float>(6)[5] == 0.0f);
}

TEST_CASE("an upload waits for its slot, and longer matrices than all slots arrive", "[staging]") {
  const auto gpu = std::make_shared<DeferredGpu>();
  Context context(gpu);
  // 20 MiB in rows of 2.5 MiB, which no slot holds, and in rows of 12 bytes.
  for (const std::int64_t cols : {std::int64_t{655360}, std::int64_t{3}}) {
    const std::int64_t rows = 5242880 / cols;
    Arena arena = Arena::backed("long", 21 << 20, gpu);
    const View all = arena.allocate("all", DType::f32, rows, cols);
    const std::vector<float> values = counted(all.size(), 0.0f);
    context.upload(all, values.data());
    CHECK(context.download<float>(all) == values);
    // More uploads than slots, none of which is lost.
    for (int i = 0; i < 50; ++i) context.upload(all.row_range(i % 8, 1), values.data() + i);
    const auto last = context.download<float>(all.row_range(1, 1));
    CHECK(last == std::vector<float>(values.begin() + 49, values.begin() + 49 + cols));
  }
}

TEST_CASE("nothing is left behind on the GPU, and a step makes nothing new", "[staging]") {
  const auto gpu = std::make_shared<DeferredGpu>();
  {
    Context context(gpu);
    const int pinned = gpu->num_pinned, events = gpu->num_events;
    float value = 1.0f;
    Arena arena = Arena::backed("one", 64, gpu);
    const View one = arena.allocate("one", DType::f32, 1, 1);
    for (int step = 0; step < 3000; ++step) {
      const auto scope = context.profiler().scope(step % 2 == 0 ? Phase::mlp : Phase::head);
      context.upload(one, &value);
    }
    context.profiler().seconds();
    CHECK(gpu->num_pinned == pinned);
    CHECK(gpu->num_events == events);
  }
  CHECK(gpu->num_pinned == 0);
  CHECK(gpu->num_events == 0);
}

TEST_CASE("phases are measured on the stream, however far the host is ahead", "[profiler]") {
  const auto gpu = std::make_shared<DeferredGpu>();
  Context context(gpu);
  Profiler& profiler = context.profiler();
  float value = 1.0f;
  Arena arena = Arena::backed("one", 64, gpu);
  const View one = arena.allocate("one", DType::f32, 1, 1);
  // The clock of this GPU is a millisecond per copy.
  context.upload(one, &value);
  profiler.reset();  // what is under way does not count
  const int copies = 3 * static_cast<int>(GpuTimeline::kNumEvents);
  for (int i = 0; i < copies; ++i) {
    const auto outer = profiler.scope(Phase::attention);
    // In the stream, past the staging, so that only the timeline may wait.
    gpu->copy_on_device(one.data, one.data, {1, 4, 4, 4}, context.queue().stream);
    const auto inner = profiler.scope(Phase::mlp);
    gpu->copy_on_device(one.data, one.data, {1, 4, 4, 4}, context.queue().stream);
    gpu->copy_on_device(one.data, one.data, {1, 4, 4, 4}, context.queue().stream);
  }
  CHECK(gpu->num_waits < copies / 100);
  CHECK(seconds_of(profiler, Phase::attention) == Approx(1e-3 * copies));
  CHECK(seconds_of(profiler, Phase::mlp) == Approx(2e-3 * copies));
  CHECK(seconds_of(profiler, Phase::other) == 0.0);
  profiler.reset();
  CHECK(seconds_of(profiler, Phase::mlp) == 0.0);
}

TEST_CASE("the emulated GPU is measured like any other", "[profiler]") {
  using namespace std::chrono_literals;
  Context context(Gpu::open(Backend::emulated, 0));
  {
    const auto scope = context.profiler().scope(Phase::attention);
    std::this_thread::sleep_for(5ms);
  }
  CHECK(seconds_of(context.profiler(), Phase::attention) >= 0.005);
}

TEST_CASE("costs go to the running phase, those of products by themselves", "[profiler]") {
  for (const bool on_host : {true, false}) {
    const auto gpu = on_host ? nullptr : Gpu::open(Backend::emulated, 0);
    Context context(gpu);
    Arena arena = Arena::backed("matrices", 4096, gpu);
    const View x = arena.allocate("x", DType::bf16, 4, 6);
    const View w = arena.allocate("w", DType::bf16, 5, 6);
    const View y = arena.allocate("y", DType::bf16, 4, 5);
    const View dw = arena.allocate("dw", DType::f32, 5, 6);
    {
      const auto scope = context.profiler().scope(Phase::mlp);
      context.gemm().forward(y, x, w);
      context.gemm().backward_weight(dw, y, x, Output::accumulate);
    }
    context.profiler().add_cost({"an operator"}, 3.0, 4.0);
    const auto costs = context.profiler().costs();
    const PhaseCost mlp = costs[static_cast<std::size_t>(Phase::mlp)];
    CHECK(mlp.flops == 2 * 2.0 * 4 * 5 * 6);
    CHECK(mlp.bytes == 2 * (24 + 30 + 20) + 2 * (20 + 24) + 2 * 4 * 30);
    CHECK(mlp.calls == 2);
    const PhaseCost other = costs[static_cast<std::size_t>(Phase::other)];
    CHECK((other.flops == 3.0 && other.bytes == 4.0 && other.calls == 1));
    context.profiler().reset();
    CHECK(context.profiler().costs()[static_cast<std::size_t>(Phase::mlp)].calls == 0);
  }
}

TEST_CASE("a graph repeats what was captured, with its costs", "[graphs]") {
  const auto gpu = std::make_shared<DeferredGpu>();
  {
    Context context(gpu);
    context.use_graphs(true);
    Arena arena = Arena::backed("row", 256, gpu);
    const View row = arena.allocate("row", DType::f32, 1, 8);
    row.as<float>()[0] = 1.0f;
    int num_bodies = 0;
    const auto body = [&](std::int64_t to) {
      return [&, to] {
        ++num_bodies;
        const auto scope = context.profiler().scope(Phase::norm);
        context.profiler().add_cost({"an operator"}, 10.0, 20.0);
        context.fork_communication();
        gpu->copy_on_device(row.as<float>() + to, row.as<float>() + to - 1, {1, 4, 4, 4},
                            context.queue().stream);
        context.join_communication();
      };
    };
    for (int step = 0; step < 5; ++step) {
      row.as<float>()[0] = static_cast<float>(step);
      for (std::int64_t block = 1; block < 4; ++block)
        context.replay(static_cast<std::uint64_t>(block), body(block));
      context.synchronize();
      CHECK(row.as<float>()[3] == static_cast<float>(step));
    }
    CHECK(num_bodies == 2 * 3);
    CHECK(gpu->num_graphs == 3);
    CHECK(gpu->num_launches == 4 * 3);
    const PhaseCost norm = context.profiler().costs()[static_cast<std::size_t>(Phase::norm)];
    CHECK((norm.flops == 150.0 && norm.bytes == 300.0 && norm.calls == 15));
    CHECK(context.profiler().seconds()[static_cast<std::size_t>(Phase::norm)] > 0.0);

    context.use_graphs(true);  // forgets them
    CHECK(gpu->num_graphs == 0);
    context.replay(1, body(1));
    CHECK(num_bodies == 7);
    context.use_graphs(false);
    for (int i = 0; i < 4; ++i) context.replay(1, body(1));
    CHECK(num_bodies == 11);
  }
  CHECK(gpu->num_graphs == 0);
}

TEST_CASE("graphs within a graph are part of it, and an error leaves none", "[graphs]") {
  const auto gpu = std::make_shared<DeferredGpu>();
  Context context(gpu);
  context.use_graphs(true);
  int num_inner = 0;
  const auto step = [&] { context.replay(1, [&] { context.replay(2, [&] { ++num_inner; }); }); };
  step();
  step();
  CHECK(gpu->num_graphs == 1);
  CHECK(num_inner == 2);

  const auto fails = [] { throw std::runtime_error("no"); };
  context.replay(3, [] {});
  CHECK_THROWS_AS(context.replay(3, fails), std::runtime_error);
  CHECK(gpu->num_graphs == 1);
  context.replay(3, [] {});  // captured now
  CHECK(gpu->num_graphs == 2);
}

TEST_CASE("without a GPU that has graphs, replay calls its body", "[graphs]") {
  for (const bool on_host : {true, false}) {
    Context context(on_host ? nullptr : Gpu::open(Backend::emulated, 0));
    context.use_graphs(true);
    CHECK_FALSE(context.uses_graphs());
    int num_bodies = 0;
    for (int i = 0; i < 4; ++i) context.replay(1, [&] { ++num_bodies; });
    CHECK(num_bodies == 4);
  }
}

}  // namespace espalier::device
