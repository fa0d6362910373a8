#include <numeric>

#include "kernels/attention/attention.hpp"

#include "support.hpp"

namespace espalier {
namespace {

using device::Context;
using kernels::AttentionShape;
using testing::Matrix;

/// Everything of one call in double precision, by the definition.
struct Reference {
  std::vector<double> o, lse, d_q, d_k, d_v;
};

template <class T>
struct Problem {
  AttentionShape shape;
  Matrix<T> q, k, v, d_o;
  std::vector<std::int32_t> document_start = {};  ///< per query; empty: none

  explicit Problem(const AttentionShape& s, std::int64_t padding = 6)
      : shape(s),
        q(s.batch * s.query_length, s.num_q_heads * s.head_dim, padding),
        k(s.batch * s.kv_length, s.num_kv_heads * s.head_dim, padding + 2),
        v(s.batch * s.kv_length, s.num_kv_heads * s.head_dim, padding),
        d_o(s.batch * s.query_length, s.num_q_heads * s.head_dim, padding) {
    q.randomize("q", 1.5);
    k.randomize("k", 1.0);
    v.randomize("v", 1.0);
    d_o.randomize("d_o", 1.0);
  }

  /// Documents that begin at these positions of the first sequence, and `shift` tokens later in
  /// each further one. What precedes the first of them belongs to one that began earlier.
  void set_documents(const std::vector<std::int64_t>& begins, std::int64_t shift = 0) {
    for (std::int64_t row = 0; row < q.rows(); ++row) {
      const std::int64_t position = shape.first_query_position + row % shape.query_length;
      std::int64_t first = 0;
      for (const std::int64_t begin : begins) {
        const std::int64_t shifted = begin + row / shape.query_length * shift;
        first = shifted <= position ? shifted : first;
      }
      document_start.push_back(static_cast<std::int32_t>(first));
    }
  }
  device::ConstView keys_view() const {
    if (document_start.empty()) return {};
    return device::view_of(document_start.data(), 1,
                           static_cast<std::int64_t>(document_start.size()));
  }

