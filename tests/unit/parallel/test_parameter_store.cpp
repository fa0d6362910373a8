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
  explicit Job(bool overlap, int num_data = 2, int num_tensor = 1) {
    for (const int i : {0, 1, 2, 3})
      tensors.push_back({&specs[i], arena.allocate("w", DType::f32, 8, 4),
                         arena.allocate("g", DType::f32, 8, 4), i < 2 ? 0 : i - 1});
    store = std::make_unique<parallel::ParameterStore>(
        tensors, parallel::ProcessGrid({.tensor = num_tensor, .data = num_data}, 0), 1);
    store->set_overlap(overlap);
    store->set_gather_order({1, 0, 2});
    comm.tensor = std::make_unique<WrittenCommunicator>(num_tensor, gpu->log);
    for (const parallel::Span span : store->gradient_spans())
      comm.gradients[span] = std::make_unique<WrittenCommunicator>(num_data, gpu->log);
    store->connect(comm);
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
  for (const int bucket : {1, 0, 1, 0}) job.store->acquire(job.context, bucket);
  CHECK(Log(job.gpu->log.begin() + 4, job.gpu->log.end()) ==
        Log{"compute waits for data#2", "compute waits for data#3"});
  // The step that changes weights waits for those that nobody has used.
  job.store->wait_for_gathers(job.context);
  CHECK(job.gpu->log.back() == "compute waits for data#4");
}

TEST_CASE("beside a tensor group weights are gathered one bucket ahead of their use") {
  Job job(/*overlap=*/true, /*num_data=*/2, /*num_tensor=*/2);
  job.store->begin_gather(job.context);
  CHECK(job.gpu->log == Log{"data waits for compute#0", "gather of 1", "gather of 2"});
  job.gpu->log.clear();
  job.store->acquire(job.context, 1);
  CHECK(job.gpu->log == Log{"compute waits for data#2"});
  job.store->acquire(job.context, 0);
  CHECK(job.gpu->log == Log{"compute waits for data#2", "gather of 1", "compute waits for data#3"});
  job.store->acquire(job.context, 1);
  job.store->acquire(job.context, 2);
  CHECK(job.gpu->log.size() == 4);

  // What no pass has used is gathered before the weights change.
  job.store->begin_gather(job.context);
  job.gpu->log.clear();
  job.store->wait_for_gathers(job.context);
  CHECK(job.gpu->log.front() == "gather of 1");
  CHECK(job.gpu->log.size() == 4);
}

TEST_CASE("without overlap the computation waits for every collective of the data axis") {
  Job job(/*overlap=*/false);
  job.store->accumulated(job.context, 0, /*last=*/true);
  job.store->begin_gather(job.context);
  CHECK(job.gpu->log == Log{"data waits for compute#0", "sum of 2", "compute waits for data#2",
                            "data waits for compute#3", "gather of 4", "compute waits for data#5"});
  job.gpu->log.clear();
  job.store->acquire(job.context, 0);
  CHECK(job.gpu->log.empty());
}

TEST_CASE("a single data rank has nothing to wait for") {
  Job job(/*overlap=*/true, /*num_data=*/1);
  job.store->accumulated(job.context, 0, /*last=*/true);
  job.store->begin_gather(job.context);
  job.store->acquire(job.context, 1);
  CHECK(job.gpu->log.empty());
}
