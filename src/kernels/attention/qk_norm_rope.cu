#include "kernels/attention/qk_norm_rope.hpp"

#include "kernels/backends.hpp"
#include "kernels/cuda/head_rows.hpp"
#include "kernels/cuda/row_sums.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/dispatch.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

struct Heads {
  int num_q_heads, num_heads;  ///< A_loc, A_loc + K_loc
  int head_dim;
  float eps;
};

struct Rotation {
  Rows<const float> cos, sin;  ///< data == nullptr: no rotation
  const std::int32_t* position_ids;
};

/// Both halves of a head row.
template <class Form>
struct HeadRow {
  HalfRow<Form> first{}, second{};
};

template <class Form, class T>
ESPALIER_DEVICE HeadRow<Form> load_head(const T* p, int half) {
  HeadRow<Form> row;
  for_passes<Form>(half, [&](int pass, int i) {
    row.first.pass[pass] = load(p + i, Columns<Form::kCount>{});
    row.second.pass[pass] = load(p + i + half, Columns<Form::kCount>{});
  });
  return row;
}
template <class Form, class T>
ESPALIER_DEVICE void store_head(T* p, int half, const HeadRow<Form>& row) {
  for_passes<Form>(half, [&](int pass, int i) {
    store(p + i, row.first.pass[pass]);
    store(p + i + half, row.second.pass[pass]);
  });
}

/// Turns each pair (first, second) by the angle of its position; by the opposite angle with
/// direction -1.
template <class Form>
ESPALIER_DEVICE void rotate(HeadRow<Form>& row, int half, const Rotation& rotation, std::int64_t t,
                            float direction) {
  if (rotation.cos.data == nullptr) return;
  const std::int64_t position = read_element(rotation.position_ids + t);
  for_passes<Form>(half, [&](int pass, int i) {
    const auto c = load(rotation.cos.row(position) + i, Columns<Form::kCount>{});
    const auto s = load(rotation.sin.row(position) + i, Columns<Form::kCount>{}) * direction;
    const auto first = row.first.pass[pass];
    const auto second = row.second.pass[pass];
    row.first.pass[pass] = first * c - second * s;
    row.second.pass[pass] = second * c + first * s;
  });
}

/// function(pack of the row, column) for both halves.
template <class Form, class Function>
ESPALIER_DEVICE void for_packs(HeadRow<Form>& row, int half, Function&& function) {
  for_passes<Form>(half, [&](int pass, int i) {
    function(row.first.pass[pass], i);
    function(row.second.pass[pass], i + half);
  });
}

template <class Form>
ESPALIER_DEVICE void add_to(HeadRow<Form>& sum, const HeadRow<Form>& x, int pass) {
  sum.first.pass[pass] = sum.first.pass[pass] + x.first.pass[pass];
  sum.second.pass[pass] = sum.second.pass[pass] + x.second.pass[pass];
}

template <class Form>
ESPALIER_DEVICE float inverse_rms_of(HeadRow<Form>& row, const Heads& heads) {
  float squares = 0.0f;
  for_packs(row, heads.head_dim / 2, [&](const auto& x, int) { squares += sum_of(x * x); });
  const float mean = group_sum(squares, Form::kGroup) / static_cast<float>(heads.head_dim);
  return 1.0f / sqrtf(mean + heads.eps);
}

template <class T>
struct Forward {
  Rows<T> qk;
  Rows<const T> qkv;
  const T* q_weight;  ///< nullptr: no QK-norm
  const T* k_weight;
  Rotation rotation;
  Heads heads;
  std::int64_t num_rows;  ///< head rows
};

/// A group of lanes per head row.
template <class T, class Form>
ESPALIER_KERNEL(kHeadThreads)
forward_heads(Forward<T> a) {
  constexpr Columns<Form::kCount> kColumns{};
  const int half = a.heads.head_dim / 2;
  const std::int64_t index = block_index() * Form::kGroupsPerBlock + thread_index() / Form::kGroup;
  // Lanes behind the last row take part in the sums of their warp.
  const bool here = index < a.num_rows;
  const std::int64_t t = here ? index / a.heads.num_heads : 0;
  const int h = here ? static_cast<int>(index - t * a.heads.num_heads) : 0;
  HeadRow<Form> row;
  if (here) row = load_head<Form>(a.qkv.row(t) + h * a.heads.head_dim, half);
  const float inverse_rms = inverse_rms_of(row, a.heads);
  if (!here) return;
  const T* weight = h < a.heads.num_q_heads ? a.q_weight : a.k_weight;
  if (weight != nullptr)
    for_packs(row, half, [&](auto& x, int i) {
      x = rounded_to<T>(rounded_to<T>(x * inverse_rms) * load(weight + i, kColumns));
    });
  rotate(row, half, a.rotation, t, 1.0f);
  store_head(a.qk.row(t) + h * a.heads.head_dim, half, row);
}

