// Which stream waits for which, as a GPU sees it.
#include <catch2/catch.hpp>
#include <vector>

#include "optim/optimizer.hpp"
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
    optimizer = std::make_unique<optim::Optimizer>(
        tensors, parallel::ProcessGrid({.tensor = num_tensor, .data = num_data}, 0), 1,
        state_arena);
    optimizer->set_overlap(overlap);
    comm.tensor = std::make_unique<WrittenCommunicator>(num_tensor, gpu->log);
    for (const parallel::Span span : optimizer->gradient_spans())
      comm.gradients[span] = std::make_unique<WrittenCommunicator>(num_data, gpu->log);
  }
  std::shared_ptr<WrittenGpu> gpu = std::make_shared<WrittenGpu>();
  device::Context context{gpu, 1 << 16};
  device::Arena arena = device::Arena::backed("tensors", 1 << 16, gpu);
  device::Arena state_arena = device::Arena::backed("state", 1 << 16, gpu);
  TensorSpec specs[4] = {{.name = "a", .rows = 8, .cols = 4},
                         {.name = "b", .rows = 8, .cols = 4},
                         {.name = "c", .rows = 8, .cols = 4},
                         {.name = "d", .rows = 8, .cols = 4}};
  std::vector<LocalTensor> tensors;
  std::unique_ptr<optim::Optimizer> optimizer;
  parallel::GridCommunicators comm;
};

}  // namespace

TEST_CASE("sums of gradients run beside the computation until the norm is taken") {
  Job job(/*overlap=*/true);
  for (const int bucket : {2, 0, 1}) job.optimizer->reduce_bucket(job.context, job.comm, bucket);
  CHECK(job.gpu->log == Log{"data waits for compute#0", "sum of 1",  // norm
                            "data waits for compute#2", "sum of 2",  // block
                            "data waits for compute#4", "sum of 1"});
  job.optimizer->square_sums(job.context);
  CHECK(job.gpu->log.back() == "compute waits for data#6");
}

TEST_CASE("weights are gathered in the order of their use and waited for once each") {
  Job job(/*overlap=*/true);
  job.optimizer->begin_gather_weights(job.context, job.comm, std::vector<int>{1, 0, 2});
  CHECK(job.gpu->log ==
        Log{"data waits for compute#0", "gather of 1", "gather of 2", "gather of 1"});
  for (const int bucket : {1, 0, 1, 0}) job.optimizer->wait_for_weights(job.context, bucket);
  CHECK(Log(job.gpu->log.begin() + 4, job.gpu->log.end()) ==
        Log{"compute waits for data#2", "compute waits for data#3"});
  // The step that changes weights waits for those that nobody has used.
  job.optimizer->update(job.context, {}, {.learning_rate = 0.0, .gradient_scale = 1.0, .step = 1},
                        {});
  CHECK(job.gpu->log.back() == "compute waits for data#4");
}

TEST_CASE("beside a tensor group weights are gathered one bucket ahead of their use") {
  Job job(/*overlap=*/true, /*num_data=*/2, /*num_tensor=*/2);
  job.optimizer->begin_gather_weights(job.context, job.comm, std::vector<int>{1, 0, 2});
  CHECK(job.gpu->log == Log{"data waits for compute#0", "gather of 1", "gather of 2"});
  job.gpu->log.clear();
  job.optimizer->wait_for_weights(job.context, 1);
  CHECK(job.gpu->log == Log{"compute waits for data#2"});
  job.optimizer->wait_for_weights(job.context, 0);
  CHECK(job.gpu->log == Log{"compute waits for data#2", "gather of 1", "compute waits for data#3"});
  job.optimizer->wait_for_weights(job.context, 1);
  job.optimizer->wait_for_weights(job.context, 2);
  CHECK(job.gpu->log.size() == 4);

  // What no pass has used is gathered before the weights change.
  job.optimizer->begin_gather_weights(job.context, job.comm, std::vector<int>{1, 0, 2});
  job.gpu->log.clear();
  job.optimizer->update(job.context, {}, {.learning_rate = 0.0, .gradient_scale = 1.0, .step = 1},
                        {});
  CHECK(job.gpu->log.front() == "gather of 1");
  CHECK(job.gpu->log.size() == 4);
}

TEST_CASE("without overlap the computation waits for every collective of the data axis") {
  Job job(/*overlap=*/false);
  job.optimizer->reduce_bucket(job.context, job.comm, 0);
  job.optimizer->begin_gather_weights(job.context, job.comm, std::vector<int>{1, 0, 2});
  CHECK(job.gpu->log == Log{"data waits for compute#0", "sum of 2", "compute waits for data#2",
                            "data waits for compute#3", "gather of 4", "compute waits for data#5"});
  job.gpu->log.clear();
  job.optimizer->wait_for_weights(job.context, 0);
  CHECK(job.gpu->log.empty());
}

TEST_CASE("a single data rank has nothing to wait for") {
  Job job(/*overlap=*/true, /*num_data=*/1);
  job.optimizer->reduce_bucket(job.context, job.comm, 0);
  job.optimizer->begin_gather_weights(job.context, job.comm, std::vector<int>{1, 0, 2});
  job.optimizer->wait_for_weights(job.context, 1);
  CHECK(job.gpu->log.empty());
}
