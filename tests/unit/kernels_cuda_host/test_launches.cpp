// What the operators' host code asks of CUDA's runtime, over an imitated one: nothing is computed.
#include <catch2/catch.hpp>

#include "device/arena.hpp"
#include "device/context.hpp"
#include "imitated_kernels.hpp"
#include "kernels/attention/attention_provider.hpp"
#include "kernels/backends.hpp"
#include "kernels/cuda/attention_providers.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/moe/grouped_shapes.hpp"
#include "kernels/workspace.hpp"
#include "support/expect_error.hpp"

namespace espalier::kernels {
namespace cuda {
// As kernels/moe/grouped_kernels.hpp declares them.
bool has_grouped_wgmma();
void grouped_mma(const Queue& queue, const GroupedProblem& a);
void grouped_wgmma(const Queue& queue, const GroupedProblem& a);
}  // namespace cuda
namespace {

using testing::kernel_code;

constexpr AttentionShape kShape{.batch = 1,
                                .query_length = 256,
                                .kv_length = 256,
                                .num_q_heads = 4,
                                .num_kv_heads = 2,
                                .head_dim = 128};

/// A forward pass of kShape on the imitated GPU of compute capability 9.0.
struct Forward {
  device::Context context{device::Gpu::open(device::Backend::cuda, 0)};
  device::Arena arena = device::Arena::backed("attention", 4 << 20, context.shared_gpu());
  AttentionForward arguments{.shape = kShape,
                             .q = arena.allocate("q", DType::bf16, 256, 4 * 128),
                             .k = arena.allocate("k", DType::bf16, 256, 2 * 128),
                             .v = arena.allocate("v", DType::bf16, 256, 2 * 128),
                             .o = arena.allocate("o", DType::bf16, 256, 4 * 128),
                             .lse = arena.allocate("lse", DType::f32, 4, 256)};
};

/// A product of each kind, of two groups of 300 rows, on the same GPU.
struct Grouped {
  static constexpr std::int64_t kRows = 300, kOut = 264, kIn = 512;
  device::Context context{device::Gpu::open(device::Backend::cuda, 0)};
  device::Arena arena = device::Arena::backed("grouped", 8 << 20, context.shared_gpu());
  device::View x = arena.allocate("x", DType::bf16, kRows, kIn);
  device::View w = arena.allocate("w", DType::bf16, 2 * kOut, kIn);
  device::View y = arena.allocate("y", DType::bf16, kRows, kOut);
  device::View dw = arena.allocate("dw", DType::f32, 2 * kOut, kIn);
  std::vector<std::int64_t> offsets{0, 100, kRows};

