#pragma once
// Attention by several ranks, each with blocks of every sequence's queries and all of its keys, as
// context parallelism has them, beside one that has all queries.
#include <algorithm>
#include <random>

#include "kernels/attention/attention.hpp"
#include "unit/kernels/support.hpp"

namespace espalier::testing {

/// Which blocks a rank gets. Head and tail: it has as many from the beginning as from the end.
enum class Deal { contiguous, head_tail, random };

/// Per rank, (B, blocks of a sequence): where its blocks begin. A random deal differs from sequence
/// to sequence.
inline std::vector<std::vector<std::int32_t>> dealt_blocks(Deal deal, std::int64_t num_ranks,
                                                           std::int64_t batch,
                                                           std::int64_t num_blocks,
                                                           std::int64_t block_length) {
  std::vector<std::vector<std::int32_t>> starts(static_cast<std::size_t>(num_ranks));
  std::mt19937 random(5);
  const std::int64_t each = num_blocks / num_ranks;
  for (std::int64_t b = 0; b < batch; ++b) {
    std::vector<std::int64_t> rank_of(static_cast<std::size_t>(num_blocks));
    for (std::int64_t j = 0; j < num_blocks; ++j) {
      const std::int64_t chunk = 2 * j / each;
      rank_of[static_cast<std::size_t>(j)] = deal == Deal::head_tail && chunk >= num_ranks
                                                 ? 2 * num_ranks - 1 - chunk
                                             : deal == Deal::head_tail ? chunk
                                                                       : j / each;
    }
    if (deal == Deal::random)
      for (std::size_t j = rank_of.size() - 1; j > 0; --j)
        std::swap(rank_of[j], rank_of[random() % (j + 1)]);
    for (std::int64_t j = 0; j < num_blocks; ++j)
      starts[static_cast<std::size_t>(rank_of[static_cast<std::size_t>(j)])].push_back(
          static_cast<std::int32_t>(j * block_length));
  }
  return starts;
}

/// Whole sequences: `shape` is that of one rank with all queries, in blocks.
template <class T>
struct Sequences {
  kernels::AttentionShape shape;
  Matrix<T> q, k, v, d_o;
  std::vector<std::int32_t> document_start = {};  ///< empty: none

  explicit Sequences(const kernels::AttentionShape& s, std::int64_t padding = 8)
      : shape(s),
        q(s.batch * s.query_length, s.num_q_heads * s.head_dim, padding),
        k(s.batch * s.kv_length, s.num_kv_heads * s.head_dim, 3 * padding),
        v(s.batch * s.kv_length, s.num_kv_heads * s.head_dim, 2 * padding),
        d_o(s.batch * s.query_length, s.num_q_heads * s.head_dim, padding) {
    q.randomize("q", 1.5);
    k.randomize("k");
    v.randomize("v");
    d_o.randomize("d_o");
  }
  /// Documents begin at these tokens of the first sequence, `shift` later in each further one.
  void set_documents(const std::vector<std::int64_t>& begins, std::int64_t shift) {
    for (std::int64_t b = 0; b < shape.batch; ++b)
      for (std::int64_t t = 0; t < shape.query_length; ++t) {
        std::int64_t first = 0;
        for (const std::int64_t begin : begins)
          if (begin + b * shift <= t) first = begin + b * shift;
        document_start.push_back(static_cast<std::int32_t>(first));
      }
  }
  std::vector<std::int32_t> all_starts() const {
    return dealt_blocks(Deal::contiguous, 1, shape.batch, shape.kv_length / shape.block_length,
                        shape.block_length)[0];
  }
};

template <class T>
struct ForwardOfRank {
  Matrix<T> o;
  Matrix<float> lse;
};
template <class T>
struct GradientsOfRank {
  Matrix<T> d_q;
  Matrix<float> d_k, d_v;
};

/// What one rank has of the sequences.
template <class T>
class RankOfContext {
 public:
  RankOfContext(Sequences<T>& whole, const std::vector<std::int32_t>& starts,
                kernels::AttentionProvider provider = kernels::AttentionProvider::automatic)
      : whole_(whole),
        shape_(whole.shape),
        starts_(starts),
        block_starts_(starts),
        provider_(provider),
        q_(1, 1),
        d_o_(1, 1),
        document_start_({}) {
    shape_.query_length =
        static_cast<std::int64_t>(starts.size()) / shape_.batch * shape_.block_length;
    q_ = rows_of(whole.q);
    d_o_ = rows_of(whole.d_o);
    if (whole.document_start.empty()) return;
    std::vector<std::int32_t> firsts;
    for_each_row([&](std::int64_t, std::int64_t token) {
      firsts.push_back(whole.document_start[static_cast<std::size_t>(token)]);
    });
    document_start_ = Ids<std::int32_t>(firsts);
  }

