// A bit that flips in a weight or in replicated state of the optimizer, on every grid.
#include <catch2/catch.hpp>

#include "optim/replica_audit.hpp"
#include "synthetic_model.hpp"

using namespace espalier;
using namespace espalier::testing;
using parallel::GridShape;
using parallel::ProcessGrid;

namespace {

/// A model that has made a step, with its audit.
template <class T>
struct Audited {
  Audited(parallel::MpiSession& session, const GridShape& shape, bool sequence_parallel,
          int zero_stage)
      : table(synthetic_table(2, sequence_parallel)),
        grid(shape, session.rank(), parallel::views_of(2, shape)),
        model(table, grid, zero_stage),
        comm(make_communicators(session, grid, model.store().gradient_spans())),
        audit(context, grid, comm, model.store(), model.optimizer(), zero_stage) {
    model.step(context, comm, 1, {.max_grad_norm = 1.0}, 1.0e-2);
  }
  /// On one rank, in the last element of what this rank has of it.
  static void flip(const device::View& view) {
    const device::View last = view.row_range(view.rows - 1, 1).col_range(view.cols - 1, 1);
    static_cast<unsigned char*>(last.data)[0] ^= 1U;
  }

  std::vector<TensorSpec> table;
  ProcessGrid grid;
  device::Context context;
  SyntheticModel<T> model;
  parallel::GridCommunicators comm;
  optim::ReplicaAudit audit;
};

/// body(shape, sequence_parallel, zero_stage)
template <class Body>
void on_every_grid(int num_ranks, Body&& body) {
  for (int tensor = 1; tensor <= num_ranks; ++tensor) {
    if (num_ranks % tensor != 0 || !parallel::divides(ShardRule::kv_rows, 2, tensor)) continue;
    const GridShape shape{.tensor = tensor, .data = num_ranks / tensor};
    for (const bool sequence_parallel : {false, true})
      for (const int zero_stage : {0, 1}) {
        INFO("tensor " << tensor << ", stage " << zero_stage << ", sequence_parallel "
                       << sequence_parallel);
        body(shape, sequence_parallel, zero_stage);
      }
  }
}

template <class T>
void check_flipped_weights(parallel::MpiSession& session) {
  on_every_grid(session.size(), [&](const GridShape& shape, bool sequence_parallel, int stage) {
    Audited<T> a(session, shape, sequence_parallel, stage);
    REQUIRE(a.audit.run().empty());
    for (std::size_t i = 0; i < a.table.size(); ++i)
      for (int rank = 0; rank < session.size(); ++rank) {
        if (session.rank() == rank) a.flip(a.model.store().tensors()[i].weight);
        const auto findings = a.audit.run();
        REQUIRE(findings.size() == 1);
        CHECK(findings[0].tensor == a.table[i].name);
        CHECK(findings[0].part == "weight");
        CHECK(findings[0].ranks == std::vector<int>{rank});
        CHECK(findings[0].is_decided);
        REQUIRE(a.audit.run().empty());  // the owners' weights are there again
      }
  });
}

}  // namespace

TEST_CASE("a bit that flips in any weight of any rank is found, and the rank is named") {
  parallel::MpiSession session(nullptr, nullptr);
  check_flipped_weights<float>(session);
  check_flipped_weights<bf16>(session);
}

TEST_CASE("a bit that flips in state that several ranks own is found") {
  parallel::MpiSession session(nullptr, nullptr);
  on_every_grid(session.size(), [&](const GridShape& shape, bool sequence_parallel, int stage) {
    Audited<bf16> a(session, shape, sequence_parallel, stage);
    for (std::size_t i = 0; i < a.table.size(); ++i) {
      const parallel::Span holders = parallel::holders(a.table[i].shard);
      const bool in_tensor_group =
          a.grid.size_of(a.table[i].gradient_span) != a.grid.size_of(holders);
      // Who has the same as the last rank.
      std::vector<int> same = ProcessGrid(shape, session.size() - 1, a.grid.views())
                                  .group(stage == 0        ? holders
                                         : in_tensor_group ? parallel::Span::tensor
                                                           : parallel::Span::self);
      const bool is_last = session.rank() == session.size() - 1;
      device::View flipped;
      for (auto& state : a.model.optimizer().state())
        if (is_last && state.shard.tensor == static_cast<std::int64_t>(i) && state.v.exists())
          flipped = state.v;
      double count[] = {flipped.exists() ? 1.0 : 0.0};
      a.comm.world->all_reduce_sum(std::span<double>(count));
      if (flipped.exists()) a.flip(flipped);
      const auto findings = a.audit.run();
      if (flipped.exists()) a.flip(flipped);
      if (count[0] == 0.0 || same.size() == 1) {
        CHECK(findings.empty());  // nobody else has it
        continue;
      }
      REQUIRE(findings.size() == 1);
      CHECK(findings[0].tensor == a.table[i].name);
      CHECK(findings[0].part == "moment 2");
      CHECK(findings[0].is_decided == (same.size() > 2));
      if (same.size() > 2) same = {session.size() - 1};
      CHECK(findings[0].ranks == same);
    }
    CHECK(a.audit.run().empty());
  });
}

TEST_CASE("a majority decides who errs; without one nobody does") {
  bool is_decided = false;
  using Hashes = std::vector<std::uint64_t>;
  using Places = std::vector<std::size_t>;
  CHECK(optim::outvoted(Hashes{7, 7, 7}, is_decided).empty());
  CHECK(optim::outvoted(Hashes{7, 8, 7}, is_decided) == Places{1});
  CHECK(is_decided);
  CHECK(optim::outvoted(Hashes{7, 8}, is_decided) == Places{0, 1});
  CHECK_FALSE(is_decided);
  CHECK(optim::outvoted(Hashes{7, 8, 9, 7}, is_decided) == Places{0, 1, 2, 3});
  CHECK_FALSE(is_decided);
}
