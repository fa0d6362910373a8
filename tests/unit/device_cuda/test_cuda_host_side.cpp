// The host's side of the CUDA backend (gpu_cuda.cpp, gemm_cublaslt.cpp and what stands on them)
// over an imitated runtime and an imitated cuBLASLt that refuse what the real ones refuse.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <thread>

#include "base/random.hpp"
#include "device/arena.hpp"
#include "device/context.hpp"
#include "device/stopwatch.hpp"
#include "imitated_cuda.hpp"
#include "support/expect_error.hpp"
#include "support/scratch_folder.hpp"
#include "unit/device/gemm_under_test.hpp"

namespace espalier::device {
namespace {

using testing::cuda_counts;

std::shared_ptr<Gpu> the_gpu() {
  static const testing::ScratchFolder cache;
  setenv("XDG_CACHE_HOME", cache.path().c_str(), /*overwrite=*/1);
  return Gpu::open(Backend::cuda, 0);
}

/// A matrix on the GPU with its values.
struct OnGpu {
  OnGpu(Context& context, std::int64_t rows, std::int64_t cols, std::string_view name)
      : arena(Arena::backed(std::string(name), rows * cols * 4, context.shared_gpu())),
        view(arena.allocate("values", DType::f32, rows, cols)),
        values(static_cast<std::size_t>(rows * cols)) {
    RandomStream(1, name).normal(values, 0, 1.0);
    context.upload(view, values.data());
  }
  Arena arena;
  View view;
  std::vector<float> values;
};

}  // namespace

/// For the cases of unit/device/test_gemm.cpp.
Gemm gemm_under_test() {
  static const std::shared_ptr<Gpu> gpu = the_gpu();
  static Stream stream = gpu->create_stream(false);
  return Gemm(gpu, stream);
}

TEST_CASE("a stream gets a queue of its own unless somebody says otherwise", "[cuda]") {
  const auto queues = [] { return std::string(std::getenv("CUDA_DEVICE_MAX_CONNECTIONS")); };
  unsetenv("CUDA_DEVICE_MAX_CONNECTIONS");
  Gpu::open(Backend::cuda, 0);
  CHECK(queues() == "32");
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "1", /*overwrite=*/1);
  Gpu::count(Backend::cuda);
  Gpu::open(Backend::cuda, 0);
  CHECK(queues() == "1");
  unsetenv("CUDA_DEVICE_MAX_CONNECTIONS");
  Gpu::count(Backend::cuda);
  CHECK(queues() == "32");
}

TEST_CASE("a driver that is too old is named with the one that is needed", "[cuda]") {
  testing::cuda_machine() = {.driver = 12040, .status = cudaErrorInsufficientDriver};
  const std::string why = Gpu::why_none(Backend::cuda);
  testing::expect_words(why, {"12.4", "CUDA 13.0", "580 or later"});
  CHECK_THROWS_WITH(Gpu::open(Backend::cuda, 0), Catch::Contains("580"));
  CHECK(Gpu::has_driver());
  // Without any driver there is none to be replaced.
  testing::cuda_machine().driver = 0;
  CHECK_FALSE(Gpu::has_driver());
  CHECK_THAT(Gpu::why_none(Backend::cuda),
             Catch::Contains("libcuda.so.1") && !Catch::Contains("580"));
  testing::cuda_machine() = {};
}

TEST_CASE("a GPU without code is none, and the message names what to build for", "[cuda]") {
  CHECK(Gpu::why_without_code(0).empty());
  CHECK_FALSE(Gpu::uuids().front().empty());
  testing::cuda_machine() = {.major = 7, .minor = 5};
  testing::expect_words(Gpu::why_without_code(0),
                        {"imitated GPU", "7.5", "-DESPALIER_CUDA_ARCHITECTURES=75"});
  CHECK(Gpu::uuids() == std::vector<std::string>{""});
  CHECK_THROWS_WITH(Gpu::open(Backend::cuda, 0),
                    Catch::Contains("compute capability 7.5") && Catch::Contains("device.backend"));
  testing::cuda_machine() = {};
}

TEST_CASE("what is made on the GPU is given back, and no call was a mistake", "[cuda]") {
  const auto before = cuda_counts();
  {
    Context context(the_gpu(), 1000);
    OnGpu x(context, 33, 17, "x"), w(context, 9, 17, "w");
    Arena arena = Arena::backed("y", 33 * 9 * 4, context.shared_gpu());
    const View y = arena.allocate("y", DType::f32, 33, 9);
    context.gemm().forward(y, x.view, w.view);
    CHECK(context.download<float>(y).size() == 33 * 9);
    // From another thread, which has no device of its own yet.
    std::thread([&] { CHECK(context.download<float>(x.view) == x.values); }).join();
    context.synchronize();
    CHECK(context.profiler().seconds()[static_cast<std::size_t>(Phase::other)] > 0.0);
  }
  const auto after = cuda_counts();
  CHECK(after.mistakes == 0);
  CHECK(after.allocations == before.allocations);
  CHECK(after.pinned == before.pinned);
  CHECK(after.streams == before.streams);
  CHECK(after.events == before.events);
  CHECK(after.graphs == before.graphs);
}

