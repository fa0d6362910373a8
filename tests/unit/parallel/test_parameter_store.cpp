// Which stream waits for which, as a GPU sees it.
#include <catch2/catch.hpp>
#include <vector>

#include "parallel/parameter_store.hpp"
#include "support/written_gpu.hpp"

using namespace espalier;
using parallel::LocalTensor;
using parallel::TensorSpec;
using testing::Log;
using testing::WrittenCommunicator;
using testing::WrittenGpu;

namespace {

/// Bucket 0: a block of two tensors; bucket 1: the embedding; bucket 2: the final norm.
struct Job {
  explicit Job(bool overlap, int num_data = 2, int num_tensor = 1)
      : Job(overlap, parallel::ProcessGrid({.tensor = num_tensor, .data = num_data}, 0)) {}
  Job(bool overlap, const parallel::ProcessGrid& grid) {
    const int num_tensor = grid.shape().tensor;
    const int num_data = grid.size_of(parallel::Span::tokens_shared);
    for (const int i : {0, 1, 2, 3})
      tensors.push_back({&specs[i], arena.allocate("w", DType::f32, 8, 4),
                         arena.allocate("g", DType::f32, 8, 4), i < 2 ? 0 : i - 1});
    store = std::make_unique<parallel::ParameterStore>(tensors, grid, 1);
    store->set_overlap(overlap);
    store->set_gather_order({1, 0, 2});
    comm.tensor = std::make_unique<WrittenCommunicator>(num_tensor, gpu->log);
    for (const parallel::Span span : store->gradient_spans())
      comm.gradients[span] = std::make_unique<WrittenCommunicator>(num_data, gpu->log);
    store->connect(comm);
  }
  /// A pass over a bucket's weights.
  void use(int bucket) {
    store->acquire(context, bucket);
    store->release(bucket);
  }
  std::shared_ptr<WrittenGpu> gpu = std::make_shared<WrittenGpu>();
  device::Context context{gpu, 1 << 16};
  device::Arena arena = device::Arena::backed("tensors", 1 << 16, gpu);
  TensorSpec specs[4] = {{.name = "a", .rows = 8, .cols = 4},
                         {.name = "b", .rows = 8, .cols = 4},
                         {.name = "c", .rows = 8, .cols = 4},
                         {.name = "d", .rows = 8, .cols = 4}};
  std::vector<LocalTensor> tensors;
  std::unique_ptr<parallel::ParameterStore> store;
  parallel::GridCommunicators comm;
};

}  // namespace

TEST_CASE("sums of gradients run beside the computation until the norm is taken") {
  Job job(/*overlap=*/true);
  for (const int bucket : {2, 0, 1}) job.store->accumulated(job.context, bucket, /*last=*/true);
  CHECK(job.gpu->log == Log{"data waits for compute#0", "sum of 1",  // norm
                            "data waits for compute#2", "sum of 2",  // block
                            "data waits for compute#4", "sum of 1"});
  job.store->wait_for_gradients(job.context);
  CHECK(job.gpu->log.back() == "compute waits for data#6");
}

TEST_CASE("gradients are summed with the last micro-batch of a step") {
  Job job(/*overlap=*/true);
  job.store->accumulated(job.context, 0, /*last=*/false);
  CHECK(job.gpu->log.empty());
  job.store->accumulated(job.context, 0, /*last=*/true);
  CHECK(job.gpu->log == Log{"data waits for compute#0", "sum of 2"});
}

TEST_CASE("weights are gathered in the order of their use and waited for once each") {
  Job job(/*overlap=*/true);
  job.store->begin_gather(job.context);
  CHECK(job.gpu->log ==
        Log{"data waits for compute#0", "gather of 1", "gather of 2", "gather of 1"});
  for (const int bucket : {1, 0, 1, 0}) job.use(bucket);
  CHECK(Log(job.gpu->log.begin() + 4, job.gpu->log.end()) ==
        Log{"compute waits for data#2", "compute waits for data#3"});
  // The step that changes weights waits for those that nobody has used.
  job.store->wait_for_gathers(job.context);
  CHECK(job.gpu->log.back() == "compute waits for data#4");
}

