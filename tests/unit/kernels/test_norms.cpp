#include "kernels/attention/qk_norm_rope.hpp"
#include "kernels/norm/rmsnorm.hpp"
#include "rope_frequencies.hpp"
#include "support.hpp"

namespace espalier {
namespace {

using device::Context;
using testing::kRounding;
using testing::Matrix;
using testing::worst_error;

template <class T>
double inverse_rms_of(const Matrix<T>& x, std::int64_t row, std::int64_t first, std::int64_t n) {
  double squares = 0.0;
  for (std::int64_t c = first; c < first + n; ++c) squares += x(row, c) * x(row, c);
  return 1.0 / std::sqrt(squares / static_cast<double>(n) + static_cast<double>(1e-6f));
}

/// d/dx of x * inverse_rms(x) * w, along dy, for elements first .. first + n of a row.
template <class T>
struct NormGradient {
  const Matrix<T>& x;
  std::int64_t row, first, n;
  double inverse_rms, mean = 0.0;

  template <class Gradient>
  NormGradient(const Matrix<T>& x_, std::int64_t row_, std::int64_t first_, std::int64_t n_,
               Gradient&& weighted)
      : x(x_), row(row_), first(first_), n(n_), inverse_rms(inverse_rms_of(x_, row_, first_, n_)) {
    for (std::int64_t c = 0; c < n; ++c)
      mean += weighted(c) * x(row, first + c) * inverse_rms / static_cast<double>(n);
  }
  double operator()(std::int64_t c, double weighted) const {
    return inverse_rms * (weighted - x(row, first + c) * inverse_rms * mean);
  }
};

template <class T>
void check_rmsnorm(std::int64_t rows, std::int64_t width) {
  CAPTURE(rows, width);
  Context context;
  Matrix<T> x(rows, width, 3), delta(rows, width, 5), weight(1, width), dy(rows, width, 2),
      d_residual(rows, width, 1);
  x.randomize("x", 2.0);
  delta.randomize("delta", 1.0);
  weight.randomize("weight", 0.3, 1.0);
  dy.randomize("dy");
  d_residual.randomize("d_residual");

  Matrix<T> residual(rows, width, 7), y(rows, width, 4);
  Matrix<float> inverse_rms(1, rows);
  kernels::rmsnorm_forward(context, {.x = x.view(),
                                     .delta = delta.view(),
                                     .weight = weight.view(),
                                     .residual = residual.view(),
                                     .y = y.view(),
                                     .inverse_rms = inverse_rms.view(),
                                     .eps = 1e-6f});
  CHECK(worst_error(residual, [&](auto r, auto c) { return x(r, c) + delta(r, c); }) <=
        kRounding<T>);
  // bf16: two roundings, of the normalised value and of the product; f32: a few of 2^-24.
  const double tolerance = sizeof(T) == 2 ? 2.1 * kRounding<T> : 5e-7;
  const auto normed = [&](auto r, auto c) {
    return residual(r, c) * inverse_rms_of(residual, r, 0, width) * weight(0, c);
  };
  CHECK(worst_error(y, normed, 1e-3) < tolerance);
  CHECK(worst_error(
            inverse_rms, [&](auto, auto r) { return inverse_rms_of(residual, r, 0, width); }, 0.0) <
        1e-6);
  CHECK(y.padding_untouched());
  CHECK(residual.padding_untouched());

  // Without delta the same row gives the same bits, and y may lie on delta's memory.
  Matrix<T> again(rows, width, 4);
  kernels::rmsnorm_forward(context, {.x = residual.view(),
                                     .delta = {},
                                     .weight = weight.view(),
                                     .residual = {},
                                     .y = again.view(),
                                     .inverse_rms = inverse_rms.view(),
                                     .eps = 1e-6f});
  CHECK(again.same_bits(y));

  Matrix<T> dx(rows, width, 6);
  Matrix<float> d_weight(1, width);
  d_weight.fill(0.5);
  kernels::rmsnorm_backward(context, {.dy = dy.view(),
                                      .x = residual.view(),
                                      .weight = weight.view(),
                                      .inverse_rms = inverse_rms.view(),
                                      .d_residual = d_residual.view(),
                                      .dx = dx.view(),
                                      .d_weight = d_weight.view()});
  const auto want_dx = [&](auto r, auto c) {
    const auto weighted = [&](std::int64_t i) { return dy(r, i) * weight(0, i); };
    return d_residual(r, c) + NormGradient<T>(residual, r, 0, width, weighted)(c, weighted(c));
  };
  CHECK(worst_error(dx, want_dx) < (sizeof(T) == 2 ? kRounding<T> * 1.01 : 1e-6));
  const auto want_d_weight = [&](auto, auto c) {
    double sum = 0.5;
    for (std::int64_t r = 0; r < rows; ++r)
      sum += dy(r, c) * residual(r, c) * inverse_rms_of(residual, r, 0, width);
    return sum;
  };
  CHECK(worst_error(d_weight, want_d_weight) < 3e-6);
  CHECK(dx.padding_untouched());
}

template <class T>
void check_rope(std::int64_t tokens, std::int64_t q_heads, std::int64_t kv_heads,
                std::int64_t head_dim, bool norm) {
  CAPTURE(tokens, q_heads, kv_heads, head_dim, norm);
  Context context;
  const std::int64_t heads = q_heads + kv_heads;
  const std::int64_t half = head_dim / 2;
  Matrix<T> qkv(tokens, (heads + kv_heads) * head_dim, 3), q_weight(1, head_dim),
      k_weight(1, head_dim), qk(tokens, heads * head_dim, 5);
  qkv.randomize("qkv", 1.7);
  q_weight.randomize("q_weight", 0.3, 1.0);
  k_weight.randomize("k_weight", 0.3, 1.0);
  std::vector<std::int32_t> numbers;
  for (std::int64_t t = 0; t < tokens; ++t)
    numbers.push_back(static_cast<std::int32_t>((t * 37) % (tokens + 11)));
  testing::Ids<std::int32_t> positions(numbers);
  Matrix<float> cosine(tokens + 11, half), sine(tokens + 11, half);
  const kernels::RopeTable table{cosine.view(), sine.view()};
  kernels::fill_rope_table(context, table, head_dim, {.theta = 1e6});

  const device::ConstView none;
  kernels::qk_norm_rope_forward(context,
                                {.qkv = qkv.view(),
                                 .q_weight = norm ? device::ConstView(q_weight.view()) : none,
                                 .k_weight = norm ? device::ConstView(k_weight.view()) : none,
                                 .position_ids = positions.view(),
                                 .rope = table,
                                 .qk = qk.view(),
                                 .num_q_heads = q_heads,
                                 .num_kv_heads = kv_heads,
                                 .head_dim = head_dim,
                                 .eps = 1e-6f});
  const auto weight = [&](std::int64_t h, std::int64_t i) {
    if (!norm) return 1.0;
    return h < q_heads ? q_weight(0, i) : k_weight(0, i);
  };
  const auto normed = [&](std::int64_t t, std::int64_t h, std::int64_t i) {
    const double x = qkv(t, h * head_dim + i);
    return norm ? x * inverse_rms_of(qkv, t, h * head_dim, head_dim) * weight(h, i) : x;
  };
  const auto want = [&](std::int64_t t, std::int64_t column) {
    const std::int64_t h = column / head_dim;
    const std::int64_t i = column % head_dim;
    const std::int64_t p = positions[t];
    if (i < half) return normed(t, h, i) * cosine(p, i) - normed(t, h, i + half) * sine(p, i);
    return normed(t, h, i) * cosine(p, i - half) + normed(t, h, i - half) * sine(p, i - half);
  };
  // bf16: both members of a pair carry two roundings of the norm, the result one more.
  CHECK(worst_error(qk, want) < (sizeof(T) == 2 ? 5 * kRounding<T> : 1e-6));
  CHECK(qk.padding_untouched());

  Matrix<T> d_qk(tokens, heads * head_dim, 1), d_qkv(tokens, (heads + kv_heads) * head_dim, 9);
  d_qk.randomize("d_qk");
  d_qkv.fill(3.0);
  Matrix<float> d_q_weight(1, head_dim), d_k_weight(1, head_dim);
  d_q_weight.fill(0.25);
  kernels::QkNormRopeBackward backward{.d_qk = d_qk.view(),
                                       .qkv = qkv.view(),
                                       .q_weight = norm ? device::ConstView(q_weight.view()) : none,
                                       .k_weight = norm ? device::ConstView(k_weight.view()) : none,
                                       .position_ids = positions.view(),
                                       .rope = table,
                                       .d_qkv = d_qkv.view(),
                                       .d_q_weight = norm ? d_q_weight.view() : device::View{},
                                       .d_k_weight = norm ? d_k_weight.view() : device::View{},
                                       .num_q_heads = q_heads,
                                       .num_kv_heads = kv_heads,
                                       .head_dim = head_dim,
                                       .eps = 1e-6f};
  kernels::qk_norm_rope_backward(context, backward);
  const auto d_normed = [&](std::int64_t t, std::int64_t h, std::int64_t i) {
    const std::int64_t p = positions[t];
    const std::int64_t base = h * head_dim;
    if (i < half) return d_qk(t, base + i) * cosine(p, i) + d_qk(t, base + i + half) * sine(p, i);
    return d_qk(t, base + i) * cosine(p, i - half) - d_qk(t, base + i - half) * sine(p, i - half);
  };
  const auto want_d = [&](std::int64_t t, std::int64_t column) {
    const std::int64_t h = column / head_dim;
    const std::int64_t i = column % head_dim;
    if (h >= heads) return 3.0;  // v is not touched
    if (!norm) return d_normed(t, h, i);
    const auto weighted = [&](std::int64_t c) { return d_normed(t, h, c) * weight(h, c); };
    return NormGradient<T>(qkv, t, h * head_dim, head_dim, weighted)(i, weighted(i));
  };
  CHECK(worst_error(d_qkv, want_d) < (sizeof(T) == 2 ? 1.01 * kRounding<T> : 2e-6));
  CHECK(d_qkv.padding_untouched());
  if (!norm) return;
  const auto want_weight = [&](std::int64_t first, std::int64_t last, double start) {
    return [&, first, last, start](std::int64_t, std::int64_t i) {
      double sum = start;
      for (std::int64_t t = 0; t < tokens; ++t)
        for (std::int64_t h = first; h < last; ++h)
          sum += d_normed(t, h, i) * qkv(t, h * head_dim + i) *
                 inverse_rms_of(qkv, t, h * head_dim, head_dim);
      return sum;
    };
  };
  CHECK(worst_error(d_q_weight, want_weight(0, q_heads, 0.25)) < 1e-5);
  CHECK(worst_error(d_k_weight, want_weight(q_heads, heads, 0.0)) < 1e-5);

  // The gradient may be taken in place.
  Matrix<T> in_place(tokens, (heads + kv_heads) * head_dim, 9);
  in_place.fill(3.0);
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t c = 0; c < heads * head_dim; ++c) in_place.at(t, c) = d_qk.at(t, c);
  backward.d_qk = in_place.view().col_range(0, heads * head_dim);
  backward.d_qkv = in_place.view();
  kernels::qk_norm_rope_backward(context, backward);
  CHECK(in_place.same_bits(d_qkv));
}

}  // namespace

