// What the communicator asks of NCCL, against an imitation of the library in host memory.
#include <dlfcn.h>
#include <nccl.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "device/arena.hpp"
#include "mpi/parallel/row_matrices.hpp"
#include "mpi/parallel/shard_checks.hpp"
#include "parallel/comm/nccl_communicator.hpp"
#include "parallel/comm/session.hpp"
#include "support/expect_error.hpp"
#include "support/forwarding_gpu.hpp"

using namespace espalier;
using namespace espalier::testing;
using device::view_of;

namespace {

/// Rank `rank`'s own, or the one that all share.
class NamedGpu : public ForwardingGpu {
 public:
  explicit NamedGpu(std::string uuid) { description_.uuid = std::move(uuid); }
  const Description& description() const override { return description_; }

 private:
  Description description_;
};

std::unique_ptr<parallel::Communicator> nccl_world(bool share_gpu = false,
                                                   bool exchanges_rows = false) {
  auto host = world_with_limit(1 << 16);
  auto gpu = std::make_shared<NamedGpu>(share_gpu ? "one" : fmt::format("GPU-{}", host->rank()));
  return parallel::make_nccl_communicator(std::move(host), gpu, nullptr, "data", exchanges_rows);
}

/// What the imitation was asked for so far.
struct Counts {
  int connections = 0, aborts = 0, aborts_alone = 0;
  Counts() {
    void* library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    REQUIRE(library != nullptr);
    const auto count =
        reinterpret_cast<void (*)(int*, int*, int*)>(dlsym(library, "imitated_nccl_counts"));
    REQUIRE(count != nullptr);
    count(&connections, &aborts, &aborts_alone);
  }
};

/// Makes a call of the imitation fail while it lives.
struct Failing {
  explicit Failing(const char* call) { setenv("IMITATED_NCCL_FAILS", call, 1); }
  ~Failing() { unsetenv("IMITATED_NCCL_FAILS"); }
};

template <class T>
void check_collectives(parallel::Communicator& comm) {
  const int n = comm.size();
  const int rank = comm.rank();
  constexpr std::int64_t kCount = 24;

  std::vector<T> sum = data_of<T>(rank, kCount * n);
  comm.all_reduce_sum(view_of(sum.data(), n, kCount));
  std::vector<T> scattered(kCount);
  std::vector<T> in = data_of<T>(rank, kCount * n);
  comm.reduce_scatter_sum(view_of(scattered.data(), 1, kCount), view_of(in.data(), n, kCount));
  std::vector<T> gathered(static_cast<std::size_t>(kCount * n));
  const std::vector<T> mine = data_of<T>(rank, kCount);
  comm.all_gather(view_of(gathered.data(), n, kCount), view_of(mine.data(), 1, kCount));
  std::vector<T> told = data_of<T>(rank, kCount);
  comm.broadcast(view_of(told.data(), 1, kCount), n - 1);
  if (n == 1) return;  // a communicator of one rank does nothing
  for (std::int64_t i = 0; i < kCount * n; ++i) {
    const T expected = summed<T>(n, i);
    REQUIRE(same_bits(&sum[static_cast<std::size_t>(i)], &expected, 1));
    if (i / kCount == rank)
      REQUIRE(same_bits(&scattered[static_cast<std::size_t>(i % kCount)], &expected, 1));
    const T own = element<T>(static_cast<int>(i / kCount), i % kCount);
    REQUIRE(same_bits(&gathered[static_cast<std::size_t>(i)], &own, 1));
  }
  CHECK(same_bits(told, data_of<T>(n - 1, kCount)));
}

}  // namespace

TEST_CASE("the library of the test is found") {
  REQUIRE(parallel::why_no_nccl().empty());
  REQUIRE(std::string(std::getenv("NCCL_ALGO")) == "Ring");
  REQUIRE(std::string(std::getenv("NCCL_NVLS_ENABLE")) == "0");
}

TEST_CASE("NCCL's collectives do what the contract says") {
  const auto comm = nccl_world();
  check_collectives<float>(*comm);
  check_collectives<bf16>(*comm);
}

