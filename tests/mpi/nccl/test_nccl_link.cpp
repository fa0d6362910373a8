// The links of a pipeline over NCCL, against an imitation of the library in host memory, in which a
// message arrives no sooner than a stream is made to wait for it.
#include <dlfcn.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <string_view>

#include "mpi/parallel/played_program.hpp"
#include "parallel/comm/nccl_pipeline_link.hpp"
#include "support/forwarding_gpu.hpp"

using namespace espalier;
using namespace espalier::testing;

namespace {

/// A stream that waits for a moment of another has what that one was given before.
class FinishingGpu : public ForwardingGpu {
 public:
  FinishingGpu() {
    void* library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    REQUIRE(library != nullptr);
    now_ = reinterpret_cast<int (*)()>(dlsym(library, "imitated_nccl_now"));
    finish_ =
        reinterpret_cast<void (*)(device::Stream, int)>(dlsym(library, "imitated_nccl_finish"));
    REQUIRE((now_ != nullptr && finish_ != nullptr));
  }
  void record(device::Event event, device::Stream stream) override {
    moments_[event] = {stream, now_()};
    ForwardingGpu::record(event, stream);
  }
  void wait(device::Stream stream, device::Event event) override {
    const auto [of, moment] = moments_.at(event);
    if (of != stream) finish_(of, moment);
    waits[stream] += 1;
    ForwardingGpu::wait(stream, event);
  }
  void synchronize(device::Stream stream) override {
    finish_(stream, now_());
    ForwardingGpu::synchronize(stream);
  }
  // The imitation sends from and receives into memory of the host.
  void* allocate(std::string_view, std::int64_t bytes) override {
    return std::malloc(static_cast<std::size_t>(bytes));
  }
  void release(void* memory) noexcept override { std::free(memory); }
  std::map<device::Stream, int> waits;

 private:
  int (*now_)() = nullptr;
  void (*finish_)(device::Stream, int) = nullptr;
  std::map<device::Event, std::pair<device::Stream, int>> moments_;
};

void play(const parallel::GridShape& shape, int m, std::int64_t floats) {
  parallel::MpiSession session(nullptr, nullptr);
  const parallel::ProcessGrid grid(shape, session.rank());
  for (const pipeline::Schedule& schedule : schedules_of(shape.pipeline, m)) {
    CAPTURE(pipeline::name_of(schedule.kind), m, grid.describe());
    const auto gpu = std::make_shared<FinishingGpu>();
    device::Context context(gpu);
    const pipeline::Program program = pipeline::lower(schedule);
    MPI_Comm ranks = MPI_COMM_NULL;
    parallel::check_mpi(MPI_Comm_split(MPI_COMM_WORLD, grid.first_of(parallel::Span::pipeline),
                                       grid.rank(), &ranks),
                        "MPI_Comm_split");
    const auto link =
        parallel::make_nccl_pipeline_link(ranks, schedule.placement, gpu, context.queue().stream);
    PlayedProgram played(context, *link, program, grid.pipeline_rank(),
                         grid.rank() % shape.stage_size(), floats);
    for (int step = 0; step < 2; ++step) played.play();
    REQUIRE(played.num_checked() == 2 * played.num_expected());
    const auto& mine = program.ranks[static_cast<std::size_t>(grid.pipeline_rank())];
    REQUIRE(link->bytes_sent() == 2 * mine.num_messages * floats * 4);
    // The compute stream waits for each message, and for each buffer that is sent again.
    const auto num_waits =
        std::count_if(mine.steps.begin(), mine.steps.end(), [](const pipeline::Step& step) {
          return step.kind == pipeline::StepKind::wait_receive ||
                 step.kind == pipeline::StepKind::wait_send;
        });
    REQUIRE(gpu->waits[context.queue().stream] == 2 * num_waits);
  }
}

}  // namespace

TEST_CASE("NCCL's links bring every schedule's messages in their order") {
  int n = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &n);
  for (const int m : {1, 3, 8}) play({.pipeline = n}, m, 100);
  if (n == 4) play({.data = 2, .pipeline = 2}, 4, 20000);
}

TEST_CASE("a call of a link that fails says which link") {
  parallel::MpiSession session(nullptr, nullptr);
  if (session.size() == 1) return;
  const pipeline::Placement placement{.ranks = session.size()};
  const auto gpu = std::make_shared<FinishingGpu>();
  device::Context context(gpu);
  MPI_Comm ranks = MPI_COMM_NULL;
  parallel::check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &ranks), "MPI_Comm_dup");
  const auto link =
      parallel::make_nccl_pipeline_link(ranks, placement, gpu, context.queue().stream);
  setenv("IMITATED_NCCL_FAILS", "ncclSend", 1);
  std::vector<float> data(4);
  if (session.rank() == 0)
    REQUIRE_THROWS_WITH(
        link->post_send({pipeline::ActionKind::forward, 1, 0}, 1,
                        device::view_of(data.data(), 1, 4)),
        Catch::Contains("ncclSend failed on rank 0 of 2 of the link of residual streams to stage "
                        "1 with pipeline rank 1"));
  unsetenv("IMITATED_NCCL_FAILS");
  REQUIRE_THROWS_WITH(link->wait_send({pipeline::ActionKind::forward, 1, 7}),
                      Catch::Contains("was not posted"));
}
