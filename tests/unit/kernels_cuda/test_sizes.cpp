// Sizes of real models, without their memory: how launchers cut matrices that 32 bits do not count,
// and every operator on rows so far apart that 32 bits do not reach from one to the next.
#include <sys/mman.h>

#include <memory>
#include <set>
#include <span>
#include <utility>

#include "cases.hpp"
#include "kernels/cuda/attention_providers.hpp"
#include "kernels/cuda/block_order.hpp"
#include "kernels/cuda/row_sums.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/moe/grouped_kernels.hpp"

namespace espalier::kernels::emulated {
namespace {

using device::View;
using testing::Matrix;
using testing::TestQueue;

/// Address space of which only the pages that are touched take memory.
class Reserved {
 public:
  explicit Reserved(std::size_t bytes)
      : bytes_(bytes),
        data_(mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    require(data_ != MAP_FAILED, ExitStatus::internal,
            "{} bytes of address space: raise ulimit -v, or vm.overcommit_memory is 2", bytes);
  }
  Reserved(const Reserved&) = delete;
  Reserved& operator=(const Reserved&) = delete;
  ~Reserved() { munmap(data_, bytes_); }
  void* data() const { return data_; }

 private:
  std::size_t bytes_;
  void* data_;
};

/// The same matrix with its rows close together and with its rows far apart.
class MatrixPair {
 public:
  /// Elements from one row to the next: neither the product with a row's number nor its lower 32
  /// bits fit into an int. A multiple of 16 bytes.
  static constexpr std::int64_t kFar = (std::int64_t{1} << 31) + 64;
  static constexpr std::int64_t kPadding = 8;

  explicit MatrixPair(const View& near)
      : near_(near),
        row_bytes_(static_cast<std::size_t>(near.cols) * size_of(near.dtype)),
        memory_(static_cast<std::size_t>((near.rows - 1) * kFar) * size_of(near.dtype) +
                row_bytes_) {
    for (std::int64_t r = 0; r < near.rows; ++r)
      std::memcpy(far().row_range(r, 1).data, near_.row_range(r, 1).data, row_bytes_);
  }
  View near() const { return near_; }
  View far() const { return {memory_.data(), near_.dtype, near_.rows, near_.cols, kFar}; }
  bool same() const {
    for (std::int64_t r = 0; r < near_.rows; ++r)
      if (std::memcmp(far().row_range(r, 1).data, near_.row_range(r, 1).data, row_bytes_) != 0)
        return false;
    return true;
  }

 private:
  View near_;
  std::size_t row_bytes_;
  Reserved memory_;
};

/// The matrices of one operator.
class MatrixPairs {
 public:
  template <class T>
  const MatrixPair& add(std::string_view stream, std::int64_t rows, std::int64_t cols) {
    auto matrix = std::make_shared<Matrix<T>>(rows, cols, MatrixPair::kPadding);
    matrix->randomize(stream);
    matrices_.push_back(matrix);
    pairs_.push_back(std::make_unique<MatrixPair>(matrix->view()));
    return *pairs_.back();
  }
  /// run(view of a pair) with the views near and far; then the bits of all matrices are the same.
  template <class Run>
  void check(const Run& run) {
    run([](const MatrixPair& pair) { return pair.near(); });
    run([](const MatrixPair& pair) { return pair.far(); });
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
      CAPTURE(i);
      CHECK(pairs_[i]->same());
    }
  }

 private:
  std::vector<std::shared_ptr<void>> matrices_;
  std::vector<std::unique_ptr<MatrixPair>> pairs_;
};

constexpr std::int64_t kRows = 3, kCols = 48;

}  // namespace

