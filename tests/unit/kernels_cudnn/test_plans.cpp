#include <dlfcn.h>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "kernels/attention/attention_cudnn.hpp"
#include "kernels/attention/attention_provider.hpp"

namespace espalier::kernels {
namespace {

/// What cuDNN is told of a device. Architecture and multiprocessors are the device's; the other
/// figures are about an H100's for both, and were not read from either.
std::string properties_of(int compute_capability, int multiprocessors, std::string_view name) {
  return fmt::format(
      R"({{"deviceVer": {}, "driverVer": 13000, "cudaDeviceId": 0, "totalGlobalMem": 85000000000,
        "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64],
        "regsPerBlock": 65536, "multiProcessorCount": {}, "warpSize": 32,
        "maxSharedMemoryPerBlock": 49152, "maxSharedMemoryPerBlockOptin": 232448,
        "reservedSharedMemoryPerBlock": 1024, "maxRegistersPerSM": 65536, "maxCtasPerSM": 32,
        "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "pciDeviceId": 0, "isTccDriver": 0,
        "supportCoopLaunch": 1, "smClockRateKHz": 1980000, "memClockRateKHz": 2619000,
        "l2CacheSize": 52428800, "deviceName": "{}"}})",
      10 * compute_capability, multiprocessors, name);
}
const std::string kHopper = properties_of(90, 132, "NVIDIA H100 80GB HBM3");
const std::string kBlackwell = properties_of(100, 148, "NVIDIA B200");

AttentionShape shape_of(std::int64_t batch, std::int64_t length, std::int64_t num_q_heads,
                        std::int64_t num_kv_heads, std::int64_t head_dim) {
  return {.batch = batch,
          .query_length = length,
          .kv_length = length,
          .num_q_heads = num_q_heads,
          .num_kv_heads = num_kv_heads,
          .head_dim = head_dim};
}

/// As the model calls it: q and k in one buffer after the rotation, v in the projection's.
CudnnCall packed_call(const AttentionShape& s, bool backward) {
  const std::int64_t q = s.num_q_heads * s.head_dim;
  const std::int64_t kv = s.num_kv_heads * s.head_dim;
  CudnnCall call{.shape = s, .backward = backward};
  call.strides = {q + kv, q + kv, q + 2 * kv, q, s.query_length};
  if (backward)
    for (const std::size_t i : {5, 6, 7, 8}) call.strides[i] = i == 5 ? q : q + 2 * kv;
  return call;
}

/// What a plan needs and this machine does not have; empty where cuDNN can be asked. Only when it
/// plans does cuDNN look for the driver and the compiler of the CUDA that it was built for, and it
/// does not say which of them it has not found.
std::string missing_for_plans() {
  if (!missing_for_cudnn().empty()) return missing_for_cudnn();
  void* cudnn = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_NOLOAD);
  const auto cuda_version =
      cudnn == nullptr ? nullptr
                       : reinterpret_cast<std::size_t (*)()>(dlsym(cudnn, "cudnnGetCudartVersion"));
  if (cuda_version == nullptr) return "libcudnn.so.9 with cudnnGetCudartVersion";
  for (const auto& [library, meaning] :
       {std::pair{fmt::format("libnvrtc.so.{}", cuda_version() / 1000), "NVRTC"},
        std::pair{std::string("libcuda.so.1"), "the driver, or its stand-in"}})
    if (dlopen(library.c_str(), RTLD_LAZY) == nullptr)
      return fmt::format("{} ({}), in a folder of LD_LIBRARY_PATH: {}", library, meaning,
                         dlerror());
  return "";
}

/// Whether there is a library to ask. A machine that compiles need not have it.
bool has_library() {
  static const std::string missing = missing_for_plans();
  // CTest takes these words for a test that was skipped (CMakeLists.txt).
  if (!missing.empty()) WARN("nothing is planned without " << missing);
  return missing.empty();
}

const std::array kShapes{shape_of(1, 4096, 32, 8, 128), shape_of(4, 4096, 16, 8, 128),
                         shape_of(2, 8192, 8, 1, 128),  shape_of(2, 2048, 12, 12, 64),
                         shape_of(3, 1000, 8, 2, 64),   shape_of(1, 70, 2, 1, 128),
                         shape_of(1, 2, 1, 1, 64)};

