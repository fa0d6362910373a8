#include "parallel/comm/session.hpp"

#include <catch2/catch.hpp>
#include <set>

#include "base/error.hpp"
#include "mpi/parallel/rank_data.hpp"
#include "parallel/comm/shared_counters.hpp"

using namespace espalier;
using namespace espalier::parallel;

namespace {

/// World ranks of a group, found by talking.
std::vector<double> members(Communicator& group, int rank) {
  return group.all_gather(static_cast<double>(rank));
}

}  // namespace

TEST_CASE("a session joins an MPI that runs already and leaves it running") {
  for (int round = 0; round < 2; ++round) {
    MpiSession session(nullptr, nullptr);
    REQUIRE(session.world().rank() == session.rank());
    REQUIRE(session.world().size() == session.size());
    const auto hosts = session.host_names();
    REQUIRE(hosts.size() == static_cast<std::size_t>(session.size()));
    REQUIRE(std::set(hosts.begin(), hosts.end()).size() == 1);
    REQUIRE_FALSE(hosts[0].empty());
  }
  const std::string version = MpiSession::library_version();
  REQUIRE(version.find('\n') == std::string::npos);
  REQUIRE(version.find_first_of("0123456789") != std::string::npos);
}

TEST_CASE("communicators have the ranks of the layout's groups, in its order") {
  MpiSession session(nullptr, nullptr);
  const int n = session.size();
  const std::vector<Span> spans{Span::tokens, Span::kv_tokens, Span::tokens_shared, Span::tokens};
  const auto numbers = [](const std::vector<int>& ranks) {
    return std::vector<double>(ranks.begin(), ranks.end());
  };
  for (int tensor = 1; tensor <= n; ++tensor) {
    if (n % tensor != 0) continue;
    for (int context : {1, 2}) {
      if (n / tensor % context != 0) continue;
      const GridShape shape{
          .tensor = tensor, .context = context, .data = n / tensor / context, .pipeline = 1};
      for (int replication : {1, 2, tensor}) {
        if (tensor % replication != 0) continue;
        const ProcessGrid grid(shape, session.rank(), {.kv_replication = replication});
        const auto comm = make_communicators(session, grid, spans);
        REQUIRE(members(*comm.world, session.rank()) == numbers(grid.group(Span::world)));
        REQUIRE(members(*comm.tensor, session.rank()) == numbers(grid.group(Span::tensor)));
        REQUIRE(comm.tensor->rank() == grid.index_in(Span::tensor));
        std::set<std::vector<int>> distinct;
        for (const Span span : spans) {
          if (grid.size_of(span) == 1) continue;
          distinct.insert(grid.group(span));
          Communicator& group = *comm.gradients.at(grid.simplest(span));
          REQUIRE(members(group, session.rank()) == numbers(grid.group(span)));
          REQUIRE(group.rank() == grid.index_in(span));
        }
        REQUIRE(comm.gradients.size() == distinct.size());
      }
    }
  }
}

TEST_CASE("the first ranks are a session of their own while the others wait") {
  MpiSession session(nullptr, nullptr);
  for (int size = 1; size <= session.size(); ++size) {
    {
      const auto first = session.first_ranks(size);
      REQUIRE((first != nullptr) == (session.rank() < size));
      if (first != nullptr) {
        REQUIRE(first->size() == size);
        REQUIRE(first->rank() == session.rank());
        REQUIRE(first->host_names().size() == static_cast<std::size_t>(size));
        // Groups, and what the program makes of a session, know of no other ranks.
        const ProcessGrid grid({.tensor = 1, .context = 1, .data = size, .pipeline = 1},
                               first->rank());
        const std::vector<Span> spans{Span::tokens};
        const auto comm = make_communicators(*first, grid, spans);
        std::vector<double> expected;
        for (int rank = 0; rank < size; ++rank) expected.push_back(rank);
        REQUIRE(members(*comm.world, first->rank()) == expected);
        REQUIRE(members(*comm.tensor, first->rank()) ==
                std::vector<double>{static_cast<double>(first->rank())});
        SharedCounters counters(*first, 1);
        counters.add(0, 1);
        first->world().barrier();
        REQUIRE(counters.add(0, 0) == size);
        first->world().barrier();
      }
    }
    session.wait_asleep();
  }
}

TEST_CASE("a sum over tensor and data ranks has the bits of two sums, one after the other") {
  MpiSession session(nullptr, nullptr);
  const int n = session.size();
  constexpr std::int64_t kCount = 5000;  // several shards, and more than a small sum
  for (int tensor = 1; tensor <= n; ++tensor) {
    if (n % tensor != 0) continue;
    const GridShape shape{.tensor = tensor, .context = 1, .data = n / tensor, .pipeline = 1};
    const ProcessGrid grid(shape, session.rank());
    const std::vector<Span> spans{Span::tokens};
    const auto comm = make_communicators(session, grid, spans);
    if (n == 1) continue;
    std::vector<float> values = testing::data_of<float>(session.rank(), kCount);
    comm.gradients.at(grid.simplest(Span::tokens))
        ->all_reduce_sum(device::view_of(values.data(), kCount, 1));
    for (std::int64_t i = 0; i < kCount; ++i) {
      float total = 0.0F;
      for (int first = 0; first < n; first += tensor) {
        auto sum = testing::element<float>(first, i);
        for (int rank = first + 1; rank < first + tensor; ++rank)
          sum += testing::element<float>(rank, i);
        total = first == 0 ? sum : total + sum;
      }
      if (values[static_cast<std::size_t>(i)] != total) FAIL("element " << i << ", " << tensor);
    }
  }
}

TEST_CASE("many host values are summed in rank order like a few") {
  MpiSession session(nullptr, nullptr);
  const int n = session.size();
  for (const std::int64_t count : {1, 16, 17, 18, 100, 1001}) {
    std::vector<double> values;
    for (std::int64_t i = 0; i < count; ++i)
      values.push_back(static_cast<double>(testing::element<float>(session.rank(), i)) / 3.0);
    session.world().all_reduce_sum(values);
    for (std::int64_t i = 0; i < count; ++i) {
      double sum = static_cast<double>(testing::element<float>(0, i)) / 3.0;
      for (int rank = 1; rank < n; ++rank)
        sum += static_cast<double>(testing::element<float>(rank, i)) / 3.0;
      REQUIRE(values[static_cast<std::size_t>(i)] == sum);
    }
  }
}

TEST_CASE("a grid of another size than the job is the configuration's fault") {
  MpiSession session(nullptr, nullptr);
  const ProcessGrid grid({.tensor = 1, .data = session.size() + 1}, session.rank());
  try {
    make_communicators(session, grid, {});
    FAIL("a grid that does not fit was accepted");
  } catch (const Error& error) {
    REQUIRE(error.status() == ExitStatus::bad_configuration);
    REQUIRE(error.met() == Met::by_every_rank);
  }
}