TEMPLATE_TEST_CASE("rmsnorm and its gradient", "[rmsnorm]", float, bf16) {
  check_rmsnorm<TestType>(5, 64);
  check_rmsnorm<TestType>(150, 77);  // several slices of rows, a tail
  check_rmsnorm<TestType>(1, 1);
  check_rmsnorm<TestType>(3, 2560);
}

TEST_CASE("rmsnorm in place: residual over x, y over delta, dx over dy", "[rmsnorm]") {
  Context context;
  Matrix<bf16> x(9, 50), delta(9, 50), weight(1, 50), r(9, 50), y(9, 50);
  x.randomize("x");
  delta.randomize("delta");
  weight.randomize("weight");
  Matrix<float> inverse_rms(1, 9), d_weight(1, 50), d_weight_in_place(1, 50);
  kernels::RmsNormForward call{.x = x.view(),
                               .delta = delta.view(),
                               .weight = weight.view(),
                               .residual = r.view(),
                               .y = y.view(),
                               .inverse_rms = inverse_rms.view(),
                               .eps = 1e-6f};
  kernels::rmsnorm_forward(context, call);
  call.residual = x.view();
  call.y = delta.view();
  kernels::rmsnorm_forward(context, call);
  CHECK(x.same_bits(r));
  CHECK(delta.same_bits(y));

  Matrix<bf16> dx(9, 50);
  kernels::RmsNormBackward gradient{.dy = y.view(),
                                    .x = r.view(),
                                    .weight = weight.view(),
                                    .inverse_rms = inverse_rms.view(),
                                    .d_residual = {},
                                    .dx = dx.view(),
                                    .d_weight = d_weight.view()};
  kernels::rmsnorm_backward(context, gradient);
  gradient.dx = y.view();
  gradient.d_weight = d_weight_in_place.view();
  kernels::rmsnorm_backward(context, gradient);
  CHECK(y.same_bits(dx));
  CHECK(d_weight_in_place.same_bits(d_weight));
}

