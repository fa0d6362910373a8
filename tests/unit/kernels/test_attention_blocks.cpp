// Attention of context-parallel ranks beside that of one which has whole sequences.
#include "attention_blocks.hpp"
#include "base/error.hpp"

namespace espalier::testing {
namespace {

using device::Context;
using kernels::AttentionShape;

void forward(const kernels::AttentionForward& a) {
  Context context;
  kernels::attention_forward(context, a);
}
void backward(const kernels::AttentionBackward& a) {
  Context context;
  kernels::attention_backward(context, a);
}

AttentionShape whole(std::int64_t batch, std::int64_t length, std::int64_t q_heads,
                     std::int64_t kv_heads, std::int64_t head_dim,
                     std::int64_t block_length = 128) {
  return {.batch = batch,
          .query_length = length,
          .kv_length = length,
          .num_q_heads = q_heads,
          .num_kv_heads = kv_heads,
          .head_dim = head_dim,
          .block_length = block_length};
}

template <class T>
struct Everything {
  ForwardOfRank<T> forward;
  GradientsOfRank<T> backward;
};
template <class T>
Everything<T> run(RankOfContext<T>& rank) {
  ForwardOfRank<T> results = rank.forward(forward);
  GradientsOfRank<T> gradients =
      rank.backward(backward, results, kernels::attention_backward_scratch_elements(rank.shape()));
  return {std::move(results), std::move(gradients)};
}

template <class U>
double difference(const Matrix<U>& a, const Matrix<U>& b) {
  return worst_error(a, [&](std::int64_t r, std::int64_t c) { return b(r, c); });
}
/// Everything but what lies between rows.
template <class U>
bool equal(const Matrix<U>& a, const Matrix<U>& b) {
  return difference(a, b) == 0.0;
}

/// Every rank's rows are those of one that has all queries, and its parts of dK and dV add up.
/// Blocks of 128 queries are whole tiles of the host, for every group: the bits are the same. What
/// lies in another order is the sum of dK and dV alone: fp32, of up to a thousand queries.
template <class T>
void check(const AttentionShape& shape, Deal deal, std::int64_t num_ranks,
           const std::vector<std::int64_t>& documents = {}) {
  CAPTURE(shape.batch, shape.kv_length, shape.num_q_heads, shape.num_kv_heads, shape.head_dim,
          shape.block_length, static_cast<int>(deal), num_ranks, documents);
  Sequences<T> sequences(shape);
  if (!documents.empty()) sequences.set_documents(documents, 50);
  RankOfContext<T> alone(sequences, sequences.all_starts());
  const Everything<T> want = run(alone);
  Matrix<float> d_k(sequences.k.rows(), sequences.k.cols()), d_v = d_k;
  for (const auto& starts :
       dealt_blocks(deal, num_ranks, shape.batch, shape.kv_length / shape.block_length,
                    shape.block_length)) {
    RankOfContext<T> rank(sequences, starts);
    Everything<T> got = run(rank);
    const bool same_tiles = shape.block_length % 64 == 0;
    const double tolerance = same_tiles ? 0.0 : sizeof(T) == 2 ? 4 * kRounding<bf16> : 1e-5;
    CHECK(difference(got.forward.o, rank.rows_of(want.forward.o)) <= tolerance);
    CHECK(difference(got.forward.lse, rank.lse_of(want.forward.lse)) <= (same_tiles ? 0.0 : 1e-5));
    CHECK(difference(got.backward.d_q, rank.rows_of(want.backward.d_q)) <= tolerance);
    CHECK(got.backward.d_q.padding_untouched());
    CHECK(got.backward.d_k.padding_untouched());
    CHECK(got.backward.d_v.padding_untouched());
    add_to(d_k, got.backward.d_k);
    add_to(d_v, got.backward.d_v);
  }
  // Of bf16, gradients of scores are rounded before the sum, and the same ones in all ranks.
  CHECK(difference(d_k, want.backward.d_k) < 2e-5);
  CHECK(difference(d_v, want.backward.d_v) < 2e-5);
}

const std::vector<std::int64_t> kDocuments{0, 70, 128, 300, 590};

}  // namespace

TEMPLATE_TEST_CASE("a rank with all blocks of the queries computes what one without blocks does",
                   "[attention][blocks]", float, bf16) {
  for (const bool documents : {false, true}) {
    CAPTURE(documents);
    Sequences<TestType> sequences(whole(2, 384, 4, 2, 38));
    if (documents) sequences.set_documents(kDocuments, 50);
    RankOfContext<TestType> rank(sequences, sequences.all_starts());
    Everything<TestType> got = run(rank);
    Matrix<TestType> o = got.forward.o, d_q = got.backward.d_q;
    Matrix<TestType> d_k(sequences.k.rows(), sequences.k.cols()), d_v = d_k;
    Matrix<float> lse = got.forward.lse;
    Ids<std::int32_t> firsts(sequences.document_start);
    const device::ConstView document_start =
        documents ? device::ConstView(firsts.view()) : device::ConstView{};
    AttentionShape shape = sequences.shape;
    shape.block_length = 0;
    forward({.shape = shape,
             .q = sequences.q.view(),
             .k = sequences.k.view(),
             .v = sequences.v.view(),
             .o = o.view(),
             .lse = lse.view(),
             .document_start = document_start});
    Matrix<float> scratch(1, kernels::attention_backward_scratch_elements(shape));
    backward({.shape = shape,
              .q = sequences.q.view(),
              .k = sequences.k.view(),
              .v = sequences.v.view(),
              .o = o.view(),
              .lse = lse.view(),
              .d_o = sequences.d_o.view(),
              .d_q = d_q.view(),
              .d_k = d_k.view(),
              .d_v = d_v.view(),
              .scratch = scratch.view(),
              .document_start = document_start});
    CHECK(equal(got.forward.o, o));
    CHECK(equal(got.forward.lse, lse));
    CHECK(equal(got.backward.d_q, d_q));
    // Its dK and dV are the sums before they are rounded.
    const auto rounded = [](const Matrix<float>& sums) {
      Matrix<TestType> result(sums.rows(), sums.cols());
      for (std::int64_t r = 0; r < sums.rows(); ++r)
        for (std::int64_t c = 0; c < sums.cols(); ++c)
          result.at(r, c) = TestType(static_cast<float>(sums(r, c)));
      return result;
    };
    CHECK(equal(rounded(got.backward.d_k), d_k));
    CHECK(equal(rounded(got.backward.d_v), d_v));
  }
}

TEMPLATE_TEST_CASE("ranks with blocks of the queries compute what one rank does",
                   "[attention][blocks]", float, bf16) {
  check<TestType>(whole(2, 512, 2, 2, 64), Deal::contiguous, 2);
  check<TestType>(whole(1, 512, 4, 2, 128), Deal::head_tail, 2);
  check<TestType>(whole(2, 768, 4, 1, 64), Deal::random, 3);
  check<TestType>(whole(1, 1024, 2, 1, 38), Deal::head_tail, 4);
  check<TestType>(whole(2, 512, 3, 1, 10), Deal::random, 4);
  check<TestType>(whole(1, 768, 2, 1, 16, 256), Deal::random, 3);
}

TEMPLATE_TEST_CASE("ranks with blocks of the queries stay inside documents", "[attention][blocks]",
                   float, bf16) {
  check<TestType>(whole(2, 512, 2, 1, 64), Deal::contiguous, 2, kDocuments);
  check<TestType>(whole(2, 768, 4, 1, 128), Deal::random, 3, kDocuments);
  check<TestType>(whole(1, 1024, 2, 2, 10), Deal::head_tail, 4, kDocuments);
  check<TestType>(whole(2, 512, 2, 1, 16), Deal::random, 2, {0, 511});
}

TEMPLATE_TEST_CASE("blocks of the queries may be shorter than a tile", "[attention][blocks]", float,
                   bf16) {
  check<TestType>(whole(2, 96, 2, 1, 16, 8), Deal::random, 3);
  check<TestType>(whole(2, 96, 4, 1, 16, 16), Deal::random, 2, {0, 5, 20, 60});
  check<TestType>(whole(1, 12, 3, 1, 10, 1), Deal::random, 4);
}

TEST_CASE("blocks of queries that are out of place are refused", "[attention][blocks]") {
  Sequences<float> sequences(whole(2, 512, 2, 1, 16));
  const auto runs = [&](const std::vector<std::int32_t>& starts) {
    RankOfContext<float> rank(sequences, starts);
    ForwardOfRank<float> results = rank.forward(forward);
    rank.backward(backward, results, kernels::attention_backward_scratch_elements(rank.shape()));
  };
  // What the numbers name is read by tests, too: out of place here and in place there.
  const auto refused = [&](const std::vector<std::int32_t>& starts) {
    RankOfContext<float> rank(sequences, {0, 128, 0, 128});
    Ids<std::int32_t> wrong(starts);
    const auto with = [&](auto run) {
      return [&, run](auto call) {
        call.block_starts = wrong.view();
        run(call);
      };
    };
    CAPTURE(starts);
    CHECK_THROWS_AS(rank.forward(with(forward)), Error);
    ForwardOfRank<float> results = rank.forward(forward);
    CHECK_THROWS_AS(rank.backward(with(backward), results,
                                  kernels::attention_backward_scratch_elements(rank.shape())),
                    Error);
  };
  CHECK_NOTHROW(runs({0, 384, 128, 256}));
  refused({128, 0, 0, 128});    // falls
  refused({0, 0, 0, 128});      // the same block twice
  refused({0, 128, 64, 256});   // no multiple
  refused({0, 128, 256, 512});  // behind the sequence
  refused({-128, 0, 0, 128});   // before it
  refused({0, 128, 0});         // too few
  RankOfContext<float> rank(sequences, {0, 128, 0, 128});
  const auto without = [&](auto change) {
    return [change](kernels::AttentionForward call) {
      change(call);
      forward(call);
    };
  };
  const auto throws = [&](auto change) { CHECK_THROWS_AS(rank.forward(without(change)), Error); };
  throws([](auto& call) { call.block_starts = {}; });
  throws([](auto& call) { call.shape.block_length = 0; });
  throws([](auto& call) { call.shape.block_length = 96; });
  throws([](auto& call) { call.shape.first_query_position = 128; });
  throws([](auto& call) { call.shape.kv_length = 500; });
}

TEST_CASE("gradients of keys are fp32 where there are blocks of queries, and only there",
          "[attention][blocks]") {
  Sequences<bf16> sequences(whole(1, 256, 2, 1, 16));
  RankOfContext<bf16> rank(sequences, {128});
  ForwardOfRank<bf16> results = rank.forward(forward);
  Matrix<bf16> rounded(256, 16);
  const std::int64_t scratch = kernels::attention_backward_scratch_elements(rank.shape());
  const auto with = [&](auto change) {
    return [change](kernels::AttentionBackward call) {
      change(call);
      backward(call);
    };
  };
  CHECK_NOTHROW(rank.backward(backward, results, scratch));
  CHECK_THROWS_AS(
      rank.backward(with([&](auto& call) { call.d_k = rounded.view(); }), results, scratch), Error);
  CHECK_THROWS_AS(
      rank.backward(with([&](auto& call) { call.d_v = rounded.view(); }), results, scratch), Error);
  Sequences<bf16> one_block(whole(1, 128, 2, 1, 16));
  RankOfContext<bf16> alone(one_block, {0});
  ForwardOfRank<bf16> of_alone = alone.forward(forward);
  CHECK_THROWS_AS(alone.backward(with([](auto& call) {
                                   call.shape.block_length = 0;
                                   call.block_starts = {};
                                 }),
                                 of_alone, scratch),
                  Error);
}

}  // namespace espalier::testing
