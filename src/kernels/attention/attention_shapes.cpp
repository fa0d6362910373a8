#include "kernels/attention/attention_shapes.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/integers.hpp"

namespace espalier::kernels {
namespace host {

std::int64_t num_tiles(const AttentionShape& s) {
  return div_ceil(s.query_length * (s.num_q_heads / s.num_kv_heads), kTileRows);
}

std::int64_t num_splits(const AttentionShape& s) {
  constexpr std::int64_t kEnoughTasks = 16;
  return std::min(num_tiles(s), div_ceil(kEnoughTasks, s.batch * s.num_kv_heads));
}

std::int64_t partial_stride(const AttentionShape& s) {
  constexpr std::int64_t kMostLanes = 16;
  return round_up(s.head_dim, kMostLanes);
}

void check_attention_shapes(const AttentionShape& s, const device::ConstView& q,
                            const device::ConstView& k, const device::ConstView& v,
                            const device::ConstView& o, const device::ConstView& lse) {
  ESPALIER_ASSERT(s.num_kv_heads > 0 && s.num_q_heads % s.num_kv_heads == 0 &&
                      s.head_dim % 2 == 0 && s.first_query_position >= 0 &&
                      s.first_query_position + s.query_length <= s.kv_length,
                  "{} query heads, {} kv heads of {}; {} queries from {}, {} keys", s.num_q_heads,
                  s.num_kv_heads, s.head_dim, s.query_length, s.first_query_position, s.kv_length);
  ESPALIER_ASSERT(q.rows >= s.batch * s.query_length && q.cols == s.num_q_heads * s.head_dim &&
                      k.rows >= s.batch * s.kv_length && k.cols == s.num_kv_heads * s.head_dim &&
                      v.rows >= s.batch * s.kv_length && v.cols == k.cols &&
                      o.rows >= s.batch * s.query_length && o.cols == q.cols &&
                      lse.rows == s.batch * s.num_q_heads && lse.cols == s.query_length,
                  "q {}, k {}, v {}, o {}, lse {}", describe(q), describe(k), describe(v),
                  describe(o), describe(lse));
}

void check_block_starts(const AttentionShape& s, const device::ConstView& block_starts) {
  ESPALIER_ASSERT(block_starts.exists() == (s.block_length > 0), "block starts {} of blocks of {}",
                  describe(block_starts), s.block_length);
  if (s.block_length == 0) return;
  ESPALIER_ASSERT(s.first_query_position == 0 && s.query_length % s.block_length == 0 &&
                      s.kv_length % s.block_length == 0 && block_starts.dtype == DType::i32 &&
                      block_starts.is_contiguous() &&
                      block_starts.size() >= s.batch * (s.query_length / s.block_length),
                  "blocks of {} of {} queries from {} and {} keys, starts {}", s.block_length,
                  s.query_length, s.first_query_position, s.kv_length, describe(block_starts));
  for (std::int64_t b = 0; b < s.batch; ++b) {
    const std::int32_t* starts = block_starts_of_sequence(block_starts, s, b);
    std::int64_t least = 0;
    for (std::int64_t j = 0; j < s.query_length / s.block_length; ++j) {
      ESPALIER_ASSERT(starts[j] >= least && starts[j] % s.block_length == 0 &&
                          starts[j] + s.block_length <= s.kv_length,
                      "block {} of sequence {} starts at {} of {} keys, behind {}", j, b, starts[j],
                      s.kv_length, least);
      least = starts[j] + s.block_length;
    }
  }
}

void check_document_start(const AttentionShape& s, const device::ConstView& document_start,
                          const device::ConstView& block_starts) {
  if (!document_start.exists()) return;
  ESPALIER_ASSERT(document_start.dtype == DType::i32 && document_start.is_contiguous() &&
                      document_start.size() >= s.batch * s.query_length,
                  "document starts {} of {} queries", describe(document_start),
                  s.batch * s.query_length);
  for (std::int64_t b = 0; b < s.batch; ++b) {
    const auto* keys = document_start.as<std::int32_t>() + b * s.query_length;
    const std::int32_t* starts = block_starts_of_sequence(block_starts, s, b);
    std::int64_t least = 0;
    for (std::int64_t i = 0; i < s.query_length; least = keys[i++])
      ESPALIER_ASSERT(keys[i] >= least && keys[i] <= position_of(s, starts, i),
                      "first key {} of query {} of sequence {}, {} before it", keys[i], i, b,
                      least);
  }
}

}  // namespace host

OrderedScratch ordered_scratch(const AttentionShape& s) {
  constexpr std::int64_t kTileQueries = 64;
  constexpr std::int64_t kAlignment = 4;  // 16 bytes, of asynchronous copies
  const std::int64_t heads = s.batch * s.num_q_heads;
  const std::int64_t tiles = heads * div_ceil(s.query_length, kTileQueries);
  OrderedScratch scratch;
  scratch.sums = round_up(heads * s.query_length, kAlignment);
  scratch.counts = scratch.sums + tiles * kTileQueries * s.head_dim;
  scratch.num_elements = scratch.counts + 1 + tiles;
  return scratch;
}

std::int64_t attention_backward_scratch_elements(const AttentionShape& s) {
  const std::int64_t partials =
      host::num_splits(s) * s.batch * s.num_kv_heads * 2 * s.kv_length * host::partial_stride(s);
  return std::max(s.batch * s.num_q_heads * s.query_length, partials);
}

}  // namespace espalier::kernels
