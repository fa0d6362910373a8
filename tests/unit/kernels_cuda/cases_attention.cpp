#include "cases.hpp"
#include "kernels/attention/attention_provider.hpp"
#include "kernels/cuda/port.hpp"

namespace espalier::testing {
namespace {

using kernels::AttentionProvider;
using kernels::AttentionShape;

/// What is asked of a provider. `padding`: columns between rows, times 1, 2 or 3; 8 keeps rows of
/// both types aligned.
struct Asked {
  AttentionShape shape;
  AttentionProvider provider = AttentionProvider::automatic;
  std::int64_t padding = 8;
  bool deterministic = true;
  double allowance = 1.0;  ///< of the tolerance: long sums of the gradients of keys and values
};

template <class T>
struct Problem {
  Asked asked;
  Matrix<T> q, k, v, d_o;

  explicit Problem(const Asked& a)
      : asked(a),
        q(a.shape.batch * a.shape.query_length, q_cols(a.shape), a.padding),
        k(a.shape.batch * a.shape.kv_length, kv_cols(a.shape), 3 * a.padding),
        v(a.shape.batch * a.shape.kv_length, kv_cols(a.shape), 2 * a.padding),
        d_o(a.shape.batch * a.shape.query_length, q_cols(a.shape), a.padding) {
    q.randomize("q", 1.5);
    k.randomize("k");
    v.randomize("v");
    d_o.randomize("d_o");
  }
  static std::int64_t q_cols(const AttentionShape& s) { return s.num_q_heads * s.head_dim; }
  static std::int64_t kv_cols(const AttentionShape& s) { return s.num_kv_heads * s.head_dim; }
};

template <class T>
struct Results {
  Matrix<T> o, d_q, d_k, d_v;
  Matrix<float> lse, scratch;