TEST_CASE("tiles of matrices that 32 bits do not count", "[sizes]") {
  constexpr std::int64_t kVocabulary = 151936, kHidden = 8192;
  // Five of Qwen3's largest embedding in one matrix: 6.2e9 elements.
  const Tiling contiguous(5 * kVocabulary, kHidden, /*contiguous=*/true);
  CHECK(contiguous.num_tiles() == 5 * kVocabulary * kHidden / kTileColumns);
  const Tile last = contiguous.tile(contiguous.num_tiles() - 1);
  CHECK(last.row == 0);
  CHECK(last.first == 5 * kVocabulary * kHidden - kTileColumns);
  CHECK(last.count == kTileColumns);

  // Logits of 2^20 tokens: rows of 18 whole tiles and a part.
  const Tiling logits(std::int64_t{1} << 20, kVocabulary, /*contiguous=*/false);
  CHECK(logits.tiles_per_row == 19);
  const Tile end = logits.tile(logits.num_tiles() - 1);
  CHECK(end.row == (std::int64_t{1} << 20) - 1);
  CHECK(end.first == 18 * kTileColumns);
  CHECK(end.count == kVocabulary - 18 * kTileColumns);
  CHECK_NOTHROW(require_launchable({logits.num_tiles(), kTileThreads}));

  const Tiling huge(1, std::int64_t{1} << 43, /*contiguous=*/true);
  CHECK_NOTHROW(require_launchable({huge.num_tiles(), kTileThreads}));
  CHECK(huge.tile(huge.num_tiles() - 1).first == (std::int64_t{1} << 43) - kTileColumns);
}

TEST_CASE("slices of rows cover every number of tokens", "[sizes]") {
  for (const std::int64_t rows :
       {std::int64_t{1}, std::int64_t{2049}, std::int64_t{1} << 20, (std::int64_t{1} << 31) + 1}) {
    CAPTURE(rows);
    const RowSlices slices(rows);
    CHECK(slices.num_slices <= kMaxSlices);
    CHECK(slices.num_slices * slices.rows_per_slice >= rows);
    CHECK((slices.num_slices - 1) * slices.rows_per_slice < rows);
  }
}

TEST_CASE("blocks of attention take every tile of every head once, section by section", "[sizes]") {
  constexpr int kTiles = 5;
  for (const int heads : {1, 6, 14})
    for (const int group : {1, 2})
      for (const std::int64_t cache_bytes : {0, 100, 350, 100000}) {
        CAPTURE(heads, group, cache_bytes);
        const auto order = BlockOrder::of(heads, kTiles, group, 100, cache_bytes);
        CHECK((order.section == heads || order.section % group == 0));
        CHECK((order.section <= group || order.section / group * 100 <= cache_bytes));
        std::set<std::pair<int, int>> seen;
        int last_section = 0;
        for (std::int64_t block = 0; block < order.num_blocks(); ++block) {
          const auto [head, tile] = order.place(block);
          CHECK((head >= 0 && head < heads && tile >= 0 && tile < kTiles));
          CHECK(head / order.section >= last_section);
          last_section = head / order.section;
          seen.emplace(head, tile);
        }
        CHECK(static_cast<int>(seen.size()) == heads * kTiles);
      }
}

TEST_CASE("a grid that no device can launch is an error before the launch", "[sizes]") {
  const std::int64_t most = (std::int64_t{1} << 31) - 1;
  CHECK_NOTHROW(require_launchable({most, 1024}));
  CHECK_THROWS_WITH(require_launchable({most + 1, 128}),
                    Catch::Matchers::Contains("2147483648 blocks"));
  CHECK_THROWS_WITH(require_launchable({-1, 128}), Catch::Matchers::Contains("-1 blocks"));
  for (const int threads : {0, 33, 1056})
    CHECK_THROWS_WITH(require_launchable({1, threads}),
                      Catch::Matchers::Contains(fmt::format("blocks of {} threads", threads)));
}

