// Floors of time: the bytes per token of bf16 that the contracts name.
#include <array>

#include "kernels/operator_list.hpp"
#include "support.hpp"

namespace espalier::testing {
namespace {

constexpr std::int64_t T = 12, H = 40;

device::View planned(DType dtype, std::int64_t rows, std::int64_t cols) {
  // An address that nobody follows: costs depend on shapes, and on what is given.
  static char somewhere;
  return {&somewhere, dtype, rows, cols, cols};
}
device::View halves(std::int64_t rows, std::int64_t cols) {
  return planned(DType::bf16, rows, cols);
}

}  // namespace

TEST_CASE("the bytes of norms and activations are those of the contracts", "[cost]") {
  const device::ConstView x = halves(T, H);
  kernels::RmsNormForward rmsnorm{};
  rmsnorm.x = x;
  CHECK(kernels::cost_of(rmsnorm).bytes == T * (4 * H + 4));
  rmsnorm.delta = x;
  CHECK(kernels::cost_of(rmsnorm).bytes == T * (8 * H + 4));
  kernels::LayerNormForward layernorm{};
  layernorm.x = layernorm.delta = x;
  CHECK(kernels::cost_of(layernorm).bytes == T * (8 * H + 8));
  CHECK(kernels::cost_of(kernels::GeluForward{.x = x, .out = halves(T, H)}).bytes == T * 4 * H);
  CHECK(kernels::cost_of(kernels::SwigluForward{.gate_up = halves(T, 2 * H), .out = halves(T, H)})
            .bytes == T * 6 * H);
  const kernels::BiasBackward bias{.dy = x, .d_bias = planned(DType::f32, 1, H)};
  CHECK(kernels::cost_of(bias).bytes == T * 2 * H + 8 * H);
  CHECK(kernels::cost_of_cast(planned(DType::f32, T, H), x).bytes == T * 6 * H);
}

TEST_CASE("a table's gradient costs no more rows than it has", "[cost]") {
  const auto bytes = [](std::int64_t table_rows) {
    kernels::PositionsBackward call{};
    call.dx = halves(T, H);
    call.d_table = planned(DType::f32, table_rows, H);
    return kernels::cost_of(call).bytes;
  };
  CHECK(bytes(1000) == T * (2 * H + 4) + T * 8 * H);
  CHECK(bytes(3) == T * (2 * H + 4) + 3 * 8 * H);
}

TEST_CASE("attention counts the pairs that a causal mask leaves", "[cost]") {
  kernels::AttentionForward call{.shape = {.batch = 2,
                                           .query_length = 5,
                                           .kv_length = 5,
                                           .num_q_heads = 4,
                                           .num_kv_heads = 2,
                                           .head_dim = 16},
                                 .q = halves(10, 64),
                                 .k = halves(10, 32),
                                 .v = halves(10, 32),
                                 .o = halves(10, 64),
                                 .lse = planned(DType::f32, 8, 5)};
  CHECK(kernels::cost_of(call).flops == 2 * 4 * 15 * 4.0 * 16);
  CHECK(kernels::cost_of(call).bytes == 2.0 * (2 * 640 + 2 * 320) + 4 * 40);
  // One more query behind four keys, of a cache with more rows than are used.
  call.shape.batch = 1;
  call.shape.query_length = 1;
  call.shape.first_query_position = 4;
  call.q = call.o = halves(1, 64);
  call.lse = planned(DType::f32, 4, 1);
  CHECK(kernels::cost_of(call).flops == 4 * 5 * 4.0 * 16);
  CHECK(kernels::cost_of(call).bytes == 2.0 * (2 * 64 + 2 * 5 * 32) + 4 * 4);
}

TEST_CASE("AdamW moves 30 bytes per parameter of bf16", "[cost]") {
  kernels::AdamW one{};
  one.gradient = planned(DType::f32, T, H);
  one.weight = halves(T, H);
  const std::array rectangles{one, one};
  CHECK(kernels::cost_of_adamw(rectangles).bytes == 2 * T * H * 30);
}

TEST_CASE("operators of experts cost the rows of their pairs", "[cost][moe]") {
  constexpr std::int64_t k = 3, E = 7;
  const auto numbers = [](std::int64_t rows, std::int64_t cols) {
    return planned(DType::i32, rows, cols);
  };
  const auto floats = [](std::int64_t rows, std::int64_t cols) {
    return planned(DType::f32, rows, cols);
  };
  CHECK(kernels::cost_of(kernels::RouterForward{.logits = floats(T, E),
                                                .bias = {},
                                                .normalize = true,
                                                .probabilities = floats(T, E),
                                                .log_sum_exp = floats(1, T),
                                                .experts = numbers(T, k),
                                                .weights = floats(T, k)})
            .bytes == T * (8 * E + 4 + 8 * k));
  CHECK(kernels::cost_of(kernels::GatherRows{.in = halves(T, H),
                                             .index = numbers(1, T * k),
                                             .divisor = k,
                                             .out = halves(T * k, H)})
            .bytes == T * k * (4 * H + 4));
  kernels::CombineRows combine{.rows = halves(T * k, H),
                               .place = numbers(T, k),
                               .weights = {},
                               .add = {},
                               .out = halves(T, H)};
  CHECK(kernels::cost_of(combine).bytes == T * (2 * H * (k + 1) + 4 * k));
  combine.weights = floats(T, k);
  combine.add = halves(T, H);
  CHECK(kernels::cost_of(combine).bytes == T * (2 * H * (k + 2) + 8 * k));
  const kernels::ExpertSwigluBackward swiglu{.gate_up = halves(T, 2 * H),
                                             .d_hidden = halves(T, H),
                                             .row_weights = floats(T, 1),
                                             .d_gate_up = halves(T, 2 * H),
                                             .hidden = halves(T, H),
                                             .d_row_weights = floats(T, 1)};
  CHECK(kernels::cost_of(swiglu).bytes == T * (12 * H + 8));
}

}  // namespace espalier::testing