  const kernels::AttentionShape& shape() const { return shape_; }
  /// Its rows of a matrix of all queries.
  template <class U>
  Matrix<U> rows_of(const Matrix<U>& all) const {
    Matrix<U> own(shape_.batch * shape_.query_length, all.cols(), 8);
    for_each_row([&](std::int64_t row, std::int64_t token) {
      for (std::int64_t c = 0; c < all.cols(); ++c) own.at(row, c) = U(value(all, token, c));
    });
    return own;
  }
  /// Its columns of the lse of all queries.
  Matrix<float> lse_of(const Matrix<float>& all) const {
    Matrix<float> own(all.rows(), shape_.query_length, 3);
    for_each_row([&](std::int64_t row, std::int64_t token) {
      const std::int64_t b = row / shape_.query_length;
      for (std::int64_t h = 0; h < shape_.num_q_heads; ++h)
        own.at(b * shape_.num_q_heads + h, row % shape_.query_length) =
            value(all, b * shape_.num_q_heads + h, token % whole_.shape.query_length);
    });
    return own;
  }

  /// run(AttentionForward)
  template <class Run>
  ForwardOfRank<T> forward(const Run& run) {
    ForwardOfRank<T> result{
        Matrix<T>(q_.rows(), q_.cols(), 8),
        Matrix<float>(shape_.batch * shape_.num_q_heads, shape_.query_length, 3)};
    run(kernels::AttentionForward{.shape = shape_,
                                  .q = q_.view(),
                                  .k = whole_.k.view(),
                                  .v = whole_.v.view(),
                                  .o = result.o.view(),
                                  .lse = result.lse.view(),
                                  .document_start = document_start(),
                                  .block_starts = block_starts_.view(),
                                  .provider = provider_});
    return result;
  }
  /// run(AttentionBackward), of a forward pass with these results. What the gradients are summed
  /// into is full of other numbers before.
  template <class Run>
  GradientsOfRank<T> backward(const Run& run, ForwardOfRank<T>& of_forward,
                              std::int64_t scratch_elements) {
    GradientsOfRank<T> result{Matrix<T>(q_.rows(), q_.cols(), 16),
                              Matrix<float>(whole_.k.rows(), whole_.k.cols(), 8),
                              Matrix<float>(whole_.v.rows(), whole_.v.cols(), 24)};
    result.d_q.fill(NAN);
    result.d_k.fill(NAN);
    result.d_v.fill(NAN);
    Matrix<float> scratch(1, scratch_elements);
    scratch.fill(NAN);
    run(kernels::AttentionBackward{.shape = shape_,
                                   .q = q_.view(),
                                   .k = whole_.k.view(),
                                   .v = whole_.v.view(),
                                   .o = of_forward.o.view(),
                                   .lse = of_forward.lse.view(),
                                   .d_o = d_o_.view(),
                                   .d_q = result.d_q.view(),
                                   .d_k = result.d_k.view(),
                                   .d_v = result.d_v.view(),
                                   .scratch = scratch.view(),
                                   .document_start = document_start(),
                                   .block_starts = block_starts_.view(),
                                   .provider = provider_});
    return result;
  }

 private:
  device::ConstView document_start() {
    return whole_.document_start.empty() ? device::ConstView{}
                                         : device::ConstView(document_start_.view());
  }
  template <class U>
  static U value(const Matrix<U>& matrix, std::int64_t r, std::int64_t c) {
    return U(static_cast<float>(matrix(r, c)));
  }
  /// body(own row, row of all queries)
  template <class Body>
  void for_each_row(const Body& body) const {
    for (std::int64_t row = 0; row < shape_.batch * shape_.query_length; ++row) {
      const std::int64_t b = row / shape_.query_length;
      const std::int64_t start = starts_[static_cast<std::size_t>(row / shape_.block_length)];
      body(row, b * whole_.shape.query_length + start + row % shape_.block_length);
    }
  }

  Sequences<T>& whole_;
  kernels::AttentionShape shape_;
  std::vector<std::int32_t> starts_;
  Ids<std::int32_t> block_starts_;
  kernels::AttentionProvider provider_;
  Matrix<T> q_, d_o_;
  Ids<std::int32_t> document_start_;
};

/// sum += part
inline void add_to(Matrix<float>& sum, const Matrix<float>& part) {
  for (std::int64_t r = 0; r < sum.rows(); ++r)
    for (std::int64_t c = 0; c < sum.cols(); ++c) sum.at(r, c) += static_cast<float>(part(r, c));
}

}  // namespace espalier::testing