TEST_CASE("NCCL's grouped collectives serve uneven and empty shards") {
  const auto comm = nccl_world();
  for (int run = 0; run < 2; ++run) {
    check_reduce_scatter_shards<float>(*comm);
    check_reduce_scatter_shards<bf16>(*comm);
    check_all_gather_shards<float>(*comm);
    check_all_gather_shards<bf16>(*comm);
  }
  comm->reduce_scatter_shards({});
  comm->all_gather_shards({});
}

TEST_CASE("a large sum whose rows do not divide is taken owner by owner") {
  const auto comm = nccl_world();
  const int n = comm->size();
  const std::int64_t rows = 3 * n + 1, cols = 20000;
  std::vector<float> data = data_of<float>(comm->rank(), rows * cols);
  const std::vector<std::int64_t> begins = parallel::even_row_begins(rows, n);
  const std::vector<parallel::RowShards> tensors{{view_of(data.data(), rows, cols), begins}};
  const Failing failing(n == 1 ? "" : "ncclAllReduce");  // it must not be asked for
  comm->reduce_scatter_shards(tensors);
  const auto rank = static_cast<std::size_t>(comm->rank());
  for (std::int64_t i = begins[rank] * cols; i < begins[rank + 1] * cols; ++i) {
    const float expected = summed<float>(n, i);
    if (!same_bits(&data[static_cast<std::size_t>(i)], &expected, 1)) FAIL("element " << i);
  }
}

TEST_CASE("ranks are connected when their communicator is made, and not in a step") {
  const auto comm = nccl_world();
  const auto rows = nccl_world(false, /*exchanges_rows=*/true);
  const int connected = Counts().connections;
  check_collectives<float>(*comm);
  for (const RowMatrix& matrix : row_matrices(rows->size()))
    check_row_exchange_on_host<float>(*rows, matrix, 5);
  CHECK(Counts().connections == connected);
}

TEST_CASE("on the way of an error all communicators are told to end before one is waited for") {
  const Counts before;
  int n = 1;
  try {
    const auto first = nccl_world(), second = nccl_world();
    n = first->size();
    throw Error(ExitStatus::internal, "an error of this rank");
  } catch (const Error&) {
  }
  const Counts after;
  CHECK(after.aborts - before.aborts == (n > 1 ? 2 : 0));
  CHECK(after.aborts_alone == before.aborts_alone);
}

TEST_CASE("NCCL sends rows to the ranks that they are for, also none") {
  const auto comm = nccl_world(false, /*exchanges_rows=*/true);
  for (const RowMatrix& rows : row_matrices(comm->size())) {
    CAPTURE(rows.name);
    check_row_exchange_on_host<float>(*comm, rows, 5);
    check_row_exchange_on_host<bf16>(*comm, rows, 3);
  }
}

// Run by itself: it ends the job, as the test mpi_nccl.lost_peer expects.
TEST_CASE("a peer that is lost ends the job", "[.lost]") {
  const auto comm = nccl_world();
  const Failing failing("later");
  std::vector<float> data(8);
  comm->broadcast(view_of(data.data(), 1, 8), 0);
  // The stream would never come past; only the job's end, or the test's time limit, ends the wait.
  for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

TEST_CASE("two ranks on one GPU are refused by every rank") {
  if (world_with_limit(64)->size() == 1) return;
  try {
    nccl_world(/*share_gpu=*/true);
    FAIL("no error");
  } catch (const Error& error) {
    testing::expect_words(error.what(), {"ranks 0 and 1", "device.communicator = \"mpi\""});
  }
  // Asked for, it is refused before any communicator is made, by ranks that do not share too.
  int argc = 0;
  char** argv = nullptr;
  parallel::MpiSession session(&argc, &argv);
  const auto gpu = std::make_shared<NamedGpu>(
      session.rank() < 2 ? "one" : "GPU-of-others" + std::to_string(session.rank()));
  const device::Context context(gpu);
  const parallel::ProcessGrid grid({.tensor = session.size()}, session.rank());
  const auto ask = [&] {
    parallel::registered_memory(session, grid, context, parallel::CollectiveLibrary::nccl);
  };
  testing::expect_words(testing::message_of(ask), {"ranks 0 and 1", "device.communicator"});
}

TEST_CASE("the log can say what carries collectives and why it is not NCCL") {
  using parallel::CollectiveLibrary;
  parallel::MpiSession session(nullptr, nullptr);
  const NamedGpu gpu(fmt::format("GPU-{}", session.rank()));
  CHECK(parallel::why_not_nccl(session, gpu, CollectiveLibrary::nccl).empty());
  CHECK(parallel::why_not_nccl(session, gpu, CollectiveLibrary::mpi) ==
        "device.communicator = \"mpi\"");
  CHECK(parallel::why_not_nccl(session, gpu, CollectiveLibrary::automatic) ==
        "the GPU is emulated");
  CHECK(parallel::nccl_version() == fmt::format("{}.{}.{}", NCCL_MAJOR, NCCL_MINOR, NCCL_PATCH));
}

TEST_CASE("a call that fails names call, rank, GPU and NCCL's words") {
  const auto comm = nccl_world();
  if (comm->size() == 1) return;
  const Failing failing("ncclAllReduce");
  std::vector<float> data(8);
  try {
    comm->all_reduce_sum(view_of(data.data(), 1, 8));
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::internal);
    testing::expect_words(error.what(),
                          {"ncclAllReduce", fmt::format("rank {}", comm->rank()).c_str(), "data",
                           "GPU 0", "because it was asked to"});
  }
}