TEST_CASE("norms of rows far apart", "[sizes]") {
  TestQueue queue;
  MatrixPairs pairs;
  const MatrixPair& x = pairs.add<bf16>("x", kRows, kCols);
  const MatrixPair& delta = pairs.add<bf16>("delta", kRows, kCols);
  const MatrixPair& weight = pairs.add<bf16>("weight", 1, kCols);
  const MatrixPair& bias = pairs.add<bf16>("bias", 1, kCols);
  const MatrixPair& residual = pairs.add<bf16>("residual", kRows, kCols);
  const MatrixPair& y = pairs.add<bf16>("y", kRows, kCols);
  const MatrixPair& inverse_rms = pairs.add<float>("rms", 1, kRows);
  const MatrixPair& statistics = pairs.add<float>("statistics", 2, kRows);
  const MatrixPair& dx = pairs.add<bf16>("dx", kRows, kCols);
  const MatrixPair& d_weight = pairs.add<float>("d_weight", 1, kCols);
  const MatrixPair& d_bias = pairs.add<float>("d_bias", 1, kCols);
  pairs.check([&](auto at) {
    rmsnorm_forward(queue, {at(x), at(delta), at(weight), at(residual), at(y), at(inverse_rms),
                            /*eps=*/1e-6f});
    rmsnorm_backward(
        queue, {at(y), at(residual), at(weight), at(inverse_rms), at(delta), at(dx), at(d_weight)});
    layernorm_forward(queue, {at(x), at(delta), at(weight), at(bias), at(residual), at(y),
                              at(statistics), /*eps=*/1e-6f});
    layernorm_backward(queue, {at(y), at(residual), at(weight), at(statistics), at(delta), at(dx),
                               at(d_weight), at(d_bias)});
    bias_backward(queue, {at(dx), at(d_bias)});
  });
}

TEST_CASE("element by element over rows far apart", "[sizes]") {
  TestQueue queue;
  MatrixPairs pairs;
  const MatrixPair& wide = pairs.add<bf16>("wide", kRows, 2 * kCols);
  const MatrixPair& d_wide = pairs.add<bf16>("d_wide", kRows, 2 * kCols);
  const MatrixPair& out = pairs.add<bf16>("out", kRows, kCols);
  const MatrixPair& other = pairs.add<bf16>("other", kRows, kCols);
  const MatrixPair& master = pairs.add<float>("master", kRows, kCols);
  const MatrixPair& gradient = pairs.add<float>("gradient", kRows, kCols);
  const MatrixPair& m = pairs.add<float>("m", kRows, kCols);
  const MatrixPair& v = pairs.add<float>("v", kRows, kCols);
  double squares[2] = {-1.0, -2.0};
  int turn = 0;
  pairs.check([&](auto at) {
    swiglu_forward(queue, {at(wide), at(out)});
    swiglu_backward(queue, {at(wide), at(out), at(d_wide), at(other)});
    gelu_forward(queue, {at(out), at(other)});
    gelu_backward(queue, {at(out), at(other), at(out), at(other)});
    cast(queue, at(master), at(out));
    set_zero(queue, at(v));
    const AdamW step{.gradient = at(gradient),
                     .master = at(master),
                     .m = at(m),
                     .v = at(v),
                     .weight = at(other),
                     .learning_rate = 0.1f,
                     .beta1 = 0.9f,
                     .beta2 = 0.95f,
                     .eps = 1e-8f,
                     .weight_decay = 0.1f,
                     .gradient_scale = 0.5f,
                     .step = 3};
    adamw(queue, std::span(&step, 1));
    const device::ConstView long_rows = at(master);
    sums_of_squares(queue, device::view_of(&squares[turn++], 1, 1), {&long_rows, 1});
  });
  CHECK(squares[0] == squares[1]);
}

TEST_CASE("tables and logits with rows far apart", "[sizes]") {
  TestQueue queue;
  MatrixPairs pairs;
  testing::Ids<std::uint32_t> tokens({2, 0, 2});
  testing::Ids<std::int32_t> positions({1, 2, 0});
  const MatrixPair& table = pairs.add<bf16>("table", kRows, kCols);
  const MatrixPair& x = pairs.add<bf16>("x", kRows, kCols);
  const MatrixPair& d_table = pairs.add<float>("d_table", kRows, kCols);
  const MatrixPair& statistics = pairs.add<float>("statistics", kRows, 3);
  const MatrixPair& loss = pairs.add<float>("loss", 1, kRows);
  const MatrixPair& lse = pairs.add<float>("lse", 1, kRows);
  pairs.check([&](auto at) {
    embedding_forward(queue, {tokens.view(), at(table), 0, at(x)});
    positions_forward(queue, {positions.view(), at(table), at(x)});
    embedding_backward(queue, {tokens.view(), at(x), 0, at(d_table), {}});
    positions_backward(queue, {positions.view(), at(x), at(d_table)});
    cross_entropy_statistics(queue, {at(x), tokens.view(), 0, kCols, at(statistics)});
    cross_entropy_combine(queue, {at(statistics), tokens.view(), 1, at(loss), at(lse)});
    cross_entropy_backward(queue, {at(x), tokens.view(), at(lse), 0, kCols, 0.25f});
  });
}

