// Every operator gives the same bits for 1, 2 and 3 threads, and again on a second call. The host
// threads live as long as a process, so each count has a process of its own.
#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string_view>
#include <vector>

#include "base/host_loops.hpp"
#include "base/random.hpp"
#include "base/text.hpp"
#include "device/arena.hpp"
#include "device/context.hpp"
#include "kernels/attention/attention.hpp"
#include "kernels/attention/qk_norm_rope.hpp"
#include "kernels/bias.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/embedding/embedding.hpp"
#include "kernels/embedding/positions.hpp"
#include "kernels/loss/cross_entropy.hpp"
#include "kernels/mlp/gelu.hpp"
#include "kernels/mlp/swiglu.hpp"
#include "kernels/moe/dispatch.hpp"
#include "kernels/moe/expert_swiglu.hpp"
#include "kernels/moe/grouped_product.hpp"
#include "kernels/moe/router.hpp"
#include "kernels/norm/layernorm.hpp"
#include "kernels/norm/rmsnorm.hpp"
#include "kernels/optim/adamw.hpp"

namespace espalier {
namespace {

using device::Arena;
using device::View;

/// Small model shapes that give every thread unequal work: T = 3 * 67, H = 40, D = 10.
struct Digest {
  static constexpr std::int64_t kB = 3, kS = 67, kT = kB * kS, kH = 40, kA = 4, kK = 2, kD = 10,
                                kV = 333;
  Arena arena = Arena::backed("digest", 64 << 20);
  device::Context context;
  DType dtype;
  std::uint64_t hash = 0;

  explicit Digest(DType type) : dtype(type) {}

  View make(DType type, std::int64_t rows, std::int64_t cols) {
    const auto name = fmt::format("{}", arena.allocations().size());
    const View view = arena.allocate(name, type, rows, cols);
    std::vector<float> numbers(static_cast<std::size_t>(view.size()));
    RandomStream(3, name).normal(numbers, 0, 1.0);
    kernels::cast(context, view, device::view_of(numbers.data(), rows, cols));
    return view;
  }
  View make(std::int64_t rows, std::int64_t cols) { return make(dtype, rows, cols); }
  View make_f32(std::int64_t rows, std::int64_t cols) { return make(DType::f32, rows, cols); }
  void mix(const View& view) {
    hash = hash_bytes(
        {static_cast<const std::byte*>(view.data), static_cast<std::size_t>(view.size_bytes())},
        hash);
  }

  void pointwise() {
    const View x = make(kT, kH), delta = make(kT, kH), w = make(1, kH), y = make(kT, kH);
    const View inverse = make_f32(1, kT), d_w = make_f32(1, kH);
    kernels::rmsnorm_forward(context, {x, delta, w, x, y, inverse, 1e-6f});
    mix(y);
    kernels::rmsnorm_backward(context, {y, x, w, inverse, delta, y, d_w});
    mix(y);
    mix(d_w);
    const View gate_up = make(kT, 2 * kH), d_gate_up = make(kT, 2 * kH);
    kernels::swiglu_backward(context, {gate_up, x, d_gate_up, y});
    mix(d_gate_up);
    const View p = make_f32(kT, kH), m = make_f32(kT, kH), v = make_f32(kT, kH);
    kernels::set_zero(context, v);
    const kernels::AdamW update{
        make_f32(kT, kH), p, m, v, x, 1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 1, 1};
    kernels::adamw(context, {&update, 1});
    mix(x);
    mix(p);
    double squares = 0.0;
    const device::ConstView in = make_f32(77, 999);
    kernels::sums_of_squares(context, device::view_of(&squares, 1, 1), {&in, 1});
    hash = hash_bytes(std::as_bytes(std::span(&squares, 1)), hash);
  }

