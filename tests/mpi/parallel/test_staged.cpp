#include <catch2/catch.hpp>

#include "device/arena.hpp"
#include "parallel/comm/mpi_check.hpp"
#include "parallel/comm/session.hpp"
#include "parallel/comm/staged_communicator.hpp"
#include "parallel/layout/shard_map.hpp"
#include "rank_data.hpp"

using namespace espalier;
using namespace espalier::testing;
using device::View;

namespace {

/// A communicator over the emulated GPU, and its memory.
struct Staged {
  Staged()
      : context(device::Gpu::open(device::Backend::emulated, 0)),
        arena(device::Arena::backed("test", std::int64_t{1} << 20, context.shared_gpu())) {
    MPI_Comm duplicate = MPI_COMM_NULL;
    parallel::check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &duplicate), "MPI_Comm_dup");
    group = std::make_unique<parallel::StagedCommunicator>(
        std::make_unique<parallel::MpiCommunicator>(duplicate,
                                                    std::make_shared<parallel::Staging>()),
        context.shared_gpu(), context.queue().stream);
  }
  template <class T>
  View upload(const std::vector<T>& values, std::int64_t rows) {
    const View view = arena.allocate("view", dtype_of<T>(), rows,
                                     std::ssize(values) / std::max<std::int64_t>(rows, 1));
    context.upload(view, values.data());
    return view;
  }

  device::Context context;
  device::Arena arena;
  std::unique_ptr<parallel::StagedCommunicator> group;
};

}  // namespace

TEMPLATE_TEST_CASE("collectives of GPU memory have the bits of the host's", "", float, bf16) {
  using T = TestType;
  Staged staged;
  parallel::Communicator& group = *staged.group;
  const int size = group.size();
  constexpr std::int64_t kRows = 3;
  constexpr std::int64_t kCount = kRows * 17;

  const auto mine = data_of<T>(group.rank(), kCount);
  std::vector<T> sums;
  for (std::int64_t i = 0; i < kCount; ++i) sums.push_back(summed<T>(size, i));
  const View data = staged.upload(mine, kRows);
  group.all_reduce_sum(data);
  CHECK(same_bits(staged.context.download<T>(data), sums));

  std::vector<T> all;
  for (int r = 0; r < size; ++r)
    for (std::int64_t i = 0; i < kCount; ++i) all.push_back(element<T>(r, i));
  const View in = staged.upload(mine, kRows);
  const View out = staged.upload(std::vector<T>(all.size()), size * kRows);
  group.all_gather(out, in);
  CHECK(same_bits(staged.context.download<T>(out), all));

  const View parts = staged.upload(data_of<T>(group.rank(), size * kCount), size * kRows);
  const View part = staged.upload(std::vector<T>(static_cast<std::size_t>(kCount)), kRows);
  group.reduce_scatter_sum(part, parts);
  std::vector<T> expected;
  for (std::int64_t i = 0; i < kCount; ++i)
    expected.push_back(summed<T>(size, group.rank() * kCount + i));
  CHECK(same_bits(staged.context.download<T>(part), expected));

  const View told = staged.upload(data_of<T>(group.rank(), kCount), kRows);
  group.broadcast(told, size - 1);
  CHECK(same_bits(staged.context.download<T>(told), data_of<T>(size - 1, kCount)));
}

TEST_CASE("shards of GPU memory are summed and gathered as the host's, uneven ones too") {
  Staged staged;
  parallel::Communicator& group = *staged.group;
  const int size = group.size();
  std::vector<parallel::RowShards> tensors;
  const std::vector<std::int64_t> rows{7, 1, 12};
  std::vector<std::vector<std::int64_t>> divisions;
  for (const std::int64_t count : rows) divisions.push_back(parallel::even_row_begins(count, size));
  for (std::size_t i = 0; i < rows.size(); ++i)
    tensors.push_back(
        {staged.upload(data_of<float>(group.rank(), rows[i] * 5), rows[i]), divisions[i]});
  group.reduce_scatter_shards(tensors);
  group.all_gather_shards(tensors);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::vector<float> expected;
    for (std::int64_t e = 0; e < rows[i] * 5; ++e) expected.push_back(summed<float>(size, e));
    CHECK(same_bits(staged.context.download<float>(tensors[i].full), expected));
  }
}
