// Attention of context-parallel ranks on the device, beside the host's of one that has all queries.
#include "cases.hpp"
#include "kernels/attention/attention_provider.hpp"
#include "kernels/attention/attention_shapes.hpp"
#include "kernels/cuda/attention_providers.hpp"
#include "unit/kernels/attention_blocks.hpp"

namespace espalier::testing {
namespace {

using kernels::AttentionBackward;
using kernels::AttentionForward;
using kernels::AttentionProvider;

struct Example {
  Deal deal = Deal::random;
  std::int64_t num_ranks = 2, batch = 1, num_blocks = 2, num_q_heads = 2, num_kv_heads = 1;
  std::int64_t head_dim = 64;
  bool documents = false;
  AttentionProvider provider = AttentionProvider::automatic;
  std::int64_t block_length = kernels::kGpuBlockLength;
  bool in_five_products = false;  ///< by warpgroups
};

/// By warpgroups it is asked for by its own name, so that no device's preferences matter.
void forward(const Example& e, const AttentionForward& a) {
  TestQueue queue;
  if (e.provider == AttentionProvider::wgmma)
    kernels::ESPALIER_GPU::attention_forward_wgmma(queue, a);
  else
    kernels::ESPALIER_GPU::attention_forward(queue, a);
}
void backward(const Example& e, const AttentionBackward& a) {
  TestQueue queue;
  if (e.provider == AttentionProvider::wgmma)
    kernels::ESPALIER_GPU::attention_backward_wgmma(queue, a);
  else
    kernels::ESPALIER_GPU::attention_backward(queue, a);
}
std::int64_t scratch_elements(const Example& e, const kernels::AttentionShape& shape) {
  if (e.in_five_products) return kernels::ordered_scratch(shape).num_elements;
  return shape.batch * shape.num_q_heads * shape.query_length;
}

/// Bounds as those of cases_attention.cpp.
template <class T>
Verdict blocks_case(const Example& e) {
  device::Context context;
  const std::int64_t length = e.num_blocks * e.block_length;
  Sequences<T> sequences({.batch = e.batch,
                          .query_length = length,
                          .kv_length = length,
                          .num_q_heads = e.num_q_heads,
                          .num_kv_heads = e.num_kv_heads,
                          .head_dim = e.head_dim,
                          .block_length = e.block_length});
  if (e.documents) sequences.set_documents({75, 140, 270}, 60);
  RankOfContext<T> alone(sequences, sequences.all_starts());
  ForwardOfRank<T> whole =
      alone.forward([&](const AttentionForward& a) { kernels::attention_forward(context, a); });
  const GradientsOfRank<T> gradients =
      alone.backward([&](const AttentionBackward& a) { kernels::attention_backward(context, a); },
                     whole, kernels::attention_backward_scratch_elements(alone.shape()));

  const double tolerance = sizeof(T) == 4                               ? 2e-5
                           : e.provider == AttentionProvider::reference ? 2.5 * kRounding<bf16>
                                                                        : 1.5 * kRounding<bf16>;
  Verdict verdict;
  Matrix<float> d_k(sequences.k.rows(), sequences.k.cols()), d_v = d_k;
  for (const auto& starts :
       dealt_blocks(e.deal, e.num_ranks, e.batch, e.num_blocks, e.block_length)) {
    RankOfContext<T> rank(sequences, starts, e.provider);
    ForwardOfRank<T> want{rank.rows_of(whole.o), rank.lse_of(whole.lse)};
    ForwardOfRank<T> got = rank.forward([&](const AttentionForward& a) { forward(e, a); });
    verdict.close("lse", got.lse, want.lse, sizeof(T) == 2 ? 1e-4 : 1e-5, 1.0);
    verdict.close("o", got.o, want.o, tolerance, 1.0);
    // Of the same forward, so that only the gradients' own errors are compared.
    GradientsOfRank<T> parts = rank.backward([&](const AttentionBackward& a) { backward(e, a); },
                                             want, scratch_elements(e, rank.shape()));
    verdict.close("d_q", parts.d_q, rank.rows_of(gradients.d_q), tolerance, 1.0);
    verdict.expect("d_k or d_v written beside",
                   parts.d_k.padding_untouched() && parts.d_v.padding_untouched());
    add_to(d_k, parts.d_k);
    add_to(d_v, parts.d_v);
  }
  verdict.close("sum of d_k", d_k, gradients.d_k, tolerance, 1.0);
  verdict.close("sum of d_v", d_v, gradients.d_v, tolerance, 1.0);
  return verdict;
}

template <class T>
void add_reference_cases(std::vector<Case>& cases) {
  const auto add = [&](const char* what, Example example) {
    example.provider = AttentionProvider::reference;
    cases.push_back({fmt::format("attention_reference {}, {}", kTypeName<T>, what),
                     [=] { return blocks_case<T>(example); }});
  };
  add("blocks, D 10, two sequences", {.batch = 2, .num_q_heads = 3, .head_dim = 10});
  add("blocks of 256, D 16, documents",
      {.num_blocks = 2, .head_dim = 16, .documents = true, .block_length = 256});
}

}  // namespace

void add_attention_blocks_cases(std::vector<Case>& cases) {
  const auto add = [&](const char* what, const Example& example) {
    cases.push_back(
        {fmt::format("attention, {}", what), [=] { return blocks_case<bf16>(example); }});
  };
  add("blocks, D 64, two sequences", {.batch = 2});
  add("blocks, D 128, three ranks, documents",
      {.num_ranks = 3, .num_blocks = 3, .head_dim = 128, .documents = true});
  add("blocks, D 64, a group of four, head and tail",
      {.deal = Deal::head_tail, .num_blocks = 4, .num_q_heads = 4, .documents = true});
  add("blocks, D 64, four ranks", {.num_ranks = 4, .num_blocks = 4, .num_q_heads = 1});
  add_reference_cases<float>(cases);
  add_reference_cases<bf16>(cases);
}

void add_attention_wgmma_blocks_cases(std::vector<Case>& cases) {
  if (!has_warpgroups()) return;
  const auto add = [&](const char* what, Example example) {
    example.provider = AttentionProvider::wgmma;
    cases.push_back(
        {fmt::format("attention_wgmma, {}", what), [=] { return blocks_case<bf16>(example); }});
  };
  add("blocks, D 64, two sequences", {.batch = 2});
  add("blocks, D 128, three ranks, documents",
      {.num_ranks = 3, .num_blocks = 3, .head_dim = 128, .documents = true});
  add("blocks of 256, D 64", {.num_blocks = 2, .num_q_heads = 1, .block_length = 256});
  add("five products, blocks, two sequences",
      {.batch = 2, .head_dim = 128, .in_five_products = true});
  add("five products, blocks, head and tail, documents", {.deal = Deal::head_tail,
                                                          .num_blocks = 4,
                                                          .head_dim = 128,
                                                          .documents = true,
                                                          .in_five_products = true});
}

}  // namespace espalier::testing