TEST_CASE("QK-norm and RoPE of tokens far apart", "[sizes]") {
  constexpr std::int64_t kHeadDim = 16, kQ = 2, kKv = 1;
  TestQueue queue;
  MatrixPairs pairs;
  testing::Ids<std::int32_t> positions({1, 2, 0});
  const MatrixPair& qkv = pairs.add<bf16>("qkv", kRows, (kQ + 2 * kKv) * kHeadDim);
  const MatrixPair& qk = pairs.add<bf16>("qk", kRows, (kQ + kKv) * kHeadDim);
  const MatrixPair& d_qkv = pairs.add<bf16>("d_qkv", kRows, (kQ + 2 * kKv) * kHeadDim);
  const MatrixPair& weight = pairs.add<bf16>("weight", 1, kHeadDim);
  const MatrixPair& cos = pairs.add<float>("cos", kRows, kHeadDim / 2);
  const MatrixPair& sin = pairs.add<float>("sin", kRows, kHeadDim / 2);
  const MatrixPair& d_q = pairs.add<float>("d_q_weight", 1, kHeadDim);
  const MatrixPair& d_k = pairs.add<float>("d_k_weight", 1, kHeadDim);
  pairs.check([&](auto at) {
    qk_norm_rope_forward(queue, {at(qkv),
                                 at(weight),
                                 at(weight),
                                 positions.view(),
                                 {at(cos), at(sin)},
                                 at(qk),
                                 kQ,
                                 kKv,
                                 kHeadDim,
                                 1e-6f});
    qk_norm_rope_backward(queue, {at(qk),
                                  at(qkv),
                                  at(weight),
                                  at(weight),
                                  positions.view(),
                                  {at(cos), at(sin)},
                                  at(d_qkv),
                                  at(d_q),
                                  at(d_k),
                                  kQ,
                                  kKv,
                                  kHeadDim,
                                  1e-6f});
  });
}

TEST_CASE("experts of tokens far apart", "[sizes]") {
  constexpr std::int64_t kChosen = 2;
  TestQueue queue;
  MatrixPairs pairs;
  testing::Ids<std::int32_t> order(
      std::vector<std::int32_t>(static_cast<std::size_t>(kRows * kChosen))),
      counts(std::vector<std::int32_t>(static_cast<std::size_t>(kCols)));
  testing::Ids<double> sums(std::vector<double>(2));
  const MatrixPair& logits = pairs.add<float>("logits", kRows, kCols);
  const MatrixPair& p = pairs.add<float>("p", kRows, kCols);
  const MatrixPair& d_logits = pairs.add<float>("d_logits", kRows, kCols);
  const MatrixPair& lse = pairs.add<float>("lse", 1, kRows);
  const MatrixPair& experts = pairs.add<std::int32_t>("experts", kRows, kChosen);
  const MatrixPair& place = pairs.add<std::int32_t>("place", kRows, kChosen);
  const MatrixPair& weights = pairs.add<float>("weights", kRows, kChosen);
  const MatrixPair& counts_of_sequences = pairs.add<float>("counts", kRows, kCols);
  const MatrixPair& x = pairs.add<bf16>("x", kRows, kCols);
  const MatrixPair& rows = pairs.add<bf16>("rows", kRows * kChosen, kCols);
  const MatrixPair& out = pairs.add<bf16>("out", kRows, kCols);
  const MatrixPair& gate_up = pairs.add<bf16>("gate_up", kRows, 2 * kCols);
  const MatrixPair& d_gate_up = pairs.add<bf16>("d_gate_up", kRows, 2 * kCols);
  const MatrixPair& row_weights = pairs.add<float>("row_weights", kRows, 1);
  const MatrixPair& d_row_weights = pairs.add<float>("d_row_weights", kRows, 1);
  const TokenPlace by_token{.first_token = 0, .tokens_per_sequence = 1};
  pairs.check([&](auto at) {
    router_forward(queue, {at(logits), {}, true, at(p), at(lse), at(experts), at(weights)});
    count_choices(queue, {at(experts), by_token, at(counts_of_sequences)});
    router_backward(queue, {at(p), at(lse), at(experts), at(weights), true, at(weights),
                            at(counts_of_sequences), by_token, 0.1f, 0.1f, at(d_logits)});
    balance_loss(queue,
                 {at(p), at(lse), at(counts_of_sequences), by_token, 0.1f, 0.1f, sums.view()});
    sort_by_expert(queue, {at(experts), order.view(), at(place), counts.view()});
    gather_rows(queue, {at(x), order.view(), kChosen, at(rows)});
    combine_rows(queue, {at(rows), at(place), at(weights), at(x), at(out)});
    expert_swiglu_backward(
        queue, {at(gate_up), at(x), at(row_weights), at(d_gate_up), at(out), at(d_row_weights)});
  });
}

