// Attention inside documents gives the same bits for 1, 2 and 3 threads, and again on a second
// call. The host threads live as long as a process, so each count has a process of its own; no
// Catch2, which forks before they exist.
#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include <span>
#include <vector>

#include "base/host_loops.hpp"
#include "base/random.hpp"
#include "base/text.hpp"
#include "device/arena.hpp"
#include "device/context.hpp"
#include "kernels/attention.hpp"
#include "kernels/elementwise.hpp"

namespace espalier {
namespace {

using device::Arena;
using device::View;

/// Both directions over `batch` sequences of 131 tokens, whose documents begin elsewhere in each.
std::uint64_t digest_of(DType dtype, std::int64_t batch) {
  constexpr std::int64_t kS = 131, kA = 6, kK = 2, kD = 10;
  Arena arena = Arena::backed("attention threads", 32 << 20);
  device::Context context;
  const auto make = [&](DType type, std::int64_t rows, std::int64_t cols) {
    const auto name = fmt::format("{}", arena.allocations().size());
    const View view = arena.allocate(name, type, rows, cols);
    std::vector<float> numbers(static_cast<std::size_t>(view.size()));
    RandomStream(3, name).normal(numbers, 0, 1.0);
    kernels::cast(context, view, device::view_of(numbers.data(), rows, cols));
    return view;
  };
  const std::int64_t tokens = batch * kS;
  const View first_keys = arena.allocate("first keys", DType::i32, 1, tokens);
  for (std::int64_t t = 0; t < tokens; ++t) {
    std::int64_t first = 0;
    for (const std::int64_t begin : {9, 10, 47, 90}) {
      const std::int64_t shifted = begin + 3 * (t / kS);
      first = shifted <= t % kS ? shifted : first;
    }
    first_keys.as<std::int32_t>()[t] = static_cast<std::int32_t>(first);
  }
  const kernels::AttentionShape shape{batch, kS, kS, 0, kA, kK, kD};
  const View q = make(dtype, tokens, kA * kD), k = make(dtype, tokens, kK * kD);
  const View v = make(dtype, tokens, kK * kD), o = make(dtype, tokens, kA * kD);
  const View lse = make(DType::f32, batch * kA, kS), d_o = make(dtype, tokens, kA * kD);
  const View d_q = make(dtype, tokens, kA * kD), d_k = make(dtype, tokens, kK * kD);
  const View d_v = make(dtype, tokens, kK * kD);
  const View scratch = make(DType::f32, 1, kernels::attention_backward_scratch_elements(shape));
  kernels::attention_forward(context, {shape, q, k, v, o, lse, first_keys});
  kernels::attention_backward(context,
                              {shape, q, k, v, o, lse, d_o, d_q, d_k, d_v, scratch, first_keys});
  std::uint64_t hash = 0;
  for (const View& view : {o, lse, d_q, d_k, d_v})
    hash = hash_bytes(
        {static_cast<const std::byte*>(view.data), static_cast<std::size_t>(view.size_bytes())},
        hash);
  return hash;
}

/// The digest of a process with `num_threads` host threads; 0 when it failed.
std::uint64_t digest_with(int num_threads, DType dtype, std::int64_t batch) {
  int ends[2];
  if (pipe(ends) != 0) return 0;
  const pid_t child = fork();
  if (child == 0) {
    HostRuntime host(num_threads);
    const std::uint64_t first = digest_of(dtype, batch);
    const std::uint64_t result = digest_of(dtype, batch) == first ? first : 0;
    const bool written = write(ends[1], &result, sizeof result) == sizeof result;
    _exit(written ? 0 : 1);
  }
  close(ends[1]);
  std::uint64_t result = 0;
  if (read(ends[0], &result, sizeof result) != sizeof result) result = 0;
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return status == 0 ? result : 0;
}

}  // namespace
}  // namespace espalier

int main() {
  using namespace espalier;
  int failures = 0;
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const std::int64_t batch : {1, 9}) {  // with splits of dk and dv, and without
      const std::uint64_t one = digest_with(1, dtype, batch);
      for (const int threads : {2, 3}) {
        const std::uint64_t other = digest_with(threads, dtype, batch);
        const bool same = one != 0 && one == other;
        fmt::print("{}, {} sequences: {:016x} with 1 thread, {:016x} with {}: {}\n", name_of(dtype),
                   batch, one, other, threads, same ? "equal" : "DIFFERENT");
        if (!same) ++failures;
      }
    }
  return failures;
}
