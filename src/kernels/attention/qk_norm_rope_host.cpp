#include "kernels/attention/qk_norm_rope.hpp"

#include <cmath>

#include "base/host_loops.hpp"
#include "kernels/backends.hpp"
#include "kernels/dispatch.hpp"

// Last: what follows is compiled for one SIMD level.
#include "base/simd/simd.hpp"
#include "kernels/row_sums.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {
namespace {

using simd::Floats;
constexpr std::int64_t kMaxHeadDim = 1024;

float inverse_rms_of(Floats squares, std::int64_t head_dim, float eps) {
  return 1.0f / std::sqrt(simd::sum(squares) / static_cast<float>(head_dim) + eps);
}

template <class T>
Floats squares_of(const T* head, std::int64_t head_dim) {
  Floats squares{};
  simd::for_lanes(head_dim, [&](std::int64_t c, auto lanes) {
    const Floats x = simd::load(head + c, lanes);
    squares = simd::fma(x, x, squares);
  });
  return squares;
}

/// One head of one token. `weight` is null without QK-norm.
template <class T>
void forward_head(T* out, const T* in, const T* weight, const float* cosine, const float* sine,
                  std::int64_t head_dim, float eps) {
  const std::int64_t half = head_dim / 2;
  const float inverse_rms =
      weight == nullptr ? 1.0f : inverse_rms_of(squares_of(in, head_dim), head_dim, eps);
  const auto normalised = [&](std::int64_t c, auto lanes) {
    const Floats x = simd::load(in + c, lanes);
    if (weight == nullptr) return x;
    return simd::rounded_to<T>(simd::rounded_to<T>(x * inverse_rms) *
                               simd::load(weight + c, lanes));
  };
  simd::for_lanes(half, [&](std::int64_t i, auto lanes) {
    const Floats first = normalised(i, lanes);
    const Floats second = normalised(i + half, lanes);
    const Floats c = simd::load(cosine + i, lanes);
    const Floats s = simd::load(sine + i, lanes);
    simd::store(out + i, first * c - second * s, lanes);
    simd::store(out + i + half, second * c + first * s, lanes);
  });
}

/// d_in may be d_out: the gradient is rotated back into a buffer first.
template <class T>
void backward_head(T* d_in, const T* d_out, const T* in, const T* weight, float* d_weight,
                   const float* cosine, const float* sine, std::int64_t head_dim, float eps) {
  const std::int64_t half = head_dim / 2;
  alignas(64) float gradient[kMaxHeadDim + simd::kLanes];
  simd::for_lanes(half, [&](std::int64_t i, auto lanes) {
    const Floats first = simd::load(d_out + i, lanes);
    const Floats second = simd::load(d_out + i + half, lanes);
    const Floats c = simd::load(cosine + i, lanes);
    const Floats s = simd::load(sine + i, lanes);
    simd::store(gradient + i, first * c + second * s, lanes);
    simd::store(gradient + i + half, second * c - first * s, lanes);
  });
  if (weight == nullptr) {
    simd::for_lanes(head_dim, [&](std::int64_t c, auto lanes) {
      simd::store(d_in + c, simd::load(gradient + c, lanes), lanes);
    });
    return;
  }
  const float inverse_rms = inverse_rms_of(squares_of(in, head_dim), head_dim, eps);
  Floats products{};
  simd::for_lanes(head_dim, [&](std::int64_t c, auto lanes) {
    const Floats product =
        simd::load(gradient + c, lanes) * (simd::load(in + c, lanes) * inverse_rms);
    simd::store(d_weight + c, simd::load(d_weight + c, lanes) + product, lanes);
    products = simd::fma(product, simd::load(weight + c, lanes), products);
  });
  const float slope =
      simd::sum(products) / static_cast<float>(head_dim) * inverse_rms * inverse_rms;
  simd::for_lanes(head_dim, [&](std::int64_t c, auto lanes) {
    const Floats g = simd::load(gradient + c, lanes) * simd::load(weight + c, lanes);
    simd::store(d_in + c, g * inverse_rms - simd::load(in + c, lanes) * slope, lanes);
  });
}

void check_shapes(const device::ConstView& qkv, const device::ConstView& qk,
                  const device::ConstView& position_ids, const RopeTable& rope,
                  std::int64_t num_q_heads, std::int64_t num_kv_heads, std::int64_t head_dim) {
  ESPALIER_ASSERT(head_dim > 0 && head_dim % 2 == 0 && head_dim <= kMaxHeadDim, "head_dim {}",
                  head_dim);
  ESPALIER_ASSERT(qkv.rows == qk.rows && position_ids.cols == qk.rows &&
                      qk.cols >= (num_q_heads + num_kv_heads) * head_dim &&
                      qkv.cols >= (num_q_heads + num_kv_heads) * head_dim &&
                      rope.cos.cols == head_dim / 2 && rope.sin.cols == head_dim / 2,
                  "qkv {}, qk {}, position_ids {}, cos {}, {} and {} heads of {}", describe(qkv),
                  describe(qk), describe(position_ids), describe(rope.cos), num_q_heads,
                  num_kv_heads, head_dim);
}

}  // namespace

