#include "parallel/comm/session.hpp"

#include <catch2/catch.hpp>
#include <set>

#include "base/error.hpp"

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

TEST_CASE("the axes' groups follow the grid") {
  MpiSession session(nullptr, nullptr);
  const int n = session.size();
  for (int tensor = 1; tensor <= n; ++tensor) {
    if (n % tensor != 0) continue;
    for (int context : {1, 2}) {
      if (n / tensor % context != 0) continue;
      const GridShape shape{
          .tensor = tensor, .context = context, .data = n / tensor / context, .pipeline = 1};
      for (int replication : {1, 2, tensor}) {
        if (tensor % replication != 0) continue;
        const ProcessGrid grid(shape, session.rank(), {.kv_replication = replication});
        const auto comm = make_communicators(session, grid);
        std::vector<double> tensor_group, data_group, kv_group, all;
        for (int r = 0; r < n; ++r) {
          const ProcessGrid other(shape, r);
          all.push_back(r);
          const bool same_context = other.context_rank() == grid.context_rank();
          const bool same_data = other.data_rank() == grid.data_rank();
          if (same_context && other.tensor_rank() == grid.tensor_rank()) data_group.push_back(r);
          if (!same_context || !same_data) continue;
          tensor_group.push_back(r);
          if (other.tensor_rank() / replication == grid.tensor_rank() / replication)
            kv_group.push_back(r);
        }
        REQUIRE(members(*comm.world, session.rank()) == all);
        REQUIRE(members(*comm.tensor, session.rank()) == tensor_group);
        REQUIRE(members(*comm.data, session.rank()) == data_group);
        REQUIRE(members(*comm.kv_replicas, session.rank()) == kv_group);
        REQUIRE(comm.tensor->rank() == grid.tensor_rank());
        REQUIRE(comm.data->rank() == grid.data_rank());
        REQUIRE(comm.kv_replicas->size() == replication);
      }
    }
  }
}

TEST_CASE("a grid of another size than the job is the configuration's fault") {
  MpiSession session(nullptr, nullptr);
  const ProcessGrid grid({.tensor = 1, .data = session.size() + 1}, session.rank());
  try {
    make_communicators(session, grid);
    FAIL("a grid that does not fit was accepted");
  } catch (const Error& error) {
    REQUIRE(error.status() == ExitStatus::bad_configuration);
    REQUIRE(error.met() == Met::by_every_rank);
  }
}