template <class T>
struct Backward {
  Rows<const T> d_qk, qkv;
  const T* q_weight;
  const T* k_weight;
  Rotation rotation;
  Rows<T> d_qkv;
  float* partials;   ///< (slices, 2 D): q_weight's, k_weight's
  RowSlices slices;  ///< of tokens
  Heads heads;
};

/// A block per slice of tokens. With n = x * inverse_rms and g = dy * weight,
///   dx = inverse_rms * (g - n * mean(g n)),
/// where dy is the gradient turned back.
template <class T, class Form>
ESPALIER_KERNEL(kHeadThreads)
backward_slice(Backward<T> a) {
  constexpr Columns<Form::kCount> kColumns{};
  constexpr int kGroups = Form::kGroupsPerBlock;
  const int head_dim = a.heads.head_dim;
  const int half = head_dim / 2;
  SharedAllocator shared;
  const auto sums = shared.take<float>(kGroups * 2 * head_dim);
  const int group = thread_index() / Form::kGroup;
  const std::int64_t first = block_index() * a.slices.rows_per_slice;
  const std::int64_t left = a.slices.num_rows - first;
  const std::int64_t num_tokens = left < a.slices.rows_per_slice ? left : a.slices.rows_per_slice;
  const int num_rows = static_cast<int>(num_tokens) * a.heads.num_heads;
  HeadRow<Form> d_q_weight, d_k_weight;
  for (int round = 0; round < num_rows; round += kGroups) {
    const bool here = round + group < num_rows;
    const std::int64_t t = first + (here ? (round + group) / a.heads.num_heads : 0);
    const int h = here ? (round + group) % a.heads.num_heads : 0;
    const bool is_q = h < a.heads.num_q_heads;
    const T* weight = is_q ? a.q_weight : a.k_weight;
    HeadRow<Form> gradient, x;
    if (here) {
      gradient = load_head<Form>(a.d_qk.row(t) + h * head_dim, half);
      x = load_head<Form>(a.qkv.row(t) + h * head_dim, half);
      rotate(gradient, half, a.rotation, t, -1.0f);
    }
    const float inverse_rms = inverse_rms_of(x, a.heads);
    HeadRow<Form> product;
    float products = 0.0f;
    if (here && weight != nullptr)
      for_passes<Form>(half, [&](int pass, int i) {
        const auto one_half = [&](auto& p, const auto& g, const auto& value, int c) {
          p = g * (value * inverse_rms);
          products += sum_of(p * load(weight + c, kColumns));
        };
        one_half(product.first.pass[pass], gradient.first.pass[pass], x.first.pass[pass], i);
        one_half(product.second.pass[pass], gradient.second.pass[pass], x.second.pass[pass],
                 i + half);
      });
    const float mean = group_sum(products, Form::kGroup) / static_cast<float>(head_dim);
    if (!here) continue;
    if (weight != nullptr) {
      const float slope = mean * inverse_rms * inverse_rms;
      for_passes<Form>(half, [&](int pass, int i) {
        const auto one_half = [&](auto& g, const auto& value, int c) {
          g = g * load(weight + c, kColumns) * inverse_rms - value * slope;
        };
        one_half(gradient.first.pass[pass], x.first.pass[pass], i);
        one_half(gradient.second.pass[pass], x.second.pass[pass], i + half);
        if (is_q)
          add_to(d_q_weight, product, pass);
        else
          add_to(d_k_weight, product, pass);
      });
    }
    store_head(a.d_qkv.row(t) + h * head_dim, half, gradient);
  }
  for_packs(d_q_weight, half,
            [&](const auto& sum, int i) { store(sums, group * 2 * head_dim + i, sum); });
  for_packs(d_k_weight, half,
            [&](const auto& sum, int i) { store(sums, (group * 2 + 1) * head_dim + i, sum); });
  block_barrier();
  for (int c = thread_index(); c < 2 * head_dim; c += num_threads()) {
    float sum = sums.get(c);
    for (int i = 1; i < kGroups; ++i) sum += sums.get(i * 2 * head_dim + c);
    write_element(a.partials + block_index() * 2 * head_dim + c, sum);
  }
}