  void gpt2_parts() {
    const View x = make(kT, kH), delta = make(kT, kH), w = make(1, kH), b = make(1, kH);
    const View y = make(kT, kH), statistics = make_f32(2, kT);
    const View d_w = make_f32(1, kH), d_b = make_f32(1, kH);
    kernels::layernorm_forward(context, {x, delta, w, b, x, y, statistics, 1e-5f});
    mix(y);
    kernels::layernorm_backward(context, {y, x, w, statistics, delta, y, d_w, d_b});
    mix(y);
    mix(d_w);
    mix(d_b);
    kernels::gelu_backward(context, {x, delta, x, delta});
    mix(x);
    mix(delta);
    kernels::bias_backward(context, {x, d_b});
    mix(d_b);
    const View positions = arena.allocate("learned positions", DType::i32, 1, kT);
    for (std::int64_t t = 0; t < kT; ++t)
      positions.as<std::int32_t>()[t] = static_cast<std::int32_t>(t % kS);
    const View d_table = make_f32(kS, kH);
    kernels::positions_forward(context, {positions, make(kS, kH), x});
    kernels::positions_backward(context, {positions, x, d_table});
    mix(x);
    mix(d_table);
  }

  void attention() {
    const View qkv = make(kT, (kA + 2 * kK) * kD), qk = make(kT, (kA + kK) * kD);
    const View d_qkv = make(kT, (kA + 2 * kK) * kD), w = make(1, kD);
    const View d_q_w = make_f32(1, kD), d_k_w = make_f32(1, kD);
    const kernels::RopeTable rope{make_f32(kS, kD / 2), make_f32(kS, kD / 2)};
    kernels::fill_rope_table(context, rope, kD, {.theta = 1e4});
    const View positions = arena.allocate("positions", DType::i32, 1, kT);
    for (std::int64_t t = 0; t < kT; ++t)
      positions.as<std::int32_t>()[t] = static_cast<std::int32_t>(t % kS);
    kernels::qk_norm_rope_forward(context, {qkv, w, w, positions, rope, qk, kA, kK, kD, 1e-6f});
    mix(qk);
    const kernels::AttentionShape shape{kB, kS, kS, 0, kA, kK, kD};
    const View q = qk.col_range(0, kA * kD), k = qk.col_range(kA * kD, kK * kD);
    const View v = qkv.col_range((kA + kK) * kD, kK * kD);
    const View o = make(kT, kA * kD), lse = make_f32(kB * kA, kS);
    // Documents of 20 tokens, and none.
    const View document_start = arena.allocate("document starts", DType::i32, 1, kT);
    for (std::int64_t t = 0; t < kT; ++t)
      document_start.as<std::int32_t>()[t] = static_cast<std::int32_t>(t % kS / 20 * 20);
    const View d_o = make(kT, kA * kD);
    const View scratch = make_f32(1, kernels::attention_backward_scratch_elements(shape));
    for (const device::ConstView keys : {device::ConstView(document_start), device::ConstView()}) {
      kernels::attention_forward(context, {shape, q, k, v, o, lse, keys});
      mix(o);
      mix(lse);
      kernels::attention_backward(
          context, {shape, q, k, v, o, lse, d_o, d_qkv.col_range(0, kA * kD),
                    d_qkv.col_range(kA * kD, kK * kD), d_qkv.col_range((kA + kK) * kD, kK * kD),
                    scratch, keys});
      mix(d_qkv);
    }
    kernels::qk_norm_rope_backward(
        context, {d_qkv.col_range(0, (kA + kK) * kD), qkv, w, w, positions, rope, d_qkv, d_q_w,
                  d_k_w, kA, kK, kD, 1e-6f});
    mix(d_qkv);
    mix(d_q_w);
    mix(d_k_w);
  }

