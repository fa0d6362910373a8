#include "model/linear.hpp"

#include <catch2/catch.hpp>
#include <cstdint>
#include <utility>
#include <vector>

namespace espalier::model {
namespace {

using device::ConstView;
using device::Output;
using device::View;

constexpr std::int64_t kTokens = 5, kIn = 3, kOut = 4, kOwnTokens = 2;

/// Whole numbers and halves, so that no sum is rounded in fp32.
std::vector<float> numbers(std::int64_t count, int seed) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < count; ++i)
    values.push_back(static_cast<float>((i * 7 + seed * 5) % 11 - 5) * 0.5F);
  return values;
}

/// A layer and what it computes with, all of fp32.
struct Layer {
  explicit Layer(bool with_bias) {
    linear.weights.weight = device::view_of(w.data(), kOut, kIn);
    linear.gradients.weight = device::view_of(dw.data(), kOut, kIn);
    if (!with_bias) return;
    linear.weights.bias = device::view_of(bias.data(), 1, kOut);
    linear.gradients.bias = device::view_of(d_bias.data(), 1, kOut);
  }
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  device::Context context;
  std::vector<float> w = numbers(kOut * kIn, 1), bias = numbers(kOut, 2);
  std::vector<float> dw = numbers(kOut * kIn, 3), d_bias = numbers(kOut, 4);
  std::vector<float> x = numbers(kTokens * kIn, 5), dy = numbers(kTokens * kOut, 6);
  Linear linear{.weights = {}, .gradients = {}, .precision = LinearPrecision::of(DType::f32)};
  ConstView x_view() const { return device::view_of(x.data(), kTokens, kIn); }
  ConstView dy_view() const { return device::view_of(dy.data(), kTokens, kOut); }
};

std::size_t at(std::int64_t row, std::int64_t col, std::int64_t cols) {
  return static_cast<std::size_t>(row * cols + col);
}

}  // namespace

TEST_CASE("a linear layer multiplies by its weight and adds the bias where it is told to") {
  for (const auto& [with_bias, adds_bias] : {std::pair(true, true), {true, false}, {false, true}}) {
    CAPTURE(with_bias, adds_bias);
    Layer layer(with_bias);
    std::vector<float> y(static_cast<std::size_t>(kTokens * kOut), 99.0F);
    layer.linear.forward(layer.context, device::view_of(y.data(), kTokens, kOut), layer.x_view(),
                         adds_bias);
    for (std::int64_t t = 0; t < kTokens; ++t)
      for (std::int64_t o = 0; o < kOut; ++o) {
        float want = with_bias && adds_bias ? layer.bias[static_cast<std::size_t>(o)] : 0.0F;
        for (std::int64_t i = 0; i < kIn; ++i)
          want += layer.x[at(t, i, kIn)] * layer.w[at(o, i, kIn)];
        CHECK(y[at(t, o, kOut)] == want);
      }
    std::vector<float> dx(static_cast<std::size_t>(kTokens * kIn), 99.0F);
    layer.linear.backward_input(layer.context, device::view_of(dx.data(), kTokens, kIn),
                                layer.dy_view());
    for (std::int64_t t = 0; t < kTokens; ++t)
      for (std::int64_t i = 0; i < kIn; ++i) {
        float want = 0.0F;
        for (std::int64_t o = 0; o < kOut; ++o)
          want += layer.dy[at(t, o, kOut)] * layer.w[at(o, i, kIn)];
        CHECK(dx[at(t, i, kIn)] == want);
      }
  }
}

TEST_CASE("the weight's gradient replaces or adds, the bias's adds, of its own tokens if told") {
  for (const bool with_bias : {true, false})
    for (const bool own_tokens : {false, true})
      for (const Output output : {Output::replace, Output::accumulate}) {
        CAPTURE(with_bias, own_tokens, output == Output::replace);
        Layer layer(with_bias);
        const std::vector<float> dw = layer.dw, d_bias = layer.d_bias;
        const std::int64_t bias_tokens = own_tokens ? kOwnTokens : kTokens;
        if (own_tokens)
          layer.linear.backward_weight(layer.context, layer.dy_view(), layer.x_view(), output,
                                       layer.dy_view().row_range(0, kOwnTokens));
        else
          layer.linear.backward_weight(layer.context, layer.dy_view(), layer.x_view(), output);
        for (std::int64_t o = 0; o < kOut; ++o) {
          for (std::int64_t i = 0; i < kIn; ++i) {
            float want = output == Output::accumulate ? dw[at(o, i, kIn)] : 0.0F;
            for (std::int64_t t = 0; t < kTokens; ++t)
              want += layer.dy[at(t, o, kOut)] * layer.x[at(t, i, kIn)];
            CHECK(layer.dw[at(o, i, kIn)] == want);
          }
          float want = d_bias[static_cast<std::size_t>(o)];
          for (std::int64_t t = 0; with_bias && t < bias_tokens; ++t)
            want += layer.dy[at(t, o, kOut)];
          CHECK(layer.d_bias[static_cast<std::size_t>(o)] == want);
        }
      }
}

TEST_CASE("an operand of another dtype than the policy's is refused") {
  Layer layer(/*with_bias=*/false);
  std::vector<float> y(static_cast<std::size_t>(kTokens * kOut));
  std::vector<bf16> half(static_cast<std::size_t>(kTokens * kOut));
  const ConstView wrong_x = device::view_of(half.data(), kTokens, kIn);
  const ConstView wrong_dy = device::view_of(half.data(), kTokens, kOut);
  const View out = device::view_of(y.data(), kTokens, kOut);
  const View dx = device::view_of(y.data(), kTokens, kIn);
  CHECK_THROWS_AS(layer.linear.forward(layer.context, out, wrong_x), Error);
  CHECK_THROWS_AS(layer.linear.backward_input(layer.context, dx, wrong_dy), Error);
  CHECK_THROWS_AS(
      layer.linear.backward_weight(layer.context, wrong_dy, layer.x_view(), Output::replace),
      Error);
  layer.linear.precision.weight = DType::bf16;
  CHECK_THROWS_AS(layer.linear.forward(layer.context, out, layer.x_view()), Error);
}

}  // namespace espalier::model