  /// The gradients are those that the backward pass is asked for: its delta = rowsum(dO * O) takes
  /// `given_o`, an input already rounded to T, when there is one.
  Reference reference(const Matrix<T>* given_o = nullptr) const {
    const AttentionShape& s = shape;
    Reference r;
    const auto size = [](const Matrix<T>& m) {
      return static_cast<std::size_t>(m.rows() * m.cols());
    };
    r.o.resize(size(q));
    r.d_q.resize(size(q));
    r.d_k.resize(size(k));
    r.d_v.resize(size(k));
    r.lse.resize(static_cast<std::size_t>(s.batch * s.num_q_heads * s.query_length));
    const double scale = 1.0 / std::sqrt(static_cast<double>(s.head_dim));
    std::vector<double> p(static_cast<std::size_t>(s.kv_length));
    for (std::int64_t b = 0; b < s.batch; ++b)
      for (std::int64_t h = 0; h < s.num_q_heads; ++h)
        for (std::int64_t i = 0; i < s.query_length; ++i) {
          const std::int64_t kv = h / (s.num_q_heads / s.num_kv_heads);
          const std::int64_t keys = s.first_query_position + i + 1;
          const std::int64_t row = b * s.query_length + i;
          const std::int64_t begin =
              document_start.empty() ? 0 : document_start[static_cast<std::size_t>(row)];
          const auto kv_row = [&](std::int64_t j) { return b * s.kv_length + j; };
          const auto q_index = [&](std::int64_t d) {
            return static_cast<std::size_t>(row * q.cols() + h * s.head_dim + d);
          };
          const auto k_index = [&](std::int64_t j, std::int64_t d) {
            return static_cast<std::size_t>(kv_row(j) * k.cols() + kv * s.head_dim + d);
          };
          double maximum = -INFINITY;
          for (std::int64_t j = begin; j < keys; ++j) {
            double sum = 0.0;
            for (std::int64_t d = 0; d < s.head_dim; ++d)
              sum += q(row, h * s.head_dim + d) * k(kv_row(j), kv * s.head_dim + d);
            p[static_cast<std::size_t>(j)] = sum * scale;
            maximum = std::max(maximum, sum * scale);
          }
          double sum = 0.0;
          for (std::int64_t j = begin; j < keys; ++j)
            sum += std::exp(p[static_cast<std::size_t>(j)] - maximum);
          const double lse = maximum + std::log(sum);
          r.lse[static_cast<std::size_t>((b * s.num_q_heads + h) * s.query_length + i)] = lse;
          double delta = 0.0;
          for (std::int64_t j = begin; j < keys; ++j) {
            double& p_j = p[static_cast<std::size_t>(j)];
            p_j = std::exp(p_j - lse);
            for (std::int64_t d = 0; d < s.head_dim; ++d)
              r.o[q_index(d)] += p_j * v(kv_row(j), kv * s.head_dim + d);
          }
          for (std::int64_t d = 0; d < s.head_dim; ++d)
            delta += (given_o ? (*given_o)(row, h * s.head_dim + d) : r.o[q_index(d)]) *
                     d_o(row, h * s.head_dim + d);
          for (std::int64_t j = begin; j < keys; ++j) {
            double d_p = 0.0;
            const double p_j = p[static_cast<std::size_t>(j)];
            for (std::int64_t d = 0; d < s.head_dim; ++d)
              d_p += d_o(row, h * s.head_dim + d) * v(kv_row(j), kv * s.head_dim + d);
            const double d_s = p_j * (d_p - delta) * scale;
            for (std::int64_t d = 0; d < s.head_dim; ++d) {
              r.d_q[q_index(d)] += d_s * k(kv_row(j), kv * s.head_dim + d);
              r.d_k[k_index(j, d)] += d_s * q(row, h * s.head_dim + d);
              r.d_v[k_index(j, d)] += p_j * d_o(row, h * s.head_dim + d);
            }
          }
        }
    return r;
  }
};

template <class T>
double error_of(const Matrix<T>& got, const std::vector<double>& want) {
  return testing::worst_error(got, [&](std::int64_t r, std::int64_t c) {
    return want[static_cast<std::size_t>(r * got.cols() + c)];
  });
}

/// bf16: scores are exact products summed in fp32; P and dS are rounded to bf16 (2^-8 relative)
/// before their products, and the result once more. The errors of a sum over keys add up like
/// random numbers, so a few roundings bound them all.
template <class T>
constexpr double kTolerance = sizeof(T) == 2 ? 4 * 0x1p-8 : 1e-5;

template <class T>
void check(const AttentionShape& s, bool backward, const std::vector<std::int64_t>& documents = {},
           std::int64_t shift = 0) {
  CAPTURE(s.batch, s.query_length, s.kv_length, s.first_query_position, s.num_q_heads,
          s.num_kv_heads, s.head_dim);
  Problem<T> x(s);
  if (!documents.empty()) x.set_documents(documents, shift);
  Context context;
  Matrix<T> o(x.q.rows(), x.q.cols(), 4);
  Matrix<float> lse(s.batch * s.num_q_heads, s.query_length, 3);
  kernels::attention_forward(context, {.shape = s,
                                       .q = x.q.view(),
                                       .k = x.k.view(),
                                       .v = x.v.view(),
                                       .o = o.view(),
                                       .lse = lse.view(),
                                       .document_start = x.keys_view()});
  const Reference want = x.reference(&o);
  CHECK(error_of(o, want.o) < kTolerance<T>);
  CHECK(error_of(lse, want.lse) < 1e-5);
  CHECK(o.padding_untouched());
  CHECK(lse.padding_untouched());
  if (!backward) return;
  Matrix<T> d_q(x.q.rows(), x.q.cols(), 2), d_k(x.k.rows(), x.k.cols(), 6),
      d_v(x.k.rows(), x.k.cols(), 8);
  Matrix<float> scratch(1, kernels::attention_backward_scratch_elements(s));
  scratch.fill(NAN);
  kernels::attention_backward(context, {.shape = s,
                                        .q = x.q.view(),
                                        .k = x.k.view(),
                                        .v = x.v.view(),
                                        .o = o.view(),
                                        .lse = lse.view(),
                                        .d_o = x.d_o.view(),
                                        .d_q = d_q.view(),
                                        .d_k = d_k.view(),
                                        .d_v = d_v.view(),
                                        .scratch = scratch.view(),
                                        .document_start = x.keys_view()});
  CHECK(error_of(d_q, want.d_q) < kTolerance<T>);
  CHECK(error_of(d_k, want.d_k) < kTolerance<T>);
  CHECK(error_of(d_v, want.d_v) < kTolerance<T>);
  CHECK(d_q.padding_untouched());
  CHECK(d_k.padding_untouched());
  CHECK(d_v.padding_untouched());
}

AttentionShape training(std::int64_t batch, std::int64_t length, std::int64_t q_heads,
                        std::int64_t kv_heads, std::int64_t head_dim) {
  return {.batch = batch,
          .query_length = length,
          .kv_length = length,
          .num_q_heads = q_heads,
          .num_kv_heads = kv_heads,
          .head_dim = head_dim};
}

/// Queries from position `first` on over keys of which some are cached.
AttentionShape continued(std::int64_t batch, std::int64_t query_length, std::int64_t kv_length,
                         std::int64_t first, std::int64_t q_heads, std::int64_t kv_heads,
                         std::int64_t head_dim) {
  AttentionShape shape = training(batch, query_length, q_heads, kv_heads, head_dim);
  shape.kv_length = kv_length;
  shape.first_query_position = first;
  return shape;
}

}  // namespace

TEMPLATE_TEST_CASE("attention equals its definition", "[attention]", float, bf16) {
  check<TestType>(training(2, 128, 4, 2, 64), true);
  check<TestType>(training(1, 1, 1, 1, 2), true);     // a single token
  check<TestType>(training(1, 67, 3, 1, 32), true);   // one kv head, odd length and group
  check<TestType>(training(3, 33, 4, 4, 16), true);   // no sharing
  check<TestType>(training(1, 200, 6, 2, 10), true);  // D below one vector
  check<TestType>(training(2, 77, 2, 1, 144), true);  // D above two vectors
  check<TestType>(training(1, 130, 8, 2, 38), true);  // D with a tail
  check<TestType>(training(16, 65, 2, 1, 48), true);  // enough heads: no splits
  check<TestType>(training(1, 64, 5, 5, 128), true);
}

TEMPLATE_TEST_CASE("attention continues a cached sequence", "[attention]", float, bf16) {
  check<TestType>(continued(2, 1, 91, 90, 8, 2, 64), false);
  check<TestType>(continued(1, 1, 300, 129, 3, 3, 24), false);
  check<TestType>(continued(2, 37, 150, 100, 4, 1, 32), false);
}

TEMPLATE_TEST_CASE("attention stays inside documents", "[attention]", float, bf16) {
  check<TestType>(training(2, 128, 4, 2, 64), true, {0, 64});
  check<TestType>(training(1, 67, 3, 1, 32), true, {0, 1, 2, 66});
  check<TestType>(training(1, 200, 6, 2, 10), true, {0, 63, 65, 129, 199});
  check<TestType>(training(2, 300, 2, 1, 38), true, {0, 280});  // many hidden blocks before it
  check<TestType>(training(1, 150, 4, 4, 128), true, {0, 20, 40, 60, 80, 100, 120, 140});
  check<TestType>(training(16, 65, 2, 1, 48), true, {0, 33});  // no splits
  std::vector<std::int64_t> every_token(70);
  std::iota(every_token.begin(), every_token.end(), std::int64_t{0});
  check<TestType>(training(1, 70, 3, 1, 16), true, every_token);  // each token alone
}

TEMPLATE_TEST_CASE("documents differ from sequence to sequence", "[attention]", float, bf16) {
  check<TestType>(training(3, 131, 4, 2, 64), true, {17, 18, 90}, 7);  // one began before token 0
  check<TestType>(training(2, 99, 3, 1, 10), true, {50}, 31);
  check<TestType>(training(16, 77, 2, 1, 128), true, {5, 40}, 3);  // no splits
}

TEMPLATE_TEST_CASE("a continued sequence stays inside its document", "[attention]", float, bf16) {
  check<TestType>(continued(2, 37, 150, 100, 4, 1, 32), false, {70, 101, 120}, 2);
  check<TestType>(continued(2, 1, 300, 260, 6, 2, 10), false, {200},
                  60);  // the second sequence is one document
}

namespace {

/// Results of both directions, packed or document by document, in the rows of the packed ones.
template <class T>
struct Results {
  Matrix<T> o, d_q, d_k, d_v;

