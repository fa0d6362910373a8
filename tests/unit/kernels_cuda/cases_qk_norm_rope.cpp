#include "cases.hpp"

namespace espalier::testing {
namespace {

struct Heads {
  std::int64_t q, kv, head_dim;
};

template <class T>
Verdict qk_norm_rope_case(std::int64_t tokens, Heads heads, bool norm, std::int64_t padding) {
  device::Context context;
  TestQueue queue;
  const std::int64_t head_dim = heads.head_dim;
  const std::int64_t qk_width = (heads.q + heads.kv) * head_dim;
  const std::int64_t qkv_width = qk_width + heads.kv * head_dim;
  Matrix<T> qkv(tokens, qkv_width, padding), d_qk(tokens, qk_width, padding);
  Matrix<T> q_weight(1, head_dim), k_weight(1, head_dim);
  qkv.randomize("qkv", 1.7);
  d_qk.randomize("d_qk");
  q_weight.randomize("q_weight", 0.3, 1.0);
  k_weight.randomize("k_weight", 0.3, 1.0);
  std::vector<std::int32_t> numbers;
  for (std::int64_t t = 0; t < tokens; ++t)
    numbers.push_back(static_cast<std::int32_t>(t * 37 % (tokens + 11)));
  Ids<std::int32_t> positions(numbers);
  Matrix<float> cosine(tokens + 11, head_dim / 2), sine(tokens + 11, head_dim / 2);
  for (std::int64_t p = 0; p < tokens + 11; ++p)
    for (std::int64_t i = 0; i < head_dim / 2; ++i) {
      const float angle = static_cast<float>(p) / static_cast<float>(i + 1);
      cosine.at(p, i) = std::cos(angle);
      sine.at(p, i) = std::sin(angle);
    }
  const kernels::RopeTable table{cosine.view(), sine.view()};
  const device::ConstView none;
  const auto weight_or_none = [&](Matrix<T>& w) {
    return norm ? device::ConstView(w.view()) : none;
  };

  Matrix<T> qk_want(tokens, qk_width, padding), qk_got(tokens, qk_width, padding);
  const auto forward = [&](Matrix<T>& qk) {
    return kernels::QkNormRopeForward{.qkv = qkv.view(),
                                      .q_weight = weight_or_none(q_weight),
                                      .k_weight = weight_or_none(k_weight),
                                      .position_ids = positions.view(),
                                      .rope = table,
                                      .qk = qk.view(),
                                      .num_q_heads = heads.q,
                                      .num_kv_heads = heads.kv,
                                      .head_dim = head_dim,
                                      .eps = 1e-6f};
  };
  kernels::qk_norm_rope_forward(context, forward(qk_want));
  kernels::ESPALIER_GPU::qk_norm_rope_forward(queue, forward(qk_got));
  Verdict verdict;
  verdict.close("qk", qk_got, qk_want, tolerance_of<T>(3), 1.0);

  Matrix<T> d_want(tokens, qkv_width, padding), d_got(tokens, qkv_width, padding);
  d_want.fill(3.0);
  d_got.fill(3.0);
  Matrix<float> weights_want(2, head_dim), weights_got(2, head_dim);
  weights_want.fill(0.25);
  weights_got.fill(0.25);
  const auto backward = [&](Matrix<T>& d_qkv, Matrix<float>& weights) {
    return kernels::QkNormRopeBackward{.d_qk = d_qk.view(),
                                       .qkv = qkv.view(),
                                       .q_weight = weight_or_none(q_weight),
                                       .k_weight = weight_or_none(k_weight),
                                       .position_ids = positions.view(),
                                       .rope = table,
                                       .d_qkv = d_qkv.view(),
                                       .d_q_weight = weights.view().row_range(0, 1),
                                       .d_k_weight = weights.view().row_range(1, 1),
                                       .num_q_heads = heads.q,
                                       .num_kv_heads = heads.kv,
                                       .head_dim = head_dim,
                                       .eps = 1e-6f};
  };
  kernels::qk_norm_rope_backward(context, backward(d_want, weights_want));
  kernels::ESPALIER_GPU::qk_norm_rope_backward(queue, backward(d_got, weights_got));
  verdict.close("d_qkv", d_got, d_want, tolerance_of<T>(), 0.1);
  verdict.close("d_weights", weights_got, weights_want, 2e-5, 1.0);

  // The first columns of d_qkv may be d_qk.
  Matrix<T> in_place = d_got;
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t c = 0; c < qk_width; ++c) in_place.at(t, c) = d_qk.at(t, c);
  auto call = backward(in_place, weights_got);
  call.d_qk = in_place.view().col_range(0, qk_width);
  kernels::ESPALIER_GPU::qk_norm_rope_backward(queue, call);
  verdict.same_bits("d_qkv in place", in_place, d_got);
  return verdict;
}

/// Without a table the heads are normed only.
template <class T>
Verdict without_rotation_case() {
  TestQueue queue;
  constexpr std::int64_t kTokens = 3, kHeadDim = 64;
  Matrix<T> qkv(kTokens, 3 * kHeadDim), want(kTokens, 2 * kHeadDim), got(kTokens, 2 * kHeadDim);
  Matrix<T> weight(1, kHeadDim);
  Matrix<float> cosine(1, kHeadDim / 2), sine(1, kHeadDim / 2);
  qkv.randomize("qkv");
  weight.randomize("weight", 0.3, 1.0);
  cosine.fill(1.0);
  Ids<std::int32_t> positions({0, 0, 0});
  kernels::QkNormRopeForward call{.qkv = qkv.view(),
                                  .q_weight = weight.view(),
                                  .k_weight = weight.view(),
                                  .position_ids = positions.view(),
                                  .rope = {cosine.view(), sine.view()},
                                  .qk = want.view(),
                                  .num_q_heads = 1,
                                  .num_kv_heads = 1,
                                  .head_dim = kHeadDim,
                                  .eps = 1e-6f};
  kernels::ESPALIER_GPU::qk_norm_rope_forward(queue, call);
  call.rope = {};
  call.position_ids = {};
  call.qk = got.view();
  kernels::ESPALIER_GPU::qk_norm_rope_forward(queue, call);
  Verdict verdict;
  verdict.same_bits("qk", got, want);
  return verdict;
}

template <class T>
void add(std::vector<Case>& cases) {
  const auto named = [](const char* what) {
    return fmt::format("qk_norm_rope {}, {}", kTypeName<T>, what);
  };
  cases.push_back({named("D 128"), [] { return qk_norm_rope_case<T>(9, {4, 2, 128}, true, 8); }});
  cases.push_back({named("D 64"), [] { return qk_norm_rope_case<T>(5, {3, 1, 64}, true, 0); }});
  cases.push_back({named("D 144"), [] { return qk_norm_rope_case<T>(5, {2, 2, 144}, true, 0); }});
  cases.push_back({named("D 256"), [] { return qk_norm_rope_case<T>(3, {2, 1, 256}, true, 0); }});
  cases.push_back({named("no norm"), [] {
                     return qk_norm_rope_case<T>(7, {2, 1, 128}, false, 0);
                   }});
  cases.push_back({named("odd rows"), [] { return qk_norm_rope_case<T>(5, {3, 1, 22}, true, 5); }});
  cases.push_back({named("D 2"), [] { return qk_norm_rope_case<T>(1, {1, 1, 2}, true, 0); }});
  cases.push_back({named("no rotation"), without_rotation_case<T>});
}

}  // namespace

void add_qk_norm_rope_cases(std::vector<Case>& cases) {
  add<float>(cases);
  add<bf16>(cases);
}

}  // namespace espalier::testing