void check_shapes(const device::ConstView& qkv, const device::ConstView& qk,
                  const device::ConstView& position_ids, const RopeTable& rope,
                  std::int64_t num_heads, std::int64_t head_dim) {
  ESPALIER_ASSERT(head_dim > 0 && head_dim % 2 == 0 && head_dim <= kMaxHeadDim, "head_dim {}",
                  head_dim);
  ESPALIER_ASSERT(
      qkv.rows == qk.rows && qk.cols >= num_heads * head_dim && qkv.cols >= num_heads * head_dim,
      "qkv {}, qk {}, {} heads of {}", describe(qkv), describe(qk), num_heads, head_dim);
  ESPALIER_ASSERT(
      rope.cos.data == nullptr || (position_ids.cols == qk.rows && rope.cos.cols == head_dim / 2 &&
                                   rope.sin.cols == head_dim / 2),
      "positions {}, cos {}, head_dim {}", describe(position_ids), describe(rope.cos), head_dim);
}

template <class Arguments>
Heads heads_of(const Arguments& a) {
  return {.num_q_heads = narrow<int>(a.num_q_heads),
          .num_heads = narrow<int>(a.num_q_heads + a.num_kv_heads),
          .head_dim = narrow<int>(a.head_dim),
          .eps = a.eps};
}

template <class Arguments>
Rotation rotation_of(const Arguments& a) {
  return {.cos = rows_of<float>(device::ConstView(a.rope.cos)),
          .sin = rows_of<float>(device::ConstView(a.rope.sin)),
          .position_ids = a.position_ids.data != nullptr
                              ? a.position_ids.template as<std::int32_t>()
                              : nullptr};
}

template <class T>
const T* data_of(const device::ConstView& weight) {
  return rows_of<T>(weight).data;
}

}  // namespace

void qk_norm_rope_forward(const Queue& queue, const QkNormRopeForward& a) {
  const Heads heads = heads_of(a);
  check_shapes(a.qkv, a.qk, a.position_ids, a.rope, heads.num_heads, a.head_dim);
  const std::int64_t num_rows = a.qkv.rows * heads.num_heads;
  const bool aligned = all_aligned(a.qkv, a.q_weight, a.k_weight, a.rope.cos, a.rope.sin, a.qk);
  dispatch(a.qkv.dtype, [&]<class T>(T) {
    with_head_form<kFullWidth<T>>(aligned, heads.head_dim, [&]<class Form>(Form) {
      launch(
          forward_heads<T, Form>,
          {.num_blocks = div_ceil(num_rows, Form::kGroupsPerBlock), .block_threads = kHeadThreads},
          queue,
          {.qk = rows_of<T>(a.qk),
           .qkv = rows_of<T>(a.qkv),
           .q_weight = data_of<T>(a.q_weight),
           .k_weight = data_of<T>(a.k_weight),
           .rotation = rotation_of(a),
           .heads = heads,
           .num_rows = num_rows});
    });
  });
}

void qk_norm_rope_backward(const Queue& queue, const QkNormRopeBackward& a) {
  const Heads heads = heads_of(a);
  check_shapes(a.qkv, a.d_qk, a.position_ids, a.rope, heads.num_heads, a.head_dim);
  // Blocks are small here, and the sums of a slice, one vector, too: more of both keep more loads
  // under way.
  const RowSlices slices(a.qkv.rows, kPartialVectors * kMaxSlices);
  const std::int64_t width = 2 * a.head_dim;
  auto* partials = workspace<float>(queue, slices.num_slices * width);
  const bool aligned =
      all_aligned(a.d_qk, a.qkv, a.q_weight, a.k_weight, a.rope.cos, a.rope.sin, a.d_qkv);
  dispatch(a.qkv.dtype, [&]<class T>(T) {
    with_head_form<kFullWidth<T>>(aligned, heads.head_dim, [&]<class Form>(Form) {
      launch(backward_slice<T, Form>,
             {.num_blocks = slices.num_slices,
              .block_threads = kHeadThreads,
              .shared_bytes = shared_bytes<float>(Form::kGroupsPerBlock * width)},
             queue,
             {.d_qk = rows_of<T>(a.d_qk),
              .qkv = rows_of<T>(a.qkv),
              .q_weight = data_of<T>(a.q_weight),
              .k_weight = data_of<T>(a.k_weight),
              .rotation = rotation_of(a),
              .d_qkv = rows_of<T>(a.d_qkv),
              .partials = partials,
              .slices = slices,
              .heads = heads});
    });
  });
  if (a.q_weight.data != nullptr)
    add_up_slices(queue, a.d_q_weight.as<float>(), partials, slices.num_slices, width, a.head_dim);
  if (a.k_weight.data != nullptr)
    add_up_slices(queue, a.d_k_weight.as<float>(), partials + a.head_dim, slices.num_slices, width,
                  a.head_dim);
}

}  // namespace espalier::kernels::ESPALIER_GPU
