#include <catch2/catch.hpp>

#include "device/arena.hpp"
#include "parallel/comm/counting_communicator.hpp"
#include "parallel/comm/session.hpp"
#include "parallel/comm/staged_communicator.hpp"
#include "rank_data.hpp"
#include "row_matrices.hpp"

using namespace espalier;
using namespace espalier::testing;
using device::view_of;

TEMPLATE_TEST_CASE("rows go to the ranks that they are for, byte for byte", "", float, bf16) {
  for (const std::int64_t limit : kExchangeLimits) {
    const auto group = world_with_limit(limit);
    for (const RowMatrix& rows : row_matrices(group->size())) {
      CAPTURE(limit, rows.name);
      check_row_exchange_on_host<TestType>(*group, rows, 5);
      check_row_exchange_on_host<TestType>(*group, rows, 1);
    }
  }
}

TEST_CASE("a long exchange is cut into parts") {
  // One row of 300000 floats is longer than a part, 4096 messages of 64 bytes.
  const auto group = world_with_limit(64);
  for (const RowMatrix& rows : row_matrices(group->size()))
    if (rows.largest() <= 3) check_row_exchange_on_host<float>(*group, rows, 300000);
}

TEST_CASE("rows of GPU memory are exchanged as the host's") {
  device::Context context(device::Gpu::open(device::Backend::emulated, 0));
  parallel::StagedCommunicator group(world_with_limit(1 << 16), context.shared_gpu(),
                                     context.queue().stream);
  for (const RowMatrix& rows : row_matrices(group.size())) {
    CAPTURE(rows.name);
    const std::vector<std::int64_t> send = rows.sent_by(group.rank());
    const std::vector<std::int64_t> receive = rows.received_by(group.rank());
    auto arena = device::Arena::backed("test", std::int64_t{1} << 20, context.shared_gpu());
    const std::vector<bf16> in = sent_rows<bf16>(rows, group.rank(), 7);
    const std::vector<bf16> expected = received_rows<bf16>(rows, group.rank(), 7);
    const device::View from = arena.allocate("from", DType::bf16, std::ssize(in) / 7 + 1, 7);
    const device::View to = arena.allocate("to", DType::bf16, std::ssize(expected) / 7 + 1, 7);
    context.upload(from.row_range(0, from.rows - 1), in.data());
    group.exchange_rows(to, from, send, receive);
    CHECK(same_bits(context.download<bf16>(to.row_range(0, to.rows - 1)), expected));
  }
}

TEST_CASE("counts of all ranks are known to all, exactly") {
  const auto group = world_with_limit(1 << 16);
  const auto mine_of = [](int rank) {
    return std::vector<std::int64_t>{(std::int64_t{1} << 60) + rank, rank, -rank};
  };
  std::vector<std::int64_t> expected, all(3 * static_cast<std::size_t>(group->size()));
  for (int r = 0; r < group->size(); ++r)
    for (const std::int64_t count : mine_of(r)) expected.push_back(count);
  group->all_gather_counts(all, mine_of(group->rank()));
  CHECK(all == expected);
}

TEST_CASE("an exchange of rows is counted as it is sent") {
  parallel::CountingCommunicator group(world_with_limit(1 << 16));
  const std::int64_t before = group.bytes_sent();
  const RowMatrix rows = row_matrices(group.size()).front();
  check_row_exchange_on_host<float>(group, rows, 5);
  if (group.size() == 1) return;
  const parallel::CollectiveCost& cost = group.costs().at("exchange_rows");
  CHECK(cost.calls == 1);
  CHECK(cost.sent_bytes == group.bytes_sent() - before);
  parallel::CountingCommunicator alone(group.rank(), group.size());
  const auto send = rows.sent_by(group.rank()), receive = rows.received_by(group.rank());
  const device::View planned{nullptr, DType::f32, 100000, 5, 5};
  alone.exchange_rows(planned, planned, send, receive);
  CHECK(alone.costs().at("exchange_rows") == cost);
}

