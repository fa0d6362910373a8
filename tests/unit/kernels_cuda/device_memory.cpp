// The cases on a GPU: every matrix has a copy in the GPU's memory (on_device.hpp).
#include <cuda_runtime_api.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <type_traits>

#include "cases.hpp"
#include "device/gpu_backends.hpp"
#include "kernels/attention/attention_provider.hpp"
#include "on_device.hpp"

namespace espalier::kernels::cuda {
// kernels/cuda/attention_providers.hpp names them by ESPALIER_GPU.
void attention_forward_wgmma(const Queue& queue, const AttentionForward& a);
void attention_backward_wgmma(const Queue& queue, const AttentionBackward& a);
// kernels/moe/grouped_kernels.hpp as well.
void grouped_mma(const Queue& queue, const GroupedProblem& a);
void grouped_wgmma(const Queue& queue, const GroupedProblem& a);
}  // namespace espalier::kernels::cuda

namespace espalier::testing {

void set_order(std::uint64_t) {
  // The device has an order of its own.
}

bool has_warpgroups() {
  int device = 0, major = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         major == 9;
}

namespace {

void check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  throw std::runtime_error(fmt::format("{}: {}", call, cudaGetErrorString(status)));
}

/// A matrix on the host, by its first byte, and its copy.
struct Block {
  std::size_t bytes;
  void* copy;
};
std::map<std::uintptr_t, Block>& blocks() {
  static std::map<std::uintptr_t, Block> all;
  return all;
}

void* allocate(std::size_t bytes) {
  const std::size_t size = bytes > 0 ? bytes : 1;
  void* copy = nullptr;
  if (cudaMalloc(&copy, size) != cudaSuccess) return nullptr;
  // Both begin at a multiple of 256, so that rows are aligned in both or in neither.
  void* p = std::aligned_alloc(256, (size + 255) / 256 * 256);
  blocks()[reinterpret_cast<std::uintptr_t>(p)] = {bytes, copy};
  return p;
}
void release(void* p) {
  const auto block = blocks().find(reinterpret_cast<std::uintptr_t>(p));
  cudaFree(block->second.copy);
  blocks().erase(block);
  std::free(p);
}

/// Whatever points into a matrix points into its copy then. No number is such an address.
template <class T>
T with_copies(T value) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % sizeof(std::uintptr_t) == 0);
  std::uintptr_t words[sizeof(T) / sizeof(std::uintptr_t)];
  std::memcpy(words, &value, sizeof(T));
  for (std::uintptr_t& word : words) {
    auto block = blocks().upper_bound(word);
    if (block == blocks().begin()) continue;
    --block;
    const std::uintptr_t offset = word - block->first;
    if (offset <= block->second.bytes)
      word = reinterpret_cast<std::uintptr_t>(block->second.copy) + offset;
  }
  std::memcpy(static_cast<void*>(&value), words, sizeof(T));
  return value;
}

template <class Operator>
void run(const Operator& apply) {
  for (const auto& [begin, block] : blocks())
    check(cudaMemcpy(block.copy, reinterpret_cast<const void*>(begin), block.bytes,
                     cudaMemcpyHostToDevice),
          "cudaMemcpy to the GPU");
  apply();
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  for (const auto& [begin, block] : blocks())
    check(
        cudaMemcpy(reinterpret_cast<void*>(begin), block.copy, block.bytes, cudaMemcpyDeviceToHost),
        "cudaMemcpy to the host");
}

/// What a log of another machine must say: the GPU, the versions, and whose code it runs.
void describe_gpu() {
  cudaDeviceProp properties{};
  int driver = 0, runtime = 0;
  check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  check(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
  const bool is_hopper = properties.major == 9;
  const std::string missing = is_hopper ? kernels::cuda::missing_in_warpgroup_code() : "";
  fmt::print(
      "{}, compute capability {}.{}, {} multiprocessors, driver {}, runtime {}, kernels for {}{}\n",
      properties.name, properties.major, properties.minor, properties.multiProcessorCount, driver,
      runtime, device::cuda_architectures(),
      !is_hopper        ? ""
      : missing.empty() ? ", with those of warpgroups"
                        : ", without those of warpgroups: " + missing);
  std::fflush(stdout);
}

/// Set before main, and hence before any matrix. Without a GPU the test counts as skipped.
[[maybe_unused]] const bool copied = [] {
  int num_devices = 0;
  if (cudaGetDeviceCount(&num_devices) != cudaSuccess || num_devices == 0) {
    fmt::print("no GPU: skipped\n");
    std::exit(77);
  }
  try {
    describe_gpu();
  } catch (const std::exception& error) {  // the cases will say what is wrong, each for itself
    fmt::print("the GPU cannot be described: {}\n", error.what());
  }
  matrix_memory() = {allocate, release};
  return true;
}();

}  // namespace
}  // namespace espalier::testing

namespace espalier::kernels::on_device {

using testing::run;
using testing::with_copies;

#define ESPALIER_DEFINE(function, Arguments)                          \
  void function(const Queue& queue, const Arguments& a) {             \
    run([&] { cuda::function(with_copies(queue), with_copies(a)); }); \
  }
ESPALIER_OPERATORS(ESPALIER_DEFINE)
ESPALIER_DEFINE(attention_forward_wgmma, AttentionForward)
ESPALIER_DEFINE(attention_backward_wgmma, AttentionBackward)
ESPALIER_DEFINE(grouped_mma, GroupedProblem)
ESPALIER_DEFINE(grouped_wgmma, GroupedProblem)
#undef ESPALIER_DEFINE

void cast(const Queue& queue, device::View out, device::ConstView in) {
  run([&] { cuda::cast(with_copies(queue), with_copies(out), with_copies(in)); });
}
void set_zero(const Queue& queue, device::View out) {
  run([&] { cuda::set_zero(with_copies(queue), with_copies(out)); });
}
void sums_of_squares(const Queue& queue, device::View out, std::span<const device::ConstView> in) {
  std::vector<device::ConstView> copies;
  for (const device::ConstView& view : in) copies.push_back(with_copies(view));
  run([&] { cuda::sums_of_squares(with_copies(queue), with_copies(out), copies); });
}
void add_losses(const Queue& queue, device::View sum, device::ConstView losses) {
  run([&] { cuda::add_losses(with_copies(queue), with_copies(sum), with_copies(losses)); });
}
void adamw(const Queue& queue, std::span<const AdamW> rectangles) {
  std::vector<AdamW> copies;
  for (const AdamW& a : rectangles) copies.push_back(with_copies(a));
  run([&] { cuda::adamw(with_copies(queue), copies); });
}
std::int64_t workspace_elements(std::int64_t width, std::int64_t num_tokens) {
  return cuda::workspace_elements(width, num_tokens);
}

}  // namespace espalier::kernels::on_device