TEST_CASE("beside messages of passes weights are gathered one bucket ahead of their use") {
  Job job(/*overlap=*/true, /*num_data=*/2, /*num_tensor=*/2);
  job.store->begin_gather(job.context);
  CHECK(job.gpu->log == Log{"data waits for compute#0", "gather of 1", "gather of 2"});
  job.gpu->log.clear();
  job.use(1);
  CHECK(job.gpu->log == Log{"compute waits for data#2"});
  job.use(0);
  CHECK(job.gpu->log == Log{"compute waits for data#2", "gather of 1", "compute waits for data#3"});
  job.use(1);
  job.use(2);
  CHECK(job.gpu->log.size() == 4);

  // What no pass has used is gathered before the weights change.
  job.store->begin_gather(job.context);
  job.gpu->log.clear();
  job.store->wait_for_gathers(job.context);
  CHECK(job.gpu->log.front() == "gather of 1");
  CHECK(job.gpu->log.size() == 4);
}

TEST_CASE("so they are beside a context or an expert group and in a pipeline") {
  for (const parallel::ProcessGrid& grid : {parallel::ProcessGrid({.data = 2}, 0, {.expert = 2}),
                                            parallel::ProcessGrid({.data = 2, .pipeline = 2}, 0),
                                            parallel::ProcessGrid({.context = 2}, 0)}) {
    INFO(grid.describe());
    Job job(/*overlap=*/true, grid);
    job.store->begin_gather(job.context);
    CHECK(job.gpu->log == Log{"data waits for compute#0", "gather of 1", "gather of 2"});
  }
}

TEST_CASE("without overlap the computation waits for every collective of gradients and weights") {
  Job job(/*overlap=*/false);
  job.store->accumulated(job.context, 0, /*last=*/true);
  job.store->begin_gather(job.context);
  CHECK(job.gpu->log == Log{"data waits for compute#0", "sum of 2", "compute waits for data#2",
                            "data waits for compute#3", "gather of 4", "compute waits for data#5"});
  job.gpu->log.clear();
  job.use(0);
  CHECK(job.gpu->log.empty());
}

TEST_CASE("weights that a pass is using may not change") {
  Job job(/*overlap=*/true);
  job.store->acquire(job.context, 0);
  job.store->acquire(job.context, 0);
  job.store->release(0);
  CHECK_THROWS_AS(job.store->wait_for_gathers(job.context), Error);
  job.store->release(0);
  job.store->wait_for_gathers(job.context);
  job.store->release(0);
  CHECK_THROWS_AS(job.store->wait_for_gathers(job.context), Error);
}

TEST_CASE("a single data rank has nothing to wait for") {
  Job job(/*overlap=*/true, /*num_data=*/1);
  job.store->accumulated(job.context, 0, /*last=*/true);
  job.store->begin_gather(job.context);
  job.use(1);
  CHECK(job.gpu->log.empty());
}

TEST_CASE("each group of ranks sums what its rows name, in the same order on every rank") {
  const parallel::ProcessGrid grid({.tensor = 2, .data = 2}, 3);
  const std::vector<parallel::Span> spans{parallel::Span::tokens, parallel::Span::tokens_shared,
                                          parallel::Span::kv_tokens, parallel::Span::tokens};
  // Without replicas of key and value heads their span is the data group.
  CHECK(parallel::distinct_groups(grid, spans) ==
        std::vector<parallel::Span>{parallel::Span::tokens_shared, parallel::Span::tokens});
  CHECK(parallel::distinct_groups(parallel::ProcessGrid({.tensor = 2, .data = 1}, 1), spans) ==
        std::vector<parallel::Span>{parallel::Span::tokens});
  CHECK(parallel::distinct_groups(parallel::ProcessGrid({}, 0), spans).empty());

  const TensorSpec matrix{
      .name = "matrix", .rows = 8, .cols = 4, .shard = parallel::ShardRule::rows};
  const TensorSpec norm{
      .name = "norm", .rows = 5, .is_vector = true, .gradient_span = parallel::Span::tokens};
  std::vector<float> memory(128);
  const std::vector<LocalTensor> tensors{
      {&matrix, device::view_of(memory.data(), 4, 4), device::view_of(memory.data(), 4, 4), 0},
      {&norm, device::view_of(memory.data(), 5, 1), device::view_of(memory.data(), 5, 1), 1}};
  // 64 bytes of the matrix; 20 of the norm, padded to 64.
  for (const int stage : {0, 1})
    CHECK(parallel::ParameterStore(tensors, grid, stage).staging_bytes() == 64 + 64);
  CHECK(parallel::ParameterStore(tensors, parallel::ProcessGrid({.tensor = 2}, 0), 1)
            .staging_bytes() == 64);
}