  GroupedForward forward() const { return {.x = x, .w = w, .offsets = offsets, .y = y}; }
  std::vector<GroupedProblem> problems() const {
    return {{GroupedKind::forward, x, w, y, offsets},
            {GroupedKind::backward_input, y, w, x, offsets},
            {GroupedKind::backward_weight, y, x, dw, offsets, true}};
  }
};

/// Kernels launched by a call, by a part of their names.
int count_of(std::string_view name) {
  int count = 0;
  for (const testing::Launch& launch : kernel_code().launches)
    count += launch.kernel.find(name) != std::string::npos;
  return count;
}

}  // namespace

// One process asks its code once: this program's has no warpgroups, from the start.
TEST_CASE("code of Hopper without warpgroups is not chosen, and cannot be launched", "[cuda]") {
  kernel_code().has_warpgroups = false;
  Forward forward;
  attention_forward(forward.context, forward.arguments);
  CHECK(count_of("wgmma") == 0);
  CHECK(count_of("attention_mma") == 1);

  AttentionRequest request{.shape = kShape, .dtype = DType::bf16, .compute_capability = 90};
  testing::expect_words(what_is_missing(AttentionProvider::wgmma, request),
                        {"90a", "ESPALIER_CUDA_ARCHITECTURES"});
  CHECK(choose(AttentionProvider::automatic, request) == AttentionProvider::mma);
  forward.arguments.provider = AttentionProvider::wgmma;
  CHECK_THROWS_WITH(attention_forward(forward.context, forward.arguments),
                    Catch::Contains("wgmma needs kernels compiled for 90a") &&
                        Catch::Contains("device.attention"));
  // Whoever calls it all the same is refused by the driver: results never stay as they were.
  CHECK_THROWS_AS(cuda::attention_forward_wgmma(forward.context.queue(), forward.arguments), Error);
  CHECK(count_of("wgmma") == 0);

  kernel_code().has_warpgroups = true;
  cuda::attention_forward_wgmma(forward.context.queue(), forward.arguments);
  CHECK(count_of("wgmma") == 1);
  CHECK(cuda::missing_in_warpgroup_code().empty());

  // Products of experts ask the same, and never say that they were not made.
  kernel_code().has_warpgroups = false;
  kernel_code().launches.clear();
  const Grouped grouped;
  CHECK_FALSE(cuda::has_grouped_wgmma());
  cuda::grouped_forward(grouped.context.queue(), grouped.forward());
  CHECK(count_of("wgmma") == 0);
  CHECK(count_of("grouped_product_mma") == 1);
  for (const GroupedProblem& problem : grouped.problems())
    CHECK_THROWS_AS(cuda::grouped_wgmma(grouped.context.queue(), problem), Error);
  CHECK(count_of("wgmma") == 0);
  kernel_code().has_warpgroups = true;
}

TEST_CASE("tensor maps are made once for the same matrices", "[cuda]") {
  Forward forward;
  kernel_code().tensor_maps = 0;
  cuda::attention_forward_wgmma(forward.context.queue(), forward.arguments);
  // Of q, k, v and o; fewer where an earlier case had the same memory.
  const int once = kernel_code().tensor_maps;
  CHECK(once <= 4);
  for (int step = 0; step < 3; ++step)
    cuda::attention_forward_wgmma(forward.context.queue(), forward.arguments);
  CHECK(kernel_code().tensor_maps == once);
}

TEST_CASE("more shared memory than the GPU gives a block is refused with both numbers", "[cuda]") {
  Forward forward;
  kernel_code().launches.clear();
  kernel_code().shared_bytes = 99 * 1024;
  CHECK_THROWS_WITH(cuda::attention_forward_wgmma(forward.context.queue(), forward.arguments),
                    Catch::Contains("bytes of shared memory") && Catch::Contains("101376"));
  CHECK(kernel_code().launches.empty());
  cuda::attention_forward_mma(forward.context.queue(), forward.arguments);
  CHECK(count_of("attention_mma") == 1);

  const Grouped grouped;
  for (const GroupedProblem& problem : grouped.problems()) {
    CHECK_THROWS_WITH(cuda::grouped_wgmma(grouped.context.queue(), problem),
                      Catch::Contains("bytes of shared memory") && Catch::Contains("101376"));
    cuda::grouped_mma(grouped.context.queue(), problem);
  }
  CHECK(count_of("wgmma_grouped") == 0);
  CHECK(count_of("grouped_product_mma") == 3);
  kernel_code().shared_bytes = 227 * 1024;
}

TEST_CASE("grouped products make new tensor maps of rows alone, and a launch each", "[cuda]") {
  const Grouped grouped;
  const auto multiply = [&] {
    kernel_code().launches.clear();
    kernel_code().tensor_maps = 0;
    for (const GroupedProblem& problem : grouped.problems())
      cuda::grouped_wgmma(grouped.context.queue(), problem);
    CHECK(count_of("wgmma_grouped") == 3);
    CHECK(kernel_code().launches.size() == 3);
  };
  multiply();
  multiply();
  CHECK(kernel_code().tensor_maps == 4);
  // A block for each multiprocessor, and for each tile where these are fewer: of 128 x 256.
  CHECK(kernel_code().launches[0].num_blocks == (1 + 2) * 2);
}

TEST_CASE("a single row may lie in memory that no tensor map could stride", "[cuda]") {
  const Grouped grouped;
  const std::vector<std::int64_t> offsets{0, 0, 1};
  device::View x = grouped.x.row_range(0, 1), y = grouped.y.row_range(0, 1);
  x.stride = Grouped::kIn + 1;
  y.stride = Grouped::kOut + 3;
  kernel_code().launches.clear();
  const Queue& queue = grouped.context.queue();
  cuda::grouped_wgmma(queue, {GroupedKind::forward, x, grouped.w, y, offsets});
  cuda::grouped_wgmma(queue, {GroupedKind::backward_input, y, grouped.w, x, offsets});
  cuda::grouped_wgmma(queue, {GroupedKind::backward_weight, y, x, grouped.dw, offsets, true});
  CHECK(count_of("wgmma_grouped") == 3);
}

TEST_CASE("the squares of many gradients are summed in two launches", "[cuda]") {
  device::Context context(device::Gpu::open(device::Backend::cuda, 0),
                          workspace_elements(device::Backend::cuda, 64, 64));
  device::Arena arena = device::Arena::backed("gradients", 4 << 20, context.shared_gpu());
  std::vector<device::ConstView> gradients;
  for (int i = 0; i < kMaxSquareSums; ++i)
    gradients.push_back(arena.allocate(fmt::format("gradient {}", i), DType::f32, 16, 64 + i));
  const device::View sums = arena.allocate("sums", DType::f64, kMaxSquareSums, 1);
  kernel_code().launches.clear();
  sums_of_squares(context, sums, gradients);
  CHECK(kernel_code().launches.size() == 2);
}

}  // namespace espalier::kernels