TEST_CASE("grouped products of rows far apart", "[sizes]") {
  constexpr std::int64_t kOut = 8;
  const std::vector<std::int64_t> offsets = {0, 1, kRows};
  for (const auto multiply : {grouped_reference, grouped_mma, grouped_wgmma}) {
    TestQueue queue;
    MatrixPairs pairs;
    const MatrixPair& x = pairs.add<bf16>("x", kRows, kCols);
    const MatrixPair& w = pairs.add<bf16>("w", 2 * kOut, kCols);
    const MatrixPair& y = pairs.add<bf16>("y", kRows, kOut);
    const MatrixPair& dx = pairs.add<bf16>("dx", kRows, kCols);
    const MatrixPair& dw = pairs.add<float>("dw", 2 * kOut, kCols);
    pairs.check([&](auto at) {
      multiply(queue, {GroupedKind::forward, at(x), at(w), at(y), offsets});
      multiply(queue, {GroupedKind::backward_input, at(y), at(w), at(dx), offsets});
      multiply(queue, {GroupedKind::backward_weight, at(y), at(x), at(dw), offsets});
    });
  }
}

TEST_CASE("attention over tokens far apart", "[sizes]") {
  constexpr std::int64_t kHeadDim = 64, kQ = 2, kKv = 1, kTokens = 3;
  using ForwardPass = void (*)(const Queue&, const AttentionForward&);
  using BackwardPass = void (*)(const Queue&, const AttentionBackward&);
  const auto check = [&](ForwardPass forward, BackwardPass backward) {
    TestQueue queue;
    MatrixPairs pairs;
    const AttentionShape shape{.batch = 2,
                               .query_length = kTokens,
                               .kv_length = kTokens,
                               .num_q_heads = kQ,
                               .num_kv_heads = kKv,
                               .head_dim = kHeadDim};
    const auto tokens = [&](const char* name, std::int64_t heads) -> const MatrixPair& {
      return pairs.add<bf16>(name, shape.batch * kTokens, heads * kHeadDim);
    };
    const MatrixPair &q = tokens("q", kQ), &k = tokens("k", kKv), &v = tokens("v", kKv);
    const MatrixPair &o = tokens("o", kQ), &d_o = tokens("d_o", kQ), &d_q = tokens("d_q", kQ);
    const MatrixPair &d_k = tokens("d_k", kKv), &d_v = tokens("d_v", kKv);
    const MatrixPair& lse = pairs.add<float>("lse", shape.batch * kQ, kTokens);
    Matrix<float> scratch(1, attention_backward_scratch_elements(shape));
    pairs.check([&](auto at) {
      forward(queue,
              {.shape = shape, .q = at(q), .k = at(k), .v = at(v), .o = at(o), .lse = at(lse)});
      backward(queue, {.shape = shape,
                       .q = at(q),
                       .k = at(k),
                       .v = at(v),
                       .o = at(o),
                       .lse = at(lse),
                       .d_o = at(d_o),
                       .d_q = at(d_q),
                       .d_k = at(d_k),
                       .d_v = at(d_v),
                       .scratch = scratch.view()});
    });
  };
  SECTION("reference") {
    check(attention_forward_reference, attention_backward_reference);
  }
  SECTION("mma") {
    check(attention_forward_mma, attention_backward_mma);
  }
  SECTION("wgmma") {
    check(attention_forward_wgmma, attention_backward_wgmma);
  }
}

}  // namespace espalier::kernels::emulated
