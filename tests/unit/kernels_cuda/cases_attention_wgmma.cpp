// Attention by warpgroups beside the host's, on views into one packed projection.
#include "cases.hpp"
#include "kernels/attention/attention_shapes.hpp"
#include "kernels/cuda/attention_providers.hpp"

namespace espalier::testing {
namespace {

using kernels::AttentionShape;

struct Example {
  std::int64_t batch = 1, length, num_q_heads = 1, num_kv_heads = 1, head_dim;
  /// Queries before this one are left out.
  std::int64_t first_query = 0;
  /// Where documents begin in every sequence; empty: one document, and no bounds are given.
  std::vector<std::int64_t> documents = {};
  /// The gradients alone, with the scratch of five products.
  bool in_five_products = false;

  AttentionShape shape() const {
    return {.batch = batch,
            .query_length = length - first_query,
            .kv_length = length,
            .first_query_position = first_query,
            .num_q_heads = num_q_heads,
            .num_kv_heads = num_kv_heads,
            .head_dim = head_dim};
  }
};

/// Queries, keys and values side by side, as the projection leaves them.
struct Packed {
  Example example;
  Matrix<bf16> matrix;

  Packed(const Example& e)
      : example(e),
        matrix(e.batch * e.length, (e.num_q_heads + 2 * e.num_kv_heads) * e.head_dim, 8) {}
  device::View columns(std::int64_t first_head, std::int64_t num_heads) {
    return matrix.view().col_range(first_head * example.head_dim, num_heads * example.head_dim);
  }
  device::View q() {
    device::View view = columns(0, example.num_q_heads);
    return example.first_query > 0
               ? view.row_range(example.first_query, example.length - example.first_query)
               : view;
  }
  device::View k() { return columns(example.num_q_heads, example.num_kv_heads); }
  device::View v() {
    return columns(example.num_q_heads + example.num_kv_heads, example.num_kv_heads);
  }
};

std::vector<std::int32_t> document_start_of(const Example& example) {
  std::vector<std::int32_t> result;
  for (std::int64_t b = 0; b < example.batch; ++b) {
    std::int32_t first = 0;
    for (std::int64_t t = 0; t < example.length; ++t) {
      for (const std::int64_t begin : example.documents)
        if (begin == t) first = static_cast<std::int32_t>(t);
      result.push_back(first);
    }
  }
  return result;
}

struct Results {
  Matrix<bf16> o;
  Matrix<float> lse;
  Packed gradients;
  Matrix<float> scratch;

  explicit Results(const Example& e)
      : o(e.batch * (e.length - e.first_query), e.num_q_heads * e.head_dim, 8),
        lse(e.batch * e.num_q_heads, e.length - e.first_query, 3),
        gradients(e),
        scratch(1, scratch_elements(e)) {}
  /// What five products take, or no more than delta.
  static std::int64_t scratch_elements(const Example& e) {
    return e.in_five_products ? kernels::ordered_scratch(e.shape()).num_elements
                              : e.batch * e.num_q_heads * (e.length - e.first_query);
  }
};

Verdict attention_case(const Example& example) {
  device::Context context;
  TestQueue queue;
  Packed inputs(example);
  inputs.matrix.randomize("qkv");
  Results want(example), got(example);
  Matrix<bf16> d_o(want.o.rows(), want.o.cols(), 16);
  d_o.randomize("d_o");
  Ids<std::int32_t> bounds(document_start_of(example));
  const device::ConstView document_start =
      example.documents.empty() ? device::ConstView{} : device::ConstView(bounds.view());

  const auto forward = [&](Results& results) {
    return kernels::AttentionForward{.shape = example.shape(),
                                     .q = inputs.q(),
                                     .k = inputs.k(),
                                     .v = inputs.v(),
                                     .o = results.o.view(),
                                     .lse = results.lse.view(),
                                     .document_start = document_start};
  };
  // Of the same forward, so that only the gradients' own errors are compared.
  const auto backward = [&](Results& results, device::View scratch) {
    return kernels::AttentionBackward{.shape = example.shape(),
                                      .q = inputs.q(),
                                      .k = inputs.k(),
                                      .v = inputs.v(),
                                      .o = want.o.view(),
                                      .lse = want.lse.view(),
                                      .d_o = d_o.view(),
                                      .d_q = results.gradients.q(),
                                      .d_k = results.gradients.k(),
                                      .d_v = results.gradients.v(),
                                      .scratch = scratch,
                                      .document_start = document_start};
  };
  kernels::attention_forward(context, forward(want));
  Verdict verdict;
  if (!example.in_five_products) {
    kernels::ESPALIER_GPU::attention_forward_wgmma(queue, forward(got));
    // As the other provider's (cases_attention.cpp).
    verdict.close("lse", got.lse, want.lse, 1e-4, 1.0);
    verdict.close("o", got.o, want.o, 1.5 * kRounding<bf16>, 1.0);
  }
  if (example.first_query > 0) return verdict;
  Matrix<float> host_scratch(1, kernels::attention_backward_scratch_elements(example.shape()));
  kernels::attention_backward(context, backward(want, host_scratch.view()));
  kernels::ESPALIER_GPU::attention_backward_wgmma(queue, backward(got, got.scratch.view()));
  verdict.close("gradients", got.gradients.matrix, want.gradients.matrix, 1.5 * kRounding<bf16>,
                1.0);
  return verdict;
}

}  // namespace

void add_attention_wgmma_cases(std::vector<Case>& cases) {
  if (!has_warpgroups()) return;
  const auto add = [&](const char* what, const Example& example) {
    cases.push_back(
        {fmt::format("attention_wgmma, {}", what), [=] { return attention_case(example); }});
  };
  add("D 128, three tiles and a tail",
      {.length = 389, .num_q_heads = 2, .num_kv_heads = 1, .head_dim = 128});
  add("D 128, one whole tile", {.length = 128, .head_dim = 128});
  add("D 64, two sequences, groups of one",
      {.batch = 2, .length = 150, .num_q_heads = 2, .num_kv_heads = 2, .head_dim = 64});
  add("D 64, a group of eight", {.length = 131, .num_q_heads = 8, .head_dim = 64});
  add("D 64, queries after 90 keys",
      {.length = 260, .num_q_heads = 2, .head_dim = 64, .first_query = 90});
  add("D 128, one token", {.length = 1, .head_dim = 128});
  add("D 64, documents",
      {.batch = 2, .length = 290, .num_q_heads = 2, .head_dim = 64, .documents = {75, 140, 270}});
  add("D 128, documents in one tile", {.length = 100, .head_dim = 128, .documents = {20, 50}});
  add("five products, three tiles and a tail", {.length = 389,
                                                .num_q_heads = 2,
                                                .num_kv_heads = 1,
                                                .head_dim = 128,
                                                .in_five_products = true});
  add("five products, two sequences, groups of one", {.batch = 2,
                                                      .length = 150,
                                                      .num_q_heads = 2,
                                                      .num_kv_heads = 2,
                                                      .head_dim = 128,
                                                      .in_five_products = true});
  add("five products, one token", {.length = 1, .head_dim = 128, .in_five_products = true});
  add("five products, documents", {.batch = 2,
                                   .length = 290,
                                   .num_q_heads = 4,
                                   .num_kv_heads = 2,
                                   .head_dim = 128,
                                   .documents = {75, 140, 270},
                                   .in_five_products = true});
}

}  // namespace espalier::testing
