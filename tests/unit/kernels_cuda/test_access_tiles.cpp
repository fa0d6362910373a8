// Attention asks memory for no tile of keys or queries of which nobody sees anything, in bf16.
#include "access_problems.hpp"
#include "emulation/access_counter.hpp"
#include "emulation/faults.hpp"
#include "kernels/cuda/attention_providers.hpp"

namespace espalier::testing {
namespace {

namespace emulated = kernels::emulated;

/// Bytes of device memory that run(queue, arguments) asks for.
template <class Run, class Arguments>
double bytes(const Run& run, const Arguments& arguments) {
  TestQueue queue;
  emulation::access_counts() = {};
  emulation::settings().count_accesses = true;
  run(queue, arguments);
  emulation::settings().count_accesses = false;
  return static_cast<double>(emulation::access_counts().device().bytes);
}

}  // namespace

TEST_CASE("attention over blocks of queries asks for no tile that nobody sees", "[access]") {
  const AlignedMatrices aligned;
  constexpr std::int64_t kBlock = kernels::kGpuBlockLength, kLength = 2 * kBlock;
  Attention whole(kLength), part(kBlock);
  Matrix<float> d_k(kLength, kHeadDim), d_v(kLength, kHeadDim);
  part.shape.kv_length = kLength;
  part.shape.block_length = kBlock;
  // Two ranks together, a block each.
  const auto bytes_of_ranks = [&](auto run, auto call) {
    double sum = 0.0;
    for (const std::int32_t start : {0, static_cast<std::int32_t>(kBlock)}) {
      Ids<std::int32_t> block_starts({start});
      call.block_starts = block_starts.view();
      sum += bytes(run, call);
    }
    return sum;
  };
  auto forward = part.forward();
  forward.k = whole.k.view();
  forward.v = whole.v.view();
  for (const auto provider : {emulated::attention_forward_mma, emulated::attention_forward_wgmma,
                              emulated::attention_forward_reference})
    CHECK_THAT(bytes_of_ranks(provider, forward),
               Catch::WithinRel(bytes(provider, whole.forward()), 0.01));
  auto backward = part.backward();
  backward.k = whole.k.view();
  backward.v = whole.v.view();
  backward.d_k = d_k.view();
  backward.d_v = d_v.view();
  // Both read all keys and values, and write their gradients in fp32. Where a block of queries
  // begins is asked for by every thread that needs it, counted one by one.
  constexpr double kMatrix = kLength * kHeadDim * 2;
  constexpr double kMore = 2 * kMatrix + (2 * 2 - 1) * 2 * kMatrix;
  Matrix<float> five(1, kernels::ordered_scratch(part.shape).num_elements);
  Matrix<float> five_of_whole(1, kernels::ordered_scratch(whole.shape).num_elements);
  Matrix<float> seven(1, Attention::kQ * kLength);
  const auto check_gradients = [&](auto provider, const device::View& scratch,
                                   const device::View& scratch_of_whole) {
    auto of_whole = whole.backward();
    of_whole.scratch = scratch_of_whole;
    backward.scratch = scratch;
    CHECK_THAT(bytes_of_ranks(provider, backward),
               Catch::WithinRel(bytes(provider, of_whole) + kMore, 0.04));
  };
  check_gradients(emulated::attention_backward_mma, seven.view(), seven.view());
  check_gradients(emulated::attention_backward_wgmma, seven.view(), seven.view());
  check_gradients(emulated::attention_backward_wgmma, five.view(), five_of_whole.view());
}

TEST_CASE("attention inside documents asks for no tile that nobody sees", "[access]") {
  const AlignedMatrices aligned;
  constexpr std::int64_t kLength = 512, kDocument = 128;
  Attention attention(kLength);
  std::vector<std::int32_t> firsts(kLength);
  for (std::int64_t t = 0; t < kLength; ++t)
    firsts[static_cast<std::size_t>(t)] = static_cast<std::int32_t>(t / kDocument * kDocument);
  Ids<std::int32_t> document_start(firsts);
  // Of the 10 pairs of 128 queries and keys that a whole sequence has, documents leave 4, and of
  // those of smaller tiles fewer; what a block owns, and delta, is asked for in any case.
  constexpr double kMost = 0.7;
  const auto whole = attention.forward(), inside = attention.forward(document_start.view());
  for (const auto provider : {emulated::attention_forward_mma, emulated::attention_forward_wgmma,
                              emulated::attention_forward_reference})
    CHECK(bytes(provider, inside) < kMost * bytes(provider, whole));
  const auto d_whole = attention.backward(), d_inside = attention.backward(document_start.view());
  // With the scratch of five products, and of seven.
  Matrix<float> five(1, kernels::ordered_scratch(attention.shape).num_elements);
  Matrix<float> seven(1, Attention::kQ * kLength);
  for (const device::View scratch : {five.view(), seven.view()}) {
    auto by_warpgroups_whole = d_whole, by_warpgroups_inside = d_inside;
    by_warpgroups_whole.scratch = by_warpgroups_inside.scratch = scratch;
    CHECK(bytes(emulated::attention_backward_wgmma, by_warpgroups_inside) <
          kMost * bytes(emulated::attention_backward_wgmma, by_warpgroups_whole));
  }
  for (const auto provider :
       {emulated::attention_backward_mma, emulated::attention_backward_reference})
    CHECK(bytes(provider, d_inside) < kMost * bytes(provider, d_whole));
}

}  // namespace espalier::testing