std::int64_t planned_bytes(const AttentionShape& shape) {
  return 4 * backward_scratch_elements(AttentionProvider::cudnn,
                                       {.shape = shape, .dtype = DType::bf16});
}

}  // namespace

TEST_CASE("cuDNN plans the forward pass of packed projections with next to no workspace",
          "[cudnn]") {
  if (!has_library()) return;
  for (const AttentionShape& shape : kShapes) {
    const CudnnCall call = packed_call(shape, /*backward=*/false);
    CAPTURE(shape.batch, shape.query_length, shape.head_dim);
    for (const auto& [properties, capability] :
         {std::pair{kHopper, 90}, std::pair{kBlackwell, 100}}) {
      const CudnnPlanFacts facts = cudnn_plan_for(call, properties, capability);
      CHECK(!facts.engine.empty());
      CHECK(facts.workspace_bytes <= 1024);  // any queue has more
    }
  }
}

TEST_CASE("cuDNN repeats gradients on Blackwell in the workspace that is planned", "[cudnn]") {
  if (!has_library()) return;
  for (const AttentionShape& shape : kShapes) {
    CudnnCall call = packed_call(shape, /*backward=*/true);
    CAPTURE(shape.batch, shape.query_length, shape.num_q_heads, shape.num_kv_heads, shape.head_dim);
    const CudnnPlanFacts repeatable = cudnn_plan_for(call, kBlackwell, 100);
    CHECK(repeatable.workspace_bytes <= planned_bytes(shape));
    call.deterministic = false;
    CHECK(cudnn_plan_for(call, kBlackwell, 100).engine != repeatable.engine);
  }
}

TEST_CASE("on Hopper, gradients that cuDNN can repeat would need memory of the sequence's square",
          "[cudnn]") {
  if (!has_library()) return;
  for (const AttentionShape& shape : kShapes) {
    if (shape.query_length < 128) continue;
    CudnnCall call = packed_call(shape, /*backward=*/true);
    const std::int64_t square =
        2 * shape.batch * shape.num_q_heads * shape.query_length * shape.query_length;
    CHECK(cudnn_plan_for(call, kHopper, 90).workspace_bytes >= square);
    call.deterministic = false;
    CHECK(cudnn_plan_for(call, kHopper, 90).workspace_bytes <= planned_bytes(shape));
  }
}

TEST_CASE("what cuDNN refuses is told with its words and the shape", "[cudnn]") {
  if (!has_library()) return;
  CudnnCall call = packed_call(shape_of(1, 128, 2, 1, 128), /*backward=*/false);
  call.shape.num_kv_heads = 3;  // does not divide the query heads
  try {
    cudnn_plan_for(call, kBlackwell, 100);
    FAIL("planned");
  } catch (const Error& error) {
    const std::string text = error.what();
    CHECK(error.status() == ExitStatus::internal);
    for (const char* part :
         {"validate", "group-query", "K 3", "compute capability 100", "device.attention"})
      CHECK(text.find(part) != std::string::npos);
  }
}

TEST_CASE("on Blackwell cuDNN is the first choice for whole sequences, and for nothing else",
          "[cudnn]") {
  if (!has_library()) return;
  const auto automatic = AttentionProvider::automatic;
  AttentionRequest request{.shape = kShapes[0], .dtype = DType::bf16, .compute_capability = 100};
  CHECK(choose(automatic, request) == AttentionProvider::cudnn);
  request.documents = true;
  CHECK(choose(automatic, request) == AttentionProvider::mma);
  request.documents = false;
  request.backward = true;
  CHECK(choose(automatic, request) == AttentionProvider::mma);  // no scratch for cuDNN
  request.scratch_elements = backward_scratch_elements(automatic, request);
  CHECK(choose(automatic, request) == AttentionProvider::cudnn);
  require_for_training(automatic, request);
  require_for_training(AttentionProvider::cudnn, request);
  request.compute_capability = 90;
  CHECK(choose(automatic, request) == AttentionProvider::wgmma);
  request.backward = false;
  CHECK(choose(AttentionProvider::cudnn, request) == AttentionProvider::cudnn);
}

}  // namespace espalier::kernels