  void vocabulary() {
    const View tokens = arena.allocate("tokens", DType::u32, 1, kT);
    for (std::int64_t t = 0; t < kT; ++t)
      tokens.as<std::uint32_t>()[t] = static_cast<std::uint32_t>(t * t % 29);
    const View table = make(kV, kH), out = make(kT, kH), d_table = make_f32(kV, kH);
    kernels::embedding_forward(context, {tokens, table, 0, out});
    kernels::embedding_backward(
        context, {tokens, out, 0, d_table, arena.allocate("order", DType::i32, 1, kT)});
    mix(d_table);
    const View logits = make(kT, kV), statistics = make_f32(kT, 3);
    const View loss = make_f32(1, kT), lse = make_f32(1, kT);
    kernels::cross_entropy_statistics(context, {logits, tokens, 0, kV, statistics});
    kernels::cross_entropy_combine(context, {statistics, tokens, 1, loss, lse});
    kernels::cross_entropy_backward(context, {logits, tokens, lse, 0, kV, 0.5f});
    mix(loss);
    mix(logits);
  }

  void experts() {
    constexpr std::int64_t kE = 11, kChosen = 3, kPairs = kT * kChosen, kFe = 24;
    const View probabilities = make_f32(kT, kE), lse = make_f32(1, kT);
    const View weights = make_f32(kT, kChosen), d_weights = make_f32(kT, kChosen);
    const auto whole_numbers = [&](std::int64_t rows, std::int64_t cols) {
      return arena.allocate(fmt::format("{}", arena.allocations().size()), DType::i32, rows, cols);
    };
    const View chosen = whole_numbers(kT, kChosen), place = whole_numbers(kT, kChosen);
    const View order = whole_numbers(1, kPairs), counts = whole_numbers(1, kE);
    kernels::router_forward(context,
                            {probabilities, {}, true, probabilities, lse, chosen, weights});
    kernels::sort_by_expert(context, {chosen, order, place, counts});
    const View counts_of_sequences = make_f32(kB, kE), d_logits = make(kT, kE);
    const kernels::TokenPlace tokens{.first_token = 0, .tokens_per_sequence = kS};
    kernels::count_choices(context, {chosen, tokens, counts_of_sequences});
    kernels::router_backward(context, {probabilities, lse, chosen, weights, true, d_weights,
                                       counts_of_sequences, tokens, 0.1f, 0.1f, d_logits});
    double sums[2] = {};
    kernels::balance_loss(context, {probabilities, lse, counts_of_sequences, tokens, 0.1f, 0.1f,
                                    device::view_of(sums, 1, 2)});
    hash = hash_bytes(std::as_bytes(std::span(sums)), hash);
    for (const View& view : {weights, order, place, d_logits}) mix(view);

    std::vector<std::int64_t> offsets = {0};
    for (std::int64_t e = 0; e < kE; ++e)
      offsets.push_back(offsets.back() + counts.as<std::int32_t>()[e]);
    const View rows = make(kPairs, kH), w = make(kE * 2 * kFe, kH), gate_up = make(kPairs, 2 * kFe);
    const View dw = make_f32(kE * 2 * kFe, kH), out = make(kT, kH), dx = make(kPairs, kH);
    kernels::gather_rows(context, {make(kT, kH), order, kChosen, rows});
    kernels::grouped_forward(context, {rows, w, offsets, gate_up});
    mix(gate_up);
    const View row_weights = make_f32(kPairs, 1), d_row_weights = make_f32(kPairs, 1);
    kernels::expert_swiglu_backward(context, {gate_up, make(kPairs, kFe), row_weights, gate_up,
                                              make(kPairs, kFe), d_row_weights});
    kernels::grouped_backward_input(context, {gate_up, w, offsets, dx});
    kernels::grouped_backward_weight(context, {gate_up, rows, offsets, dw});
    kernels::combine_rows(context, {dx, place, weights, {}, out});
    for (const View& view : {d_row_weights, dx, dw, out}) mix(view);
  }