void qk_norm_rope_forward(device::Context&, const QkNormRopeForward& a) {
  check_shapes(a.qkv, a.qk, a.position_ids, a.rope, a.num_q_heads, a.num_kv_heads, a.head_dim);
  const auto* position_ids = a.position_ids.as<std::int32_t>();
  dispatch(a.qkv.dtype, [&]<class T>(T) {
    const T* q_weight = a.q_weight.exists() ? a.q_weight.as<T>() : nullptr;
    const T* k_weight = a.k_weight.exists() ? a.k_weight.as<T>() : nullptr;
    host_for_ranges(a.qkv.rows, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const float* cosine = a.rope.cos.as<float>(position_ids[t]);
        const float* sine = a.rope.sin.as<float>(position_ids[t]);
        for (std::int64_t h = 0; h < a.num_q_heads + a.num_kv_heads; ++h)
          forward_head(a.qk.as<T>(t) + h * a.head_dim, a.qkv.as<T>(t) + h * a.head_dim,
                       h < a.num_q_heads ? q_weight : k_weight, cosine, sine, a.head_dim, a.eps);
      }
    });
  });
}

void qk_norm_rope_backward(device::Context& context, const QkNormRopeBackward& a) {
  check_shapes(a.qkv, a.d_qk, a.position_ids, a.rope, a.num_q_heads, a.num_kv_heads, a.head_dim);
  const auto* position_ids = a.position_ids.as<std::int32_t>();
  const std::int64_t head_dim = a.head_dim;
  dispatch(a.qkv.dtype, [&]<class T>(T) {
    const T* q_weight = a.q_weight.exists() ? a.q_weight.as<T>() : nullptr;
    const T* k_weight = a.k_weight.exists() ? a.k_weight.as<T>() : nullptr;
    const auto token = [&](std::int64_t t, float* d_q_weight, float* d_k_weight) {
      const float* cosine = a.rope.cos.as<float>(position_ids[t]);
      const float* sine = a.rope.sin.as<float>(position_ids[t]);
      for (std::int64_t h = 0; h < a.num_q_heads + a.num_kv_heads; ++h) {
        const bool is_q = h < a.num_q_heads;
        backward_head(a.d_qkv.as<T>(t) + h * head_dim, a.d_qk.as<T>(t) + h * head_dim,
                      a.qkv.as<T>(t) + h * head_dim, is_q ? q_weight : k_weight,
                      is_q ? d_q_weight : d_k_weight, cosine, sine, head_dim, a.eps);
      }
    };
    // Both weights' sums travel as one vector of 2 D; a model without QK-norm has neither.
    alignas(64) float sums[2 * kMaxHeadDim] = {};
    sum_over_row_slices(context, a.qkv.rows, 2 * head_dim, sums,
                        [&](std::int64_t begin, std::int64_t end, float* partial) {
                          for (std::int64_t t = begin; t < end; ++t)
                            token(t, partial, partial + head_dim);
                        });
    for (std::int64_t i = 0; i < head_dim; ++i) {
      if (q_weight != nullptr) a.d_q_weight.as<float>()[i] += sums[i];
      if (k_weight != nullptr) a.d_k_weight.as<float>()[i] += sums[head_dim + i];
    }
  });
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