  explicit Results(Problem<T>& x)
      : o(x.q.rows(), x.q.cols()),
        d_q(x.q.rows(), x.q.cols()),
        d_k(x.k.rows(), x.k.cols()),
        d_v(x.k.rows(), x.k.cols()) {}

  /// Tokens first .. first + s.query_length - 1 of the only sequence.
  void run(Problem<T>& x, const AttentionShape& s, std::int64_t first,
           const device::ConstView& document_start) {
    Context context;
    Matrix<float> lse(s.num_q_heads, s.query_length);
    Matrix<float> scratch(1, kernels::attention_backward_scratch_elements(s));
    const auto rows = [&](Matrix<T>& m) { return m.view().row_range(first, s.query_length); };
    kernels::attention_forward(context, {.shape = s,
                                         .q = rows(x.q),
                                         .k = rows(x.k),
                                         .v = rows(x.v),
                                         .o = rows(o),
                                         .lse = lse.view(),
                                         .document_start = document_start});
    kernels::attention_backward(context, {.shape = s,
                                          .q = rows(x.q),
                                          .k = rows(x.k),
                                          .v = rows(x.v),
                                          .o = rows(o),
                                          .lse = lse.view(),
                                          .d_o = rows(x.d_o),
                                          .d_q = rows(d_q),
                                          .d_k = rows(d_k),
                                          .d_v = rows(d_v),
                                          .scratch = scratch.view(),
                                          .document_start = document_start});
  }
};

/// A pair: of documents packed into the sequence of `x`, and of each of them alone.
template <class T>
std::pair<Results<T>, Results<T>> packed_and_alone(Problem<T>& x,
                                                   const std::vector<std::int64_t>& begins) {
  x.set_documents(begins);
  std::pair<Results<T>, Results<T>> results{Results<T>(x), Results<T>(x)};
  results.first.run(x, x.shape, 0, x.keys_view());
  for (std::size_t d = 0; d < begins.size(); ++d) {
    AttentionShape own = x.shape;
    own.query_length = (d + 1 < begins.size() ? begins[d + 1] : x.shape.query_length) - begins[d];
    own.kv_length = own.query_length;
    results.second.run(x, own, begins[d], {});
  }
  return results;
}

template <class T>
double difference(const Matrix<T>& a, const Matrix<T>& b) {
  return testing::worst_error(a, [&](std::int64_t r, std::int64_t c) { return b(r, c); });
}

}  // namespace

TEMPLATE_TEST_CASE("packed documents attend as each of them alone", "[attention]", float, bf16) {
  // At bounds of tiles (64 / G queries) the blocks are the same, and so are the bits; with 16 kv
  // heads dk and dv are no sums of splits, whose number depends on the length.
  for (const std::int64_t q_heads : {16, 32, 64}) {
    Problem<TestType> x(training(1, 300, q_heads, 16, 10), 0);
    const auto [packed, alone] = packed_and_alone(x, {0, 64, 256});
    CHECK(packed.o.same_bits(alone.o));
    CHECK(packed.d_q.same_bits(alone.d_q));
    CHECK(packed.d_k.same_bits(alone.d_k));
    CHECK(packed.d_v.same_bits(alone.d_v));
  }
  // Elsewhere the order of the sums differs: each side is within the tolerance of the definition.
  for (const std::int64_t head_dim : {10, 64, 128}) {
    Problem<TestType> x(training(1, 203, 6, 2, head_dim), 0);
    const auto [packed, alone] = packed_and_alone(x, {0, 1, 40, 41, 42, 133, 202});
    CHECK(difference(packed.o, alone.o) < 2 * kTolerance<TestType>);
    CHECK(difference(packed.d_q, alone.d_q) < 2 * kTolerance<TestType>);
    CHECK(difference(packed.d_k, alone.d_k) < 2 * kTolerance<TestType>);
    CHECK(difference(packed.d_v, alone.d_v) < 2 * kTolerance<TestType>);
  }
}

TEMPLATE_TEST_CASE("document starts of 0 are causal attention, bit for bit", "[attention]", float,
                   bf16) {
  Problem<TestType> x(training(1, 203, 6, 2, 38), 0);
  x.set_documents({0});
  Results<TestType> causal(x), one_document(x);
  causal.run(x, x.shape, 0, {});
  one_document.run(x, x.shape, 0, x.keys_view());
  CHECK(causal.o.same_bits(one_document.o));
  CHECK(causal.d_q.same_bits(one_document.d_q));
  CHECK(causal.d_k.same_bits(one_document.d_k));
  CHECK(causal.d_v.same_bits(one_document.d_v));
}

TEMPLATE_TEST_CASE("what another document holds does not matter", "[attention]", float, bf16) {
  // Huge scores in the hidden half of a tile: their exponentials overflow unless they are hidden.
  Problem<TestType> x(training(1, 100, 2, 1, 64), 0);
  x.set_documents({0, 23});
  Results<TestType> before(x), after(x);
  before.run(x, x.shape, 0, x.keys_view());
  for (std::int64_t row = 0; row < 23; ++row)
    for (std::int64_t c = 0; c < x.k.cols(); ++c) {
      x.k.at(row, c) = TestType(1000.0f * static_cast<float>(x.q(30, c)));
      x.v.at(row, c) = TestType(1e4f);
    }
  after.run(x, x.shape, 0, x.keys_view());
  for (std::int64_t row = 23; row < 100; ++row) {
    for (std::int64_t c = 0; c < x.q.cols(); ++c) {
      REQUIRE(before.o(row, c) == after.o(row, c));
      REQUIRE(before.d_q(row, c) == after.d_q(row, c));
    }
    for (std::int64_t c = 0; c < x.k.cols(); ++c) {
      REQUIRE(before.d_k(row, c) == after.d_k(row, c));
      REQUIRE(before.d_v(row, c) == after.d_v(row, c));
    }
  }
}

TEST_CASE("document starts out of order are refused", "[attention]") {
  Problem<float> x(training(1, 5, 2, 1, 16), 0);
  Results<float> results(x);
  const auto run = [&](std::vector<std::int32_t> keys) {
    x.document_start = std::move(keys);
    results.run(x, x.shape, 0, x.keys_view());
  };
  CHECK_NOTHROW(run({0, 0, 2, 2, 4}));
  CHECK_THROWS(run({0, 0, 2, 1, 4}));   // falls
  CHECK_THROWS(run({0, 0, 3, 3, 3}));   // behind the query's own position
  CHECK_THROWS(run({-1, 0, 0, 0, 0}));  // before the sequence
  CHECK_THROWS(run({0, 0, 0}));         // too few
}

TEST_CASE("attention survives large scores and shows NaN", "[attention]") {
  const AttentionShape s = training(1, 70, 2, 1, 16);
  Problem<float> x(s, 0);
  x.q.randomize("q", 100.0);
  const Reference want = x.reference();
  Context context;
  Matrix<float> o(x.q.rows(), x.q.cols());
  Matrix<float> lse(2, 70);
  const kernels::AttentionForward call{.shape = s,
                                       .q = x.q.view(),
                                       .k = x.k.view(),
                                       .v = x.v.view(),
                                       .o = o.view(),
                                       .lse = lse.view()};
  kernels::attention_forward(context, call);
  CHECK(error_of(o, want.o) < 1e-3);  // scores of 1000 carry errors of 1e-4 into the exponent
  x.k.at(20, 3) = NAN;
  kernels::attention_forward(context, call);
  CHECK(std::isnan(lse(0, 20)));
  CHECK(std::isnan(o(69, 0)));
  CHECK_FALSE(std::isnan(o(19, 0)));
}

}  // namespace espalier