TEST_CASE("a GPU without room for NCCL is told what to do") {
  if (world_with_limit(64)->size() == 1) return;
  const Failing failing("ncclAllReduce");
  setenv("IMITATED_NCCL_SAYS", "Cuda failure 2 'out of memory'", 1);
  try {
    nccl_world();
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::bad_configuration);
    testing::expect_words(error.what(),
                          {"ncclAllReduce", "data", "out of memory", "device.memory_gib"});
  }
  unsetenv("IMITATED_NCCL_SAYS");
}

TEST_CASE("memory is registered on all ranks or on none") {
  const auto comm = nccl_world();
  void* memory = parallel::allocate_for_nccl(4096);
  REQUIRE(memory != nullptr);
  const device::View view{memory, DType::f32, 1, 1024, 1024};
  CHECK(parallel::register_with_nccl(*comm, view) == (comm->size() > 1));
  {
    const Failing failing("ncclCommWindowRegister");
    CHECK_FALSE(parallel::register_with_nccl(*comm, view));
  }
  const auto over_mpi = world_with_limit(64);
  CHECK_FALSE(parallel::register_with_nccl(*over_mpi, view));
  // One rank fell back to other memory, or has less of it: nobody registers, nobody waits.
  const bool last = comm->rank() == comm->size() - 1;
  CHECK_FALSE(parallel::register_with_nccl(*comm, last ? device::View{} : view));
  if (comm->size() > 1)
    CHECK_FALSE(parallel::register_with_nccl(
        *comm, last ? device::View{memory, DType::f32, 1, 512, 512} : view));
  parallel::release_for_nccl(memory);
}

TEST_CASE("collectives in registered memory; the imitation refuses unequal offsets") {
  const auto comm = nccl_world();
  const int n = comm->size();
  if (n == 1) return;
  device::Arena arena = device::Arena::backed(
      "activations", 4096, device::Gpu::open(device::Backend::emulated, 0),
      {.allocate = parallel::allocate_for_nccl, .release = parallel::release_for_nccl});
  REQUIRE(parallel::register_with_nccl(*comm, arena.from_source()));
  const device::View mine = arena.allocate("mine", DType::f32, 1, 8);
  const device::View all = arena.allocate("all", DType::f32, n, 8);
  for (int i = 0; i < 8; ++i) {
    CHECK(static_cast<float*>(mine.data)[i] == 0.0f);
    static_cast<float*>(mine.data)[i] = static_cast<float>(10 * comm->rank() + i);
  }
  comm->all_gather(all, mine);
  for (int i = 0; i < 8 * n; ++i)
    CHECK(static_cast<float*>(all.data)[i] == static_cast<float>(10 * (i / 8) + i % 8));
  comm->reduce_scatter_sum(mine, all);
  for (int i = 0; i < 8; ++i)
    CHECK(static_cast<float*>(mine.data)[i] == static_cast<float>(n * (10 * comm->rank() + i)));
  comm->all_reduce_sum(mine);
  CHECK_THROWS_AS(comm->all_gather(all, all.row_range(comm->rank(), 1)), Error);
}
