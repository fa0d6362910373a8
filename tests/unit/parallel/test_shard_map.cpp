#include "parallel/layout/shard_map.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "base/error.hpp"

using namespace espalier::parallel;
using espalier::Error;
using espalier::ExitStatus;

namespace {

TensorSpec spec_of(std::string name, std::int64_t rows, std::int64_t cols, ShardRule rule,
                   std::int64_t num_kv_heads = 0) {
  TensorSpec spec;
  spec.name = std::move(name);
  spec.rows = rows;
  spec.cols = cols;
  spec.is_vector = cols == 1;
  spec.shard = rule;
  spec.num_kv_heads = num_kv_heads;
  return spec;
}

/// One tensor per rule, with sizes that divide by 1, 2, 4 and 8 only where the rule wants it.
std::vector<TensorSpec> table() {
  return {spec_of("norm", 19, 1, ShardRule::none),
          spec_of("q", 48, 5, ShardRule::rows),
          spec_of("o", 7, 64, ShardRule::columns),
          spec_of("embedding", 37, 6, ShardRule::vocab_rows),
          spec_of("small vocabulary", 5, 2, ShardRule::vocab_rows),
          spec_of("k, K = 1", 6, 4, ShardRule::kv_rows, 1),
          spec_of("k, K = 2", 12, 4, ShardRule::kv_rows, 2),
          spec_of("k, K = 8", 24, 3, ShardRule::kv_rows, 8)};
}

bool names_configuration(const Error& error) {
  return error.status() == ExitStatus::bad_configuration &&
         error.met() == espalier::Met::by_every_rank;
}

}  // namespace

TEST_CASE("rectangles intersect") {
  const Rectangle a{0, 4, 2, 6};
  REQUIRE(intersect(a, {2, 8, 0, 3}) == Rectangle{2, 4, 2, 3});
  REQUIRE(intersect(a, a) == a);
  REQUIRE(intersect(a, {4, 8, 0, 9}) == Rectangle{});
  REQUIRE(intersect(a, {0, 4, 6, 9}).empty());
}

TEST_CASE("the rules divide as the table says") {
  REQUIRE(tensor_shard(spec_of("w", 12, 5, ShardRule::none), 1, 4) == Rectangle{0, 12, 0, 5});
  REQUIRE(tensor_shard(spec_of("w", 12, 5, ShardRule::rows), 1, 4) == Rectangle{3, 6, 0, 5});
  REQUIRE(tensor_shard(spec_of("w", 5, 12, ShardRule::columns), 3, 4) == Rectangle{0, 5, 9, 12});

  // V = 10 over 4: padded to 3 rows each, the last rank holds one.
  const auto vocab = spec_of("w", 10, 2, ShardRule::vocab_rows);
  REQUIRE(allocated_rows(vocab, 4) == 3);
  REQUIRE(tensor_shard(vocab, 2, 4) == Rectangle{6, 9, 0, 2});
  REQUIRE(tensor_shard(vocab, 3, 4) == Rectangle{9, 10, 0, 2});
  // V = 5 over 4: two rows each, and nothing left for the last.
  const auto tiny = spec_of("w", 5, 2, ShardRule::vocab_rows);
  REQUIRE(tensor_shard(tiny, 2, 4) == Rectangle{4, 5, 0, 2});
  REQUIRE(tensor_shard(tiny, 3, 4).empty());
  REQUIRE(allocated_rows(tiny, 4) == 2);
}

