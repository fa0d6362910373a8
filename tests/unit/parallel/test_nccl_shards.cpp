#include <catch2/catch.hpp>

#include "parallel/comm/nccl_communicator.hpp"
#include "parallel/comm/nccl_shards.hpp"
#include "parallel/layout/shard_map.hpp"

using namespace espalier::parallel;
using Kind = ShardCall::Kind;

namespace {

std::vector<ShardCall> calls_of(std::int64_t rows, int ranks, std::int64_t row_bytes, bool sums) {
  std::vector<ShardCall> calls{{Kind::whole, 7, 7, 7}};  // from the tensor before
  shard_calls(even_row_begins(rows, ranks), row_bytes, sums, calls);
  return calls;
}

}  // namespace

TEST_CASE("rows that divide evenly are one call, for every matrix of Qwen3") {
  for (const bool sums : {false, true}) {
    CHECK(calls_of(4096, 8, 4 * 4096, sums) == std::vector<ShardCall>{{Kind::even, 0, 0, 512}});
    // Hidden sizes, MLP sizes, heads x head_dim, head_dim and vocabulary of 0.6B to 32B.
    for (const std::int64_t rows :
         {1024, 2048, 2560, 4096, 5120, 3072, 6144, 9728, 12288, 17408, 25600, 8192, 128, 151936})
      for (const int ranks : {2, 4, 8, 16, 32, 64, 128})
        CHECK(calls_of(rows, ranks, 2, sums) ==
              std::vector<ShardCall>{{Kind::even, 0, 0, rows / ranks}});
  }
}

TEST_CASE("uneven rows are one call per owner, or one sum of all when they are few") {
  const std::int64_t large = kWholeSumBytes;  // bytes of a row
  CHECK(calls_of(10, 4, large, true) == std::vector<ShardCall>{{Kind::owner, 0, 0, 3},
                                                               {Kind::owner, 1, 3, 3},
                                                               {Kind::owner, 2, 6, 3},
                                                               {Kind::owner, 3, 9, 1}});
  CHECK(calls_of(5, 4, large, false) == std::vector<ShardCall>{{Kind::owner, 0, 0, 2},
                                                               {Kind::owner, 1, 2, 2},
                                                               {Kind::owner, 2, 4, 1}});
  CHECK(calls_of(10, 4, 4, true) == std::vector<ShardCall>{{Kind::whole, 0, 0, 10}});
  CHECK(calls_of(2, 3, 4, false) ==
        std::vector<ShardCall>{{Kind::owner, 0, 0, 1}, {Kind::owner, 1, 1, 1}});
  CHECK(calls_of(0, 3, 4, true).empty());
}

TEST_CASE("NCCL serves ranks with a GPU each") {
  CHECK(nccl_serves({"a"}));
  CHECK(nccl_serves({"a", "b", "c"}));
  CHECK_FALSE(nccl_serves({"a", "b", "a"}));
  CHECK_FALSE(nccl_serves({"a", "", "c"}));  // no NCCL there
  CHECK_FALSE(nccl_serves({"", ""}));
}

TEST_CASE("the calls cover every row once, owned by whom it belongs to") {
  for (const int ranks : {2, 3, 5, 6, 7, 12})
    for (std::int64_t rows = 0; rows < 40; ++rows) {
      const auto begins = even_row_begins(rows, ranks);
      std::int64_t next = 0;
      for (const ShardCall& call : calls_of(rows, ranks, kWholeSumBytes, false)) {
        if (call.kind == Kind::even) {
          CHECK(call.num_rows * ranks == rows);
          next = rows;
          continue;
        }
        CHECK(call.first_row == next);
        CHECK(begins[static_cast<std::size_t>(call.owner)] == call.first_row);
        CHECK(begins[static_cast<std::size_t>(call.owner) + 1] == call.first_row + call.num_rows);
        next += call.num_rows;
      }
      CHECK(next == rows);
    }
}

TEST_CASE("ranks that share a GPU are named") {
  CHECK(ranks_that_share({"a", "b", "c"}).empty());
  CHECK(ranks_that_share({"a", "b", "a"}) == "ranks 0 and 2");
  CHECK(ranks_that_share({"x", "a", "a", "b", "a"}) == "ranks 1 and 2 and 4");
}

TEST_CASE("asking for NCCL does not need a GPU") {
  const std::string why = why_no_nccl();
  CHECK((why.empty() || why.find("NCCL") != std::string::npos ||
         why.find("nccl") != std::string::npos));
}
