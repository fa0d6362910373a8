// Parts of the tensor group's collectives beside the products: which stream waits for which.
#include <catch2/catch.hpp>

#include "device/arena.hpp"
#include "parallel/boundary.hpp"
#include "support/written_gpu.hpp"

using namespace espalier;
using device::ConstView;
using device::View;
using parallel::Rows;
using parallel::TensorBoundary;
using testing::Log;
using testing::WrittenCommunicator;
using testing::WrittenGpu;

namespace {

/// Rank 1 of 3, 8 tokens of 4: parts of 2, 3 and 3 rows, or with split tokens 9 tokens in threes.
struct Job {
  explicit Job(bool sequence_parallel)
      : boundary(tensor, sequence_parallel, &beside),
        all(arena.allocate("all", DType::f32, sequence_parallel ? 9 : 8, 4)),
        own(arena.allocate("own", DType::f32, 3, 4)) {}
  /// A product that is written down.
  auto product(const char* name) {
    return [this, name](Rows rows, ConstView input = {}) {
      if (input.data != nullptr) CHECK(input.rows == rows.count);
      gpu->log.push_back(fmt::format("{} {}-{}", name, rows.first, rows.first + rows.count));
    };
  }
  std::shared_ptr<WrittenGpu> gpu = std::make_shared<WrittenGpu>();
  device::Context context{gpu};
  device::Arena arena = device::Arena::backed("tokens", 1 << 12, gpu);
  WrittenCommunicator tensor{3, gpu->log, /*rank=*/1}, beside{3, gpu->log, /*rank=*/1};
  TensorBoundary boundary;
  View all, own;
};

}  // namespace

TEST_CASE("the own part is multiplied first, the others when they have arrived") {
  Job job(/*sequence_parallel=*/true);
  const ConstView result =
      job.boundary.enter_forward(job.context, job.own, job.all, job.product("product"));
  CHECK(result.data == job.all.data);
  CHECK(job.gpu->log == Log{"tensor waits for compute#0", "product 3-6",  // own
                            "gather of 1", "compute waits for tensor#3",  // rank 0's
                            "product 0-3",                                //
                            "gather of 1", "compute waits for tensor#6",  // own to the others
                            "gather of 1", "compute waits for tensor#8",  // rank 2's
                            "product 6-9"});
}

TEST_CASE("a part is summed while the next is multiplied, and all before the result is used") {
  Job job(/*sequence_parallel=*/true);
  const View result = job.boundary.enter_backward(job.context, job.all, {}, job.product("product"),
                                                  [&] { job.gpu->log.push_back("meanwhile"); });
  CHECK(result.data == job.all.row_range(3, 3).data);
  CHECK(result.rows == 3);
  CHECK(job.gpu->log == Log{"product 0-3", "tensor waits for compute#1", "sum of 1",  //
                            "product 3-6", "tensor waits for compute#4", "sum of 1",  //
                            "product 6-9", "tensor waits for compute#7", "sum of 1",  //
                            "meanwhile", "compute waits for tensor#10"});
}

TEST_CASE("without split tokens sums are cut and nothing is gathered") {
  Job job(/*sequence_parallel=*/false);
  const View result = job.boundary.leave_forward(job.context, job.all, {}, job.product("product"));
  CHECK(result.data == job.all.data);
  CHECK(result.rows == 8);
  CHECK(job.gpu->log == Log{"product 0-2", "tensor waits for compute#1", "sum of 2 rows",
                            "product 2-5", "tensor waits for compute#4", "sum of 3 rows",
                            "product 5-8", "tensor waits for compute#7", "sum of 3 rows",
                            "compute waits for tensor#9"});
  job.gpu->log.clear();
  job.boundary.enter_forward(job.context, job.all, {}, job.product("product"));
  CHECK(job.gpu->log == Log{"product 0-8"});
}

TEST_CASE("what is gathered early is waited for once") {
  Job job(/*sequence_parallel=*/true);
  job.boundary.enter_forward_early(job.context, job.own, job.all);
  CHECK(job.gpu->log == Log{"tensor waits for compute#0", "gather of 9 rows"});
  job.boundary.wait(job.context);
  CHECK(job.gpu->log.back() == "compute waits for tensor#2");
}

TEST_CASE("without a second communicator a product is whole and nothing is waited for") {
  Job job(/*sequence_parallel=*/true);
  TensorBoundary plain(job.tensor, /*sequence_parallel=*/true);
  plain.enter_forward(job.context, job.own, job.all, job.product("product"));
  plain.enter_backward(job.context, job.all, job.own, job.product("gradient"), [] {});
  plain.wait(job.context);
  CHECK(job.gpu->log ==
        Log{"gather of 9 rows", "product 0-9", "gradient 0-9", "reduce-scatter of 9 rows"});
  job.gpu->log.clear();
  plain.enter_forward_in_chunks(job.context, job.own, job.all, 6, [&](Rows rows, ConstView input) {
    job.product("chunk")(rows, input);
    plain.begin_enter_backward(job.context, job.all, rows);
  });
  const View result = plain.finish_enter_backward(job.context, job.all, job.own);
  CHECK(result.data == job.own.data);
  CHECK(job.gpu->log ==
        Log{"gather of 9 rows", "chunk 0-6", "chunk 6-9", "reduce-scatter of 9 rows"});
}

TEST_CASE("a chunk arrives while the one before it is computed, and is summed during the next") {
  const bool sequence_parallel = GENERATE(true, false);
  Job job(sequence_parallel);
  const auto chunk = job.product("chunk");
  job.boundary.enter_forward_in_chunks(job.context, sequence_parallel ? job.own : job.all, job.all,
                                       /*chunk_tokens=*/4, [&](Rows rows, ConstView input) {
                                         CHECK(input.data == rows.of(job.all).data);
                                         chunk(rows, input);
                                         job.boundary.begin_enter_backward(job.context, job.all,
                                                                           rows);
                                         job.gpu->log.push_back("meanwhile");
                                       });
  const View result = job.boundary.finish_enter_backward(job.context, job.all, {});
  CHECK(result.data == job.all.row_range(sequence_parallel ? 3 : 0, 1).data);
  CHECK(result.rows == (sequence_parallel ? 3 : 8));
  if (sequence_parallel)
    CHECK(job.gpu->log == Log{"tensor waits for compute#0",
                              "gather of 1",  //
                              "compute waits for tensor#2",
                              "gather of 1",
                              "chunk 0-4",  //
                              "tensor waits for compute#5",
                              "sum of 1",
                              "meanwhile",                   //
                              "compute waits for tensor#4",  // not for the sum
                              "gather of 1",
                              "chunk 4-8",  //
                              "tensor waits for compute#11",
                              "sum of 1",
                              "meanwhile",  //
                              "compute waits for tensor#10",
                              "chunk 8-9",  //
                              "tensor waits for compute#16",
                              "sum of 1",
                              "meanwhile",  //
                              "compute waits for tensor#19"});
  else
    CHECK(job.gpu->log == Log{"chunk 0-4", "tensor waits for compute#1", "sum of 4 rows",
                              "meanwhile", "chunk 4-8", "tensor waits for compute#5",
                              "sum of 4 rows", "meanwhile", "compute waits for tensor#8"});
}
