#include "kernels/cost.hpp"

#include <algorithm>

namespace espalier::kernels {
namespace {

using device::ConstView;

double elements(const ConstView& view) {
  return static_cast<double>(view.size());
}
double rows(const ConstView& view) {
  return static_cast<double>(view.rows);
}
double cols(const ConstView& view) {
  return static_cast<double>(view.cols);
}
double bytes(const ConstView& view) {
  return static_cast<double>(view.size_bytes());
}

/// (query, key) pairs of all heads: query i sees first_query_position + i + 1 keys. Documents let
/// it see fewer, which is not counted: rates then compare with those of whole sequences.
double pairs(const AttentionShape& s) {
  return static_cast<double>(s.batch * s.num_q_heads * s.query_length) *
         (static_cast<double>(s.first_query_position) +
          (static_cast<double>(s.query_length) + 1.0) / 2.0);
}
/// Bytes of a matrix of query heads or of kv heads; the view may be of a cache with more rows.
double bytes_of_queries(const AttentionShape& s, const ConstView& q) {
  return static_cast<double>(s.batch * s.query_length * s.num_q_heads * s.head_dim) *
         static_cast<double>(size_of(q.dtype));
}
double bytes_of_keys(const AttentionShape& s, const ConstView& k) {
  return static_cast<double>(s.batch * s.kv_length * s.num_kv_heads * s.head_dim) *
         static_cast<double>(size_of(k.dtype));
}

/// At most each of num_rows rows has a row of the table of its own, which is read and written.
double bytes_of_scatter(const ConstView& d_table, const ConstView& d_rows) {
  return bytes(d_rows) + 4.0 * rows(d_rows) +
         8.0 * std::min(rows(d_rows), rows(d_table)) * cols(d_table);
}

double elements_of_heads(const ConstView& qkv, std::int64_t num_heads, std::int64_t head_dim) {
  return rows(qkv) * static_cast<double>(num_heads * head_dim);
}

}  // namespace

Cost cost_of(const AttentionForward& a) {
  return {.flops = 4.0 * pairs(a.shape) * static_cast<double>(a.shape.head_dim),
          .bytes = 2.0 * bytes_of_queries(a.shape, a.q) + 2.0 * bytes_of_keys(a.shape, a.k) +
                   bytes(a.lse)};
}

Cost cost_of(const AttentionBackward& a) {
  return {.flops = 10.0 * pairs(a.shape) * static_cast<double>(a.shape.head_dim),
          .bytes = 4.0 * bytes_of_queries(a.shape, a.q) + 4.0 * bytes_of_keys(a.shape, a.k) +
                   bytes(a.lse)};
}

Cost cost_of(const BiasBackward& a) {
  return {.flops = elements(a.dy), .bytes = bytes(a.dy) + 8.0 * cols(a.dy)};
}

Cost cost_of(const CrossEntropyStatistics& a) {
  const double valid = rows(a.logits) * static_cast<double>(a.num_valid_cols);
  return {.flops = 4.0 * valid,
          .bytes = static_cast<double>(size_of(a.logits.dtype)) * valid + 16.0 * rows(a.logits)};
}

Cost cost_of(const CrossEntropyCombine& a) {
  return {.flops = 5.0 * rows(a.statistics),
          .bytes = 12.0 * rows(a.statistics) + 12.0 * cols(a.targets)};
}

Cost cost_of(const CrossEntropyBackward& a) {
  return {.flops = 4.0 * elements(a.logits), .bytes = 2.0 * bytes(a.logits) + 8.0 * rows(a.logits)};
}

Cost cost_of(const EmbeddingForward& a) {
  return {.bytes = 2.0 * bytes(a.out) + 4.0 * rows(a.out)};
}

Cost cost_of(const EmbeddingBackward& a) {
  return {.flops = elements(a.d_out), .bytes = bytes_of_scatter(a.d_table, a.d_out)};
}

Cost cost_of(const GeluForward& a) {
  return {.flops = 8.0 * elements(a.x), .bytes = 2.0 * bytes(a.x)};
}

Cost cost_of(const GeluBackward& a) {
  return {.flops = 17.0 * elements(a.x), .bytes = 4.0 * bytes(a.x)};
}

Cost cost_of(const LayerNormForward& a) {
  const bool adds = a.delta.exists();
  return {.flops = (adds ? 9.0 : 8.0) * elements(a.x),
          .bytes = (adds ? 4.0 : 2.0) * bytes(a.x) + 8.0 * rows(a.x)};
}

Cost cost_of(const LayerNormBackward& a) {
  return {.flops = 15.0 * elements(a.x),
          .bytes = (a.d_residual.exists() ? 4.0 : 3.0) * bytes(a.x) + 8.0 * rows(a.x) +
                   16.0 * cols(a.x)};
}

Cost cost_of(const BatchInputs& a) {
  return {.flops = 0.0,
          .bytes = bytes(a.samples) + bytes(a.document_positions) + bytes(a.tokens) +
                   bytes(a.targets) + bytes(a.position_ids) + bytes(a.document_start)};
}

Cost cost_of(const PositionsForward& a) {
  return {.flops = elements(a.x), .bytes = 3.0 * bytes(a.x) + 4.0 * rows(a.x)};
}

Cost cost_of(const PositionsBackward& a) {
  return {.flops = elements(a.dx), .bytes = bytes_of_scatter(a.d_table, a.dx)};
}

Cost cost_of(const QkNormRopeForward& a) {
  const double turned = elements_of_heads(a.qkv, a.num_q_heads + a.num_kv_heads, a.head_dim);
  return {.flops = 7.0 * turned, .bytes = 2.0 * static_cast<double>(size_of(a.qkv.dtype)) * turned};
}

Cost cost_of(const QkNormRopeBackward& a) {
  const double turned = elements_of_heads(a.qkv, a.num_q_heads + a.num_kv_heads, a.head_dim);
  // Without a norm the forward's input is not needed.
  const double operands = a.q_weight.exists() ? 3.0 : 2.0;
  return {.flops = 16.0 * turned,
          .bytes = operands * static_cast<double>(size_of(a.qkv.dtype)) * turned};
}

Cost cost_of(const RmsNormForward& a) {
  const bool adds = a.delta.exists();
  return {.flops = (adds ? 5.0 : 4.0) * elements(a.x),
          .bytes = (adds ? 4.0 : 2.0) * bytes(a.x) + 4.0 * rows(a.x)};
}

Cost cost_of(const RmsNormBackward& a) {
  return {.flops = 10.0 * elements(a.x),
          .bytes =
              (a.d_residual.exists() ? 4.0 : 3.0) * bytes(a.x) + 4.0 * rows(a.x) + 8.0 * cols(a.x)};
}

Cost cost_of(const SwigluForward& a) {
  return {.flops = 5.0 * elements(a.out), .bytes = 3.0 * bytes(a.out)};
}

Cost cost_of(const SwigluBackward& a) {
  return {.flops = 12.0 * elements(a.d_out), .bytes = 6.0 * bytes(a.d_out)};
}

Cost cost_of_cast(const ConstView& out, const ConstView& in) {
  return {.bytes = bytes(out) + bytes(in)};
}

Cost cost_of_set_zero(const ConstView& out) {
  return {.bytes = bytes(out)};
}

Cost cost_of_sum_of_squares(const ConstView& in) {
  return {.flops = 2.0 * elements(in), .bytes = bytes(in)};
}

Cost cost_of_add_losses(const ConstView& losses) {
  return {.flops = elements(losses), .bytes = bytes(losses)};
}

Cost cost_of_adamw(std::span<const AdamW> rectangles) {
  Cost cost;
  for (const AdamW& a : rectangles) {  // g, m, v, p read; m, v, p, weight written
    cost.flops += 14.0 * elements(a.gradient);
    cost.bytes += 28.0 * elements(a.gradient) + bytes(a.weight);
  }
  return cost;
}

}  // namespace espalier::kernels