TEMPLATE_TEST_CASE("QK-norm with RoPE and its gradient", "[rope]", float, bf16) {
  check_rope<TestType>(70, 4, 2, 64, true);
  check_rope<TestType>(5, 3, 3, 10, true);
  check_rope<TestType>(3, 2, 1, 144, true);
  check_rope<TestType>(9, 5, 1, 38, false);
  check_rope<TestType>(1, 1, 1, 2, true);
}

TEST_CASE("the RoPE table has the angles of transformers", "[rope]") {
  Matrix<float> cosine(4096, 64), sine(4096, 64);
  device::Context rope_context;
  kernels::fill_rope_table(rope_context, {cosine.view(), sine.view()}, 128, {.theta = 1e6});
  for (std::int64_t p : {0, 1, 7, 1000, 4095})
    for (std::int64_t i = 0; i < 64; ++i) {
      const float frequency = 1.0f / std::pow(1e6f, static_cast<float>(2 * i) / 128.0f);
      const float angle = static_cast<float>(p) * frequency;
      CHECK(cosine(p, i) == Approx(std::cos(static_cast<double>(angle))).margin(1e-7));
      CHECK(sine(p, i) == Approx(std::sin(static_cast<double>(angle))).margin(1e-7));
    }
}

TEST_CASE("Llama 3.1's scaled frequencies are transformers' to the last bit", "[rope]") {
  // LlamaRotaryEmbedding.inv_freq of Llama 3.2 1B (transformers 5.23): the first ones stay, a few
  // are blended, the others are divided by 32.
  const float expected[] = {0x1.p+0f,        0x1.53c38cp-1f,  0x1.c2ef78p-2f,  0x1.2b3dc6p-2f,
                            0x1.8d276p-3f,   0x1.078d4p-3f,   0x1.5dc95ap-4f,  0x1.d03ccep-5f,
                            0x1.34119p-5f,   0x1.98de92p-6f,  0x1.0f5386p-6f,  0x1.681adap-7f,
                            0x1.ddee9ep-8f,  0x1.3d2804p-8f,  0x1.a4ee4p-9f,   0x1.524f36p-10f,
                            0x1.c26c4p-12f,  0x1.9731eep-14f, 0x1.46831ap-16f, 0x1.b15902p-17f,
                            0x1.1f91fp-17f,  0x1.7da9e8p-18f, 0x1.fa8b86p-19f, 0x1.5024d6p-19f,
                            0x1.be2188p-20f, 0x1.280d96p-20f, 0x1.88ec2p-21f,  0x1.04be68p-21f,
                            0x1.5a0f4ep-22f, 0x1.cb4a9ap-23f, 0x1.30c94ep-23f, 0x1.94836p-24f};
  constexpr std::int64_t kPositions = 4096;
  Matrix<float> cosine(kPositions, 32), sine(kPositions, 32);
  device::Context rope_context;
  kernels::fill_rope_table(rope_context, {cosine.view(), sine.view()}, 64,
                           {.theta = 5e5,
                            .scaling = {.type = kernels::RopeType::llama3,
                                        .factor = 32.0,
                                        .original_positions = 8192,
                                        .low_freq_factor = 1.0,
                                        .high_freq_factor = 4.0}});
  for (std::int64_t p : {1, 1000, 4095})
    for (std::int64_t i = 0; i < 32; ++i) {
      CAPTURE(p, i);
      const float angle = static_cast<float>(p) * expected[i];
      CHECK(cosine.at(p, i) == std::cos(angle));
      CHECK(sine.at(p, i) == std::sin(angle));
    }
}