TEST_CASE("measuring finds the fastest algorithm and leaves the output alone", "[cuda]") {
  const std::shared_ptr<Gpu> gpu = the_gpu();
  Context tuned(gpu), untuned(gpu);
  untuned.gemm().set_tuning(false);
  OnGpu dy(tuned, 12, 5, "dy"), x(tuned, 12, 7, "x"), dw(tuned, 5, 7, "dw");
  const auto ms_of = [&](Context& context) {
    Stopwatch watch(gpu.get(), context.queue().stream);
    watch.start();
    context.gemm().backward_weight(dw.view, dy.view, x.view, Output::accumulate);
    return 1e3 * watch.stop_s();
  };
  ms_of(tuned);  // measures
  for (int o = 0; o < 5; ++o)
    for (int i = 0; i < 7; ++i) {
      float want = dw.values[static_cast<std::size_t>(7 * o + i)];
      for (int t = 0; t < 12; ++t)
        want += dy.values[static_cast<std::size_t>(5 * t + o)] *
                x.values[static_cast<std::size_t>(7 * t + i)];
      // Once, not as often as it was measured.
      CHECK(tuned.download<float>(dw.view)[static_cast<std::size_t>(7 * o + i)] ==
            Approx(want).margin(1e-5));
    }
  CHECK(ms_of(tuned) == Approx(1.0));
  ms_of(untuned);
  CHECK(ms_of(untuned) == Approx(3.0));

  // Another rank takes over what was measured, and so does the next run.
  untuned.gemm().adopt_algorithms(tuned.gemm().choices());
  ms_of(untuned);
  CHECK(ms_of(untuned) == Approx(1.0));
  tuned.gemm().save_algorithms();
  Context next(gpu);
  CHECK(ms_of(next) == Approx(1.0));
}

TEST_CASE("a graph repeats products, copies and the communication stream", "[cuda]") {
  Context context(the_gpu(), 100);
  OnGpu x(context, 8, 16, "x"), w(context, 4, 16, "w");
  Arena arena = Arena::backed("y", 3 * 8 * 4 * 4, context.shared_gpu());
  const View y = arena.allocate("y", DType::f32, 8, 4);
  const View copied = arena.allocate("copy", DType::f32, 8, 4);
  context.use_graphs(true);
  const auto body = [&] {
    const Profiler::Scope scope(context.profiler(), Phase::mlp);
    context.gemm().forward(y, x.view, w.view);
    context.fork_communication();
    context.gpu()->copy_on_device(copied.data, y.data, {8, 16, 16, 16},
                                  context.communication_queue().stream);
    context.join_communication();
  };
  std::vector<float> first;
  for (int call = 0; call < 4; ++call) {
    x.values[0] = static_cast<float>(call);
    context.upload(x.view, x.values.data());
    context.replay(1, body);
    const std::vector<float> now = context.download<float>(copied);
    CHECK(now == context.download<float>(y));
    CHECK(now != first);
    first = now;
  }
  CHECK(cuda_counts().graphs == 1);

  // What a graph cannot hold is said, and the context goes on.
  const auto wrong = [&] { context.synchronize(); };
  context.replay(2, wrong);
  CHECK_THROWS_WITH(context.replay(2, wrong),
                    Catch::Contains("GPU 0 (imitated GPU): cudaStreamSynchronize") &&
                        Catch::Contains("cudaErrorStreamCaptureUnsupported"));
  context.replay(1, body);
  context.synchronize();
}

TEST_CASE("memory that is not there is refused by name, with what is free", "[cuda]") {
  const std::shared_ptr<Gpu> gpu = the_gpu();
  try {
    gpu->allocate("activations", std::int64_t{2} << 30);
    FAIL("there is not so much");
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::bad_configuration);
    CHECK_THAT(error.what(), Catch::Contains("\"activations\"") && Catch::Contains("2.00 GiB") &&
                                 Catch::Contains("training.micro_batch_size"));
  }
  void* memory = gpu->allocate("little", 100);  // the error is forgotten, and memory is zeroed
  std::vector<char> zeros(100);
  CHECK(std::memcmp(memory, zeros.data(), 100) == 0);
  gpu->release(memory);
}

}  // namespace espalier::device