  /// Both directions over `batch` sequences, whose documents begin elsewhere in each: with splits
  /// of dK and dV for one sequence, without for nine.
  void attention_inside_documents(std::int64_t batch) {
    constexpr std::int64_t kLength = 131, kQueryHeads = 6;
    const std::int64_t tokens = batch * kLength;
    const View document_start = arena.allocate("document starts", DType::i32, 1, tokens);
    for (std::int64_t t = 0; t < tokens; ++t) {
      std::int64_t first = 0;
      for (const std::int64_t begin : {9, 10, 47, 90}) {
        const std::int64_t shifted = begin + 3 * (t / kLength);
        first = shifted <= t % kLength ? shifted : first;
      }
      document_start.as<std::int32_t>()[t] = static_cast<std::int32_t>(first);
    }
    const kernels::AttentionShape shape{batch, kLength, kLength, 0, kQueryHeads, kK, kD};
    const View q = make(tokens, kQueryHeads * kD), k = make(tokens, kK * kD);
    const View v = make(tokens, kK * kD), o = make(tokens, kQueryHeads * kD);
    const View lse = make_f32(batch * kQueryHeads, kLength), d_o = make(tokens, kQueryHeads * kD);
    const View d_q = make(tokens, kQueryHeads * kD), d_k = make(tokens, kK * kD);
    const View d_v = make(tokens, kK * kD);
    const View scratch = make_f32(1, kernels::attention_backward_scratch_elements(shape));
    kernels::attention_forward(context, {shape, q, k, v, o, lse, document_start});
    kernels::attention_backward(
        context, {shape, q, k, v, o, lse, d_o, d_q, d_k, d_v, scratch, document_start});
    for (const View& view : {o, lse, d_q, d_k, d_v}) mix(view);
  }
};

/// Tiles, terms and blocks of widened products, and shapes whose sum a library may divide among
/// threads.
std::uint64_t digest_of_products(std::uint64_t hash) {
  Digest digest(DType::bf16);
  digest.hash = hash;
  device::Gemm gemm(device::Bf16Products::widened);
  for (const auto& [m, n, k] : {std::array<std::int64_t, 3>{1, 5, 2100},
                                {19, 30, 2100},
                                {201, 800, 1090},
                                {2300, 70, 40}}) {
    const View x = digest.make(m, k);
    const View w = digest.make(n, k);
    const View y = digest.make(m, n);
    const View dx = digest.make(m, k);
    const View dw = digest.make_f32(n, k);
    gemm.forward(y, x, w, device::Output::accumulate);
    gemm.backward_input(dx, y, w);
    gemm.backward_weight(dw, y, x, device::Output::accumulate);
    for (const View& view : {y, dx, dw}) digest.mix(view);
  }
  return digest.hash;
}

std::uint64_t digest_of(DType dtype) {
  Digest digest(dtype);
  digest.pointwise();
  digest.gpt2_parts();
  digest.attention();
  digest.attention_inside_documents(1);
  digest.attention_inside_documents(9);
  digest.vocabulary();
  digest.experts();
  return dtype == DType::bf16 ? digest_of_products(digest.hash) : digest.hash;
}

/// The digest of a process with `num_threads` host threads; 0 when it failed.
std::uint64_t digest_with(int num_threads, DType dtype) {
  int ends[2];
  if (pipe(ends) != 0) return 0;
  const pid_t child = fork();
  if (child == 0) {
    HostRuntime host(num_threads);
    const std::uint64_t first = digest_of(dtype);
    const std::uint64_t result = digest_of(dtype) == first ? first : 0;
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
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const std::uint64_t one = digest_with(1, dtype);
    for (const int threads : {2, 3}) {
      const std::uint64_t other = digest_with(threads, dtype);
      const bool same = one != 0 && one == other;
      fmt::print("{}: {:016x} with 1 thread, {:016x} with {}: {}\n", name_of(dtype), one, other,
                 threads, same ? "equal" : "DIFFERENT");
      if (!same) ++failures;
    }
  }
  return failures;
}