TEST_CASE("kv heads are replicated when there are more ranks than heads") {
  const auto one = spec_of("k", 6, 4, ShardRule::kv_rows, 1);
  const auto two = spec_of("k", 12, 4, ShardRule::kv_rows, 2);
  for (int t = 0; t < 4; ++t) {
    REQUIRE(tensor_shard(one, t, 4) == Rectangle{0, 6, 0, 4});
    REQUIRE(tensor_shard(two, t, 4) == (t < 2 ? Rectangle{0, 6, 0, 4} : Rectangle{6, 12, 0, 4}));
    REQUIRE(counts_here(one, t, 4) == (t == 0));
    REQUIRE(counts_here(two, t, 4) == (t % 2 == 0));
  }
  REQUIRE(tensor_shard(two, 1, 2) == Rectangle{6, 12, 0, 4});
  REQUIRE(kv_replication(8, 1) == 1);
  REQUIRE(kv_replication(8, 8) == 1);
  REQUIRE(kv_replication(8, 16) == 2);
  REQUIRE(kv_replication(1, 4) == 4);
  REQUIRE(allocated_rows(two, 4) == 6);
}

TEST_CASE("what does not divide is the configuration's fault and every rank's") {
  const auto expect = [](const auto& call, const std::string& part) {
    try {
      call();
      FAIL("no error for " << part);
    } catch (const Error& error) {
      REQUIRE(names_configuration(error));
      REQUIRE_THAT(error.what(), Catch::Contains(part));
    }
  };
  expect([] { tensor_shard(spec_of("q_proj", 10, 4, ShardRule::rows), 0, 4); }, "q_proj");
  expect([] { tensor_shard(spec_of("o_proj", 4, 10, ShardRule::columns), 0, 4); }, "10 columns");
  expect([] { kv_replication(8, 3); }, "parallel.tensor = 3");
  expect([] { kv_replication(8, 12); }, "num_key_value_heads = 8");
}

TEST_CASE("rows are divided evenly over the data group, the last shards shorter or empty") {
  REQUIRE(data_row_begins(10, 1) == std::vector<std::int64_t>{0, 10});
  REQUIRE(data_row_begins(10, 4) == std::vector<std::int64_t>{0, 3, 6, 9, 10});
  REQUIRE(data_row_begins(5, 4) == std::vector<std::int64_t>{0, 2, 4, 5, 5});
  REQUIRE(data_row_begins(0, 2) == std::vector<std::int64_t>{0, 0, 0});
  REQUIRE(data_row_begins(std::int64_t{1} << 40, 2)[1] == std::int64_t{1} << 39);
}

TEST_CASE("owned shards tile every tensor exactly once on every grid") {
  for (const TensorSpec& spec : table())
    for (int num_tensor : {1, 2, 4, 8})
      for (int num_data : {1, 2, 3, 5, 40}) {
        std::vector<int> owners(static_cast<std::size_t>(spec.num_elements()), 0);
        for (int t = 0; t < num_tensor; ++t) {
          if (!counts_here(spec, t, num_tensor)) continue;
          for (int d = 0; d < num_data; ++d) {
            const Rectangle shard = owned_shard(spec, t, num_tensor, d, num_data);
            REQUIRE(intersect(shard, tensor_shard(spec, t, num_tensor)).size() == shard.size());
            for (auto row = shard.row_begin; row < shard.row_end; ++row)
              for (auto col = shard.col_begin; col < shard.col_end; ++col)
                ++owners[static_cast<std::size_t>(row * spec.cols + col)];
          }
        }
        INFO(spec.name << ", tensor " << num_tensor << ", data " << num_data);
        REQUIRE(std::all_of(owners.begin(), owners.end(), [](int n) { return n == 1; }));
      }
}

TEST_CASE("allocated rows hold every rank's shard, and ranks that count hold distinct ones") {
  for (const TensorSpec& spec : table())
    for (int n : {1, 2, 4, 8})
      for (int t = 0; t < n; ++t) {
        const Rectangle shard = tensor_shard(spec, t, n);
        REQUIRE(shard.rows() <= allocated_rows(spec, n));
        for (int other = 0; other < t; ++other) {
          const Rectangle theirs = tensor_shard(spec, other, n);
          const bool both = counts_here(spec, t, n) && counts_here(spec, other, n);
          REQUIRE((intersect(shard, theirs).empty() || (shard == theirs && !both)));
        }
      }
}