TEST_CASE("rows that do not fit are a programmer's error before anything is sent") {
  const auto group = world_with_limit(1 << 16);
  const auto n = static_cast<std::size_t>(group->size());
  std::vector<float> data(12 * n), other(12 * n);
  const auto in = view_of(data.data(), static_cast<std::int64_t>(4 * n), 3);
  const auto out = view_of(other.data(), static_cast<std::int64_t>(4 * n), 3);
  const std::vector<std::int64_t> fit(n, 4), many(n, 5), few(n - 1, 4);
  std::vector<std::int64_t> negative(n, 4), own(n, 4);
  negative[0] = -1;
  own[static_cast<std::size_t>(group->rank())] = 3;
  const auto refuses = [&](auto o, auto i, const auto& send, const auto& receive) {
    REQUIRE_THROWS_AS(group->exchange_rows(o, i, send, receive), Error);
  };
  refuses(out, in, many, fit);
  refuses(out, in, fit, many);
  refuses(out, in, few, fit);
  refuses(out, in, negative, fit);
  refuses(out, in, own, fit);
  refuses(out.col_range(0, 2), in, fit, fit);
  refuses(out.col_range(0, 2), in.col_range(0, 2), fit, fit);
}

namespace {

/// The expert group of a grid has ranks with other experts, and its peers the same.
void check_expert_groups(parallel::MpiSession& session, parallel::GridShape shape, int expert) {
  const parallel::ProcessGrid grid(shape, session.rank(), {.expert = expert});
  const std::vector<parallel::Span> spans{parallel::Span::expert_data};
  const auto comm = parallel::make_communicators(session, grid, spans);
  REQUIRE((comm.expert != nullptr) == (expert > 1));
  if (comm.expert) {
    const auto ranks = comm.expert->all_gather(static_cast<double>(session.rank()));
    const auto expected = grid.group(parallel::Span::expert);
    CHECK(std::equal(ranks.begin(), ranks.end(), expected.begin(), expected.end()));
  }
  const parallel::Span span = grid.simplest(parallel::Span::expert_data);
  REQUIRE(comm.gradients.size() == (grid.size_of(span) > 1 ? 1 : 0));
  if (comm.gradients.empty()) return;
  REQUIRE(comm.gradients.begin()->first == span);
  auto data = data_of<float>(session.rank(), 33);
  comm.gradients.at(span)->all_reduce_sum(view_of(data.data(), 3, 11));
  const auto ranks = grid.group(span);
  for (std::int64_t i = 0; i < 33; ++i) {
    auto sum = element<float>(ranks[0], i);
    for (std::size_t r = 1; r < ranks.size(); ++r) sum += element<float>(ranks[r], i);
    REQUIRE(same_bits(&data[static_cast<std::size_t>(i)], &sum, 1));
  }
}

}  // namespace

TEST_CASE("experts have a group to send to, and one to sum with") {
  parallel::MpiSession session(nullptr, nullptr);
  const int n = session.size();
  for (int expert = 1; expert <= n; ++expert)
    if (n % expert == 0) check_expert_groups(session, {.data = n}, expert);
  if (n % 2 == 0) check_expert_groups(session, {.data = n / 2, .pipeline = 2}, n / 2);
  if (n == 4) check_expert_groups(session, {.tensor = 2, .data = 2}, 2);
}

TEST_CASE("stages may ask for other groups, and every rank makes them") {
  parallel::MpiSession session(nullptr, nullptr);
  const int n = session.size();
  const parallel::ProcessGrid grid({.data = 1, .pipeline = n}, session.rank());
  std::vector<parallel::Span> spans{parallel::Span::tokens_shared};
  const bool at_end = session.rank() == 0 || session.rank() == n - 1;
  if (at_end) spans = {parallel::Span::tied, parallel::Span::tokens};
  const auto comm = parallel::make_communicators(session, grid, spans);
  REQUIRE((comm.tied != nullptr) == (at_end && n > 1));
  std::vector<float> data(4, session.rank() == 0 ? 1.0F : 2.0F);
  if (comm.tied) {
    comm.tied->all_reduce_sum(view_of(data.data(), 2, 2));
    CHECK(data == std::vector<float>(4, 3.0F));
  }
  if (n % 2 != 0) return;
  const parallel::ProcessGrid two({.data = n / 2, .pipeline = 2}, session.rank());
  spans = {parallel::Span::tokens_shared};
  if (two.pipeline_rank() == 0) spans.clear();  // a stage without weights
  const auto other = parallel::make_communicators(session, two, spans);
  REQUIRE(other.gradients.size() == (n > 2 ? 1 : 0));
  if (n > 2) CHECK(other.gradients.begin()->second->size() == n / 2);
}
