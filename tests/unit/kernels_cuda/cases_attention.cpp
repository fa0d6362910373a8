#include "cases.hpp"

namespace espalier::test {
namespace {

using kernels::AttentionShape;

struct Problem {
  AttentionShape shape;
  Matrix<bf16> q, k, v, d_o;

  explicit Problem(const AttentionShape& s)
      : shape(s),
        q(s.batch * s.query_length, s.num_q_heads * s.head_dim, 8),
        k(s.batch * s.kv_length, s.num_kv_heads * s.head_dim, 24),
        v(s.batch * s.kv_length, s.num_kv_heads * s.head_dim, 16),
        d_o(s.batch * s.query_length, s.num_q_heads * s.head_dim, 8) {
    q.randomize("q", 1.5);
    k.randomize("k");
    v.randomize("v");
    d_o.randomize("d_o");
  }
};

struct Results {
  Matrix<bf16> o, d_q, d_k, d_v;
  Matrix<float> lse, scratch;

  explicit Results(const AttentionShape& s)
      : o(s.batch * s.query_length, s.num_q_heads * s.head_dim, 8),
        d_q(s.batch * s.query_length, s.num_q_heads * s.head_dim, 16),
        d_k(s.batch * s.kv_length, s.num_kv_heads * s.head_dim, 8),
        d_v(s.batch * s.kv_length, s.num_kv_heads * s.head_dim, 24),
        lse(s.batch * s.num_q_heads, s.query_length, 3),
        scratch(1, kernels::attention_backward_scratch_elements(s)) {}
};

kernels::AttentionForward forward(Problem& problem, Results& results) {
  return {.shape = problem.shape,
          .q = problem.q.view(),
          .k = problem.k.view(),
          .v = problem.v.view(),
          .o = results.o.view(),
          .lse = results.lse.view()};
}

/// Of the same forward, so that only the gradients' own errors are compared.
kernels::AttentionBackward backward(Problem& problem, Results& of_forward, Results& results) {
  return {.shape = problem.shape,
          .q = problem.q.view(),
          .k = problem.k.view(),
          .v = problem.v.view(),
          .o = of_forward.o.view(),
          .lse = of_forward.lse.view(),
          .d_o = problem.d_o.view(),
          .d_q = results.d_q.view(),
          .d_k = results.d_k.view(),
          .d_v = results.d_v.view(),
          .scratch = results.scratch.view()};
}

/// Probabilities and gradients of scores are rounded to bf16 before the last products, each to 2^-9
/// of itself; the sums of up to some hundred are of order one or larger.
void compare_gradients(Verdict& verdict, Results& got, const Results& want) {
  verdict.close("d_q", got.d_q, want.d_q, 1.5 * kRounding<bf16>, 1.0);
  verdict.close("d_k", got.d_k, want.d_k, 1.5 * kRounding<bf16>, 1.0);
  verdict.close("d_v", got.d_v, want.d_v, 1.5 * kRounding<bf16>, 1.0);
}

Verdict attention_case(const AttentionShape& shape) {
  device::Context context;
  TestQueue queue;
  Problem problem(shape);
  Results want(shape), got(shape);
  kernels::attention_forward(context, forward(problem, want));
  kernels::ESPALIER_GPU::attention_forward(queue, forward(problem, got));
  Verdict verdict;
  verdict.close("lse", got.lse, want.lse, 1e-4, 1.0);
  // Both round the probabilities to bf16, but beside maxima of other tiles: each is off by 2^-9 of
  // itself, values are of order one.
  verdict.close("o", got.o, want.o, 1.5 * kRounding<bf16>, 1.0);
  if (shape.query_length < shape.kv_length) return verdict;
  kernels::attention_backward(context, backward(problem, want, want));
  kernels::ESPALIER_GPU::attention_backward(queue, backward(problem, want, got));
  compare_gradients(verdict, got, want);
  return verdict;
}

/// A sequence of two documents gives what each alone gives.
Verdict documents_case(std::int64_t first_length, std::int64_t length) {
  device::Context context;
  TestQueue queue;
  const AttentionShape shape{.batch = 1,
                             .query_length = length,
                             .kv_length = length,
                             .num_q_heads = 2,
                             .num_kv_heads = 1,
                             .head_dim = 64};
  Problem problem(shape);
  Results want(shape), got(shape);
  for (const auto& [first, count] :
       {std::pair{std::int64_t{0}, first_length}, {first_length, length - first_length}}) {
    kernels::AttentionForward alone = forward(problem, want);
    alone.shape.query_length = alone.shape.kv_length = count;
    const auto part = [first = first, count = count](auto view) {
      return view.row_range(first, count);
    };
    alone.q = part(alone.q);
    alone.k = part(alone.k);
    alone.v = part(alone.v);
    alone.o = part(alone.o);
    alone.lse = alone.lse.col_range(first, count);
    kernels::attention_forward(context, alone);
    kernels::AttentionBackward gradients = backward(problem, want, want);
    gradients.shape = alone.shape;
    for (auto* view : {&gradients.q, &gradients.k, &gradients.v, &gradients.o, &gradients.d_o})
      *view = part(*view);
    for (auto* view : {&gradients.d_q, &gradients.d_k, &gradients.d_v}) *view = part(*view);
    gradients.lse = gradients.lse.col_range(first, count);
    kernels::attention_backward(context, gradients);
  }
  std::vector<std::int32_t> first_keys(static_cast<std::size_t>(length), 0);
  for (std::int64_t t = first_length; t < length; ++t)
    first_keys[static_cast<std::size_t>(t)] = static_cast<std::int32_t>(first_length);
  Ids<std::int32_t> bounds(first_keys);
  kernels::AttentionForward call = forward(problem, got);
  call.first_keys = bounds.view();
  kernels::ESPALIER_GPU::attention_forward(queue, call);
  Verdict verdict;
  verdict.close("lse", got.lse, want.lse, 1e-4, 1.0);
  verdict.close("o", got.o, want.o, 1.5 * kRounding<bf16>, 1.0);
  kernels::AttentionBackward gradients = backward(problem, want, got);
  gradients.first_keys = bounds.view();
  kernels::ESPALIER_GPU::attention_backward(queue, gradients);
  compare_gradients(verdict, got, want);
  return verdict;
}

}  // namespace

void add_attention_cases(std::vector<Case>& cases) {
  const auto add = [&](const char* what, const AttentionShape& shape) {
    cases.push_back({fmt::format("attention, {}", what), [=] { return attention_case(shape); }});
  };
  add("D 128, two tiles and a tail", {.batch = 1,
                                      .query_length = 136,
                                      .kv_length = 136,
                                      .num_q_heads = 2,
                                      .num_kv_heads = 1,
                                      .head_dim = 128});
  add("D 64, two sequences", {.batch = 2,
                              .query_length = 70,
                              .kv_length = 70,
                              .num_q_heads = 3,
                              .num_kv_heads = 3,
                              .head_dim = 64});
  add("queries after 90 keys", {.batch = 2,
                                .query_length = 65,
                                .kv_length = 160,
                                .first_query_position = 90,
                                .num_q_heads = 2,
                                .num_kv_heads = 1,
                                .head_dim = 64});
  add("one token", {.batch = 1,
                    .query_length = 1,
                    .kv_length = 1,
                    .num_q_heads = 1,
                    .num_kv_heads = 1,
                    .head_dim = 128});
  cases.push_back({"attention, documents", [] { return documents_case(75, 150); }});
  cases.push_back({"attention, documents in one tile", [] { return documents_case(20, 50); }});
}

}  // namespace espalier::test