TEST_CASE("linear, dynamic and YaRN's frequencies are transformers' to the last bit", "[rope]") {
  for (const testing::RopeFrequenciesOf& c : testing::rope_frequencies_of_transformers()) {
    const auto half = std::ssize(c.expected);
    Matrix<float> cosine(c.length, half), sine(c.length, half);
    device::Context rope_context;
    kernels::fill_rope_table(rope_context, {cosine.view(), sine.view()}, c.head_dim, c.frequencies);
    const auto scaling = static_cast<float>(c.attention_scaling);
    for (const std::int64_t p : {std::int64_t{1}, c.length / 2, c.length - 1})
      for (std::int64_t i = 0; i < half; ++i) {
        CAPTURE(static_cast<int>(c.frequencies.scaling.type), c.length, p, i);
        const float angle = static_cast<float>(p) * c.expected[static_cast<std::size_t>(i)];
        CHECK(cosine.at(p, i) == std::cos(angle) * scaling);
        CHECK(sine.at(p, i) == std::sin(angle) * scaling);
      }
  }
}

TEST_CASE("a part of the RoPE table is that part of the whole, whatever was filled before",
          "[rope]") {
  const kernels::RopeScaling dynamic = {
      .type = kernels::RopeType::dynamic, .factor = 4.0, .original_positions = 16};
  const kernels::RopeFrequencies frequencies{.theta = 1e4, .scaling = dynamic};
  Matrix<float> cosine(40, 4), sine(40, 4), part_cosine(40, 4), part_sine(40, 4);
  device::Context rope_context;
  kernels::fill_rope_table(rope_context, {cosine.view(), sine.view()}, 8, frequencies);
  const auto fill = [&](std::int64_t first, std::int64_t count) {
    kernels::fill_rope_table(
        rope_context,
        {part_cosine.view().row_range(first, count), part_sine.view().row_range(first, count)}, 8,
        frequencies, first);
  };
  fill(0, 30);
  fill(30, 10);
  for (std::int64_t i = 0; i < 4; ++i) {
    CHECK(part_cosine.at(35, i) == cosine.at(35, i));
    CHECK(part_sine.at(39, i) == sine.at(39, i));
  }
  // Rows of the shorter sequence have its frequencies.
  CHECK(part_sine.at(29, 3) != sine.at(29, 3));
}

}  // namespace espalier