  Results(const Asked& a, bool on_host)
      : o(a.shape.batch * a.shape.query_length, Problem<T>::q_cols(a.shape), a.padding),
        d_q(a.shape.batch * a.shape.query_length, Problem<T>::q_cols(a.shape), 2 * a.padding),
        d_k(a.shape.batch * a.shape.kv_length, Problem<T>::kv_cols(a.shape), a.padding),
        d_v(a.shape.batch * a.shape.kv_length, Problem<T>::kv_cols(a.shape), 3 * a.padding),
        lse(a.shape.batch * a.shape.num_q_heads, a.shape.query_length, 3),
        scratch(1, on_host ? kernels::attention_backward_scratch_elements(a.shape)
                           : kernels::backward_scratch_elements(
                                 a.provider, {.shape = a.shape, .dtype = DType::bf16})) {}
};

template <class T>
kernels::AttentionForward forward(Problem<T>& problem, Results<T>& results) {
  return {.shape = problem.asked.shape,
          .q = problem.q.view(),
          .k = problem.k.view(),
          .v = problem.v.view(),
          .o = results.o.view(),
          .lse = results.lse.view(),
          .provider = problem.asked.provider};
}

/// Of the same forward, so that only the gradients' own errors are compared.
template <class T>
kernels::AttentionBackward backward(Problem<T>& problem, Results<T>& of_forward,
                                    Results<T>& results) {
  return {.shape = problem.asked.shape,
          .q = problem.q.view(),
          .k = problem.k.view(),
          .v = problem.v.view(),
          .o = of_forward.o.view(),
          .lse = of_forward.lse.view(),
          .d_o = problem.d_o.view(),
          .d_q = results.d_q.view(),
          .d_k = results.d_k.view(),
          .d_v = results.d_v.view(),
          .scratch = results.scratch.view(),
          .provider = problem.asked.provider,
          .deterministic = problem.asked.deterministic};
}

/// bf16: probabilities and gradients of scores are rounded before the last products, beside maxima
/// of other tiles: each is off by 2^-9 of itself on average, values are of order one, and sums of
/// up to some hundred are of order one or larger. The reference rounds results alone, so that the
/// two do not err alike. fp32: the order of sums alone.
template <class T>
double tolerance_for(const Asked& asked) {
  if (sizeof(T) == 4) return 2e-5;
  return asked.allowance * (asked.provider == AttentionProvider::reference ? 2.5 : 1.5) *
         kRounding<bf16>;
}

template <class T>
void compare_forward(Verdict& verdict, const Asked& asked, Results<T>& got,
                     const Results<T>& want) {
  verdict.close("lse", got.lse, want.lse, sizeof(T) == 2 ? 1e-4 : 1e-5, 1.0);
  verdict.close("o", got.o, want.o, tolerance_for<T>(asked), 1.0);
}
template <class T>
void compare_gradients(Verdict& verdict, const Asked& asked, Results<T>& got,
                       const Results<T>& want) {
  verdict.close("d_q", got.d_q, want.d_q, tolerance_for<T>(asked), 1.0);
  verdict.close("d_k", got.d_k, want.d_k, tolerance_for<T>(asked), 1.0);
  verdict.close("d_v", got.d_v, want.d_v, tolerance_for<T>(asked), 1.0);
}

template <class T>
Verdict attention_case(const Asked& asked) {
  device::Context context;
  TestQueue queue;
  Problem<T> problem(asked);
  Results<T> want(asked, /*on_host=*/true), got(asked, /*on_host=*/false);
  kernels::attention_forward(context, forward(problem, want));
  kernels::ESPALIER_GPU::attention_forward(queue, forward(problem, got));
  Verdict verdict;
  compare_forward(verdict, asked, got, want);
  if (asked.shape.query_length < asked.shape.kv_length) return verdict;
  kernels::attention_backward(context, backward(problem, want, want));
  kernels::ESPALIER_GPU::attention_backward(queue, backward(problem, want, got));
  compare_gradients(verdict, asked, got, want);
  return verdict;
}

/// A sequence of two documents gives what each alone gives.
template <class T>
Verdict documents_case(std::int64_t first_length, std::int64_t length, AttentionProvider provider) {
  device::Context context;
  TestQueue queue;
  const Asked asked{.shape = {.batch = 1,
                              .query_length = length,
                              .kv_length = length,
                              .num_q_heads = 2,
                              .num_kv_heads = 1,
                              .head_dim = 64},
                    .provider = provider};
  Problem<T> problem(asked);
  Results<T> want(asked, /*on_host=*/true), got(asked, /*on_host=*/false);
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
  std::vector<std::int32_t> document_start(static_cast<std::size_t>(length), 0);
  for (std::int64_t t = first_length; t < length; ++t)
    document_start[static_cast<std::size_t>(t)] = static_cast<std::int32_t>(first_length);
  Ids<std::int32_t> bounds(document_start);
  kernels::AttentionForward call = forward(problem, got);
  call.document_start = bounds.view();
  kernels::ESPALIER_GPU::attention_forward(queue, call);
  Verdict verdict;
  compare_forward(verdict, asked, got, want);
  kernels::AttentionBackward gradients = backward(problem, want, got);
  gradients.document_start = bounds.view();
  kernels::ESPALIER_GPU::attention_backward(queue, gradients);
  compare_gradients(verdict, asked, got, want);
  return verdict;
}

/// What the reference provider must do in both types.
template <class T>
void add_reference_cases(std::vector<Case>& cases) {
  const auto add = [&](const char* what, const AttentionShape& shape, std::int64_t padding = 8) {
    const Asked asked{shape, AttentionProvider::reference, padding};
    cases.push_back({fmt::format("attention_reference {}, {}", kTypeName<T>, what),
                     [=] { return attention_case<T>(asked); }});
  };
  add("D 128, tiles and a tail", {.batch = 1,
                                  .query_length = 70,
                                  .kv_length = 70,
                                  .num_q_heads = 2,
                                  .num_kv_heads = 1,
                                  .head_dim = 128});
  add("D 10, two sequences", {.batch = 2,
                              .query_length = 37,
                              .kv_length = 37,
                              .num_q_heads = 3,
                              .num_kv_heads = 3,
                              .head_dim = 10});
  add("D 200", {.batch = 1,
                .query_length = 41,
                .kv_length = 41,
                .num_q_heads = 2,
                .num_kv_heads = 2,
                .head_dim = 200});
  add("D 250, rows not aligned",
      {.batch = 1,
       .query_length = 33,
       .kv_length = 33,
       .num_q_heads = 1,
       .num_kv_heads = 1,
       .head_dim = 250},
      3);
  add("queries after 45 keys", {.batch = 2,
                                .query_length = 35,
                                .kv_length = 84,
                                .first_query_position = 45,
                                .num_q_heads = 2,
                                .num_kv_heads = 1,
                                .head_dim = 24});
  add("one query after 69 keys", {.batch = 1,
                                  .query_length = 1,
                                  .kv_length = 70,
                                  .first_query_position = 69,
                                  .num_q_heads = 4,
                                  .num_kv_heads = 2,
                                  .head_dim = 64});
  add("one token, D 2", {.batch = 1,
                         .query_length = 1,
                         .kv_length = 1,
                         .num_q_heads = 1,
                         .num_kv_heads = 1,
                         .head_dim = 2});
  cases.push_back({fmt::format("attention_reference {}, documents", kTypeName<T>),
                   [] { return documents_case<T>(41, 90, AttentionProvider::reference); }});
}

/// On a GPU with cuDNN alone. Where its gradients cannot be repeated they are at least right.
void add_cudnn_cases(std::vector<Case>& cases) {
  const auto add = [&](const char* what, const AttentionShape& shape) {
    Asked asked{.shape = shape, .provider = AttentionProvider::cudnn};
    kernels::AttentionRequest request{
        .shape = shape,
        .dtype = DType::bf16,
        .compute_capability = kernels::ESPALIER_GPU::compute_capability()};
    if (!supports(asked.provider, request)) return;
    request.backward = true;
    request.scratch_elements = backward_scratch_elements(asked.provider, request);
    asked.deterministic = supports(asked.provider, request);
    cases.push_back(
        {fmt::format("attention_cudnn, {}", what), [=] { return attention_case<bf16>(asked); }});
  };
  add("D 128, tiles and a tail", {.batch = 1,
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
  add("D 128, groups of four", {.batch = 2,
                                .query_length = 300,
                                .kv_length = 300,
                                .num_q_heads = 8,
                                .num_kv_heads = 2,
                                .head_dim = 128});
}

}  // namespace

/// As many blocks as a model has, more than a GPU takes at one time. Hours under emulation.
void add_large_attention_cases(std::vector<Case>& cases) {
  for (const auto provider : {AttentionProvider::mma, AttentionProvider::automatic})
    for (const std::int64_t head_dim : {64, 128}) {
      const Asked asked{.shape = {.batch = 3,
                                  .query_length = 1100,
                                  .kv_length = 1100,
                                  .num_q_heads = 16,
                                  .num_kv_heads = 4,
                                  .head_dim = head_dim},
                        .provider = provider,
                        .allowance = 2.0};
      cases.push_back({fmt::format("attention by {}, B 3, S 1100, A 16, K 4, D {}",
                                   kernels::name_of(provider), head_dim),
                       [=] { return attention_case<bf16>(asked); }});
    }
}

void add_attention_cases(std::vector<Case>& cases) {
  const auto add = [&](const char* what, const AttentionShape& shape) {
    cases.push_back(
        {fmt::format("attention, {}", what), [=] { return attention_case<bf16>({shape}); }});
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
  add("one query after 150 keys", {.batch = 1,
                                   .query_length = 1,
                                   .kv_length = 151,
                                   .first_query_position = 150,
                                   .num_q_heads = 2,
                                   .num_kv_heads = 1,
                                   .head_dim = 128});
  const auto automatic = AttentionProvider::automatic;
  cases.push_back(
      {"attention, documents", [=] { return documents_case<bf16>(75, 150, automatic); }});
  cases.push_back({"attention, documents in one tile",
                   [=] { return documents_case<bf16>(20, 50, automatic); }});
  add_reference_cases<float>(cases);
  add_reference_cases<bf16>(cases);
  add_cudnn_cases(cases);
}

}  // namespace espalier::testing
