#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "device/view.hpp"
#include "parallel/layout/shard_map.hpp"
#include "shard_checks.hpp"

using namespace espalier;
using namespace espalier::testing;
using device::view_of;
using parallel::RowShards;

TEST_CASE("grouped collectives serve uneven and empty shards") {
  for (std::int64_t limit :
       {std::int64_t{64}, std::int64_t{2048}, parallel::MpiCommunicator::kMaxMessageBytes}) {
    const auto comm = world_with_limit(limit);
    for (int run = 0; run < 2; ++run) {
      check_reduce_scatter_shards<float>(*comm);
      check_reduce_scatter_shards<bf16>(*comm);
      check_all_gather_shards<float>(*comm);
      check_all_gather_shards<bf16>(*comm);
    }
  }
}

TEST_CASE("an empty group does nothing") {
  const auto comm = world_with_limit(64);
  comm->reduce_scatter_shards({});
  comm->all_gather_shards({});
  REQUIRE(comm->bytes_sent() == 0);
}

TEST_CASE("row divisions that do not fit are a programmer's error") {
  const auto comm = world_with_limit(64);
  if (comm->size() == 1) return;  // nothing is looked at
  std::vector<float> data(100);
  const auto view = view_of(data.data(), 100, 1);
  auto begins = parallel::even_row_begins(100, comm->size());
  const auto refuses = [&](const std::vector<std::int64_t>& division) {
    const std::vector<RowShards> tensors{{view, division}};
    REQUIRE_THROWS_AS(comm->reduce_scatter_shards(tensors), Error);
  };
  refuses({0, 100, 100, 100, 100, 100});
  begins.back() = 101;
  refuses(begins);
  begins.back() = 0;
  refuses(begins);
}
