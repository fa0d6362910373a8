// Which stream waits for which, as a GPU sees it.
#include <catch2/catch.hpp>
#include <map>
#include <string>
#include <vector>

#include "optim/optimizer.hpp"
#include "support/forwarding_gpu.hpp"

using namespace espalier;
using parallel::LocalTensor;
using parallel::RowPieces;
using parallel::TensorSpec;

namespace {

using Log = std::vector<std::string>;

/// Writes down what is recorded and waited for: "side waits for compute".
class WrittenGpu : public testing::ForwardingGpu {
 public:
  device::Stream create_stream(bool urgent) override {
    const device::Stream stream = ForwardingGpu::create_stream(urgent);
    names_[stream] = urgent ? "side" : "compute";
    return stream;
  }
  void record(device::Event event, device::Stream stream) override {
    records_[event] = fmt::format("{}#{}", names_[stream], log.size());
    ForwardingGpu::record(event, stream);
  }
  void wait(device::Stream stream, device::Event event) override {
    log.push_back(fmt::format("{} waits for {}", names_[stream], records_[event]));
    ForwardingGpu::wait(stream, event);
  }
  Log log;  // an event's number is the length of the log when it was recorded

 private:
  std::map<device::Stream, std::string> names_;
  std::map<device::Event, std::string> records_;
};

/// Two ranks of which only this one exists.
class WrittenCommunicator : public parallel::Communicator {
 public:
  WrittenCommunicator(int size, Log& log) : size_(size), log_(log) {}
  int rank() const override { return 0; }
  int size() const override { return size_; }
  void all_reduce_sum(device::View) override {}
  void all_gather(device::View, device::ConstView) override {}
  void reduce_scatter_sum(device::View, device::ConstView) override {}
  void reduce_scatter_pieces(std::span<const RowPieces> tensors) override {
    if (size_ > 1) log_.push_back(fmt::format("sum of {}", tensors.size()));
  }
  void all_gather_pieces(std::span<const RowPieces> tensors) override {
    if (size_ > 1) log_.push_back(fmt::format("gather of {}", tensors.size()));
  }
  void all_reduce_sum(std::span<double>) override {}
  void all_reduce_max(std::span<double>) override {}
  void all_reduce_min(std::span<double>) override {}
  std::vector<double> all_gather(double value) override { return {value}; }
  std::string broadcast(std::string text, int) override { return text; }
  void broadcast(device::View, int) override {}
  void barrier() override {}
  std::vector<std::string> all_gather(const std::string& text) override { return {text}; }
  std::int64_t bytes_sent() const override { return 0; }

 private:
  int size_;
  Log& log_;
};

/// Bucket 0: a block of two tensors; bucket 1: the embedding; bucket 2: the final norm.
struct Job {
  explicit Job(bool overlap, int num_data = 2) {
    for (const int i : {0, 1, 2, 3})
      tensors.push_back({&specs[i], arena.allocate("w", DType::f32, 8, 4),
                         arena.allocate("g", DType::f32, 8, 4), i < 2 ? 0 : i - 1});
    optimizer = std::make_unique<optim::Optimizer>(
        tensors, parallel::ProcessGrid({.data = num_data}, 0), 1, false, state_arena);
    optimizer->set_overlap(overlap);
    comm.tensor = std::make_unique<WrittenCommunicator>(1, gpu->log);
    comm.kv_replicas = std::make_unique<WrittenCommunicator>(1, gpu->log);
    comm.data = std::make_unique<WrittenCommunicator>(num_data, gpu->log);
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
  CHECK(job.gpu->log == Log{"side waits for compute#0", "sum of 1",  // norm
                            "side waits for compute#2", "sum of 2",  // block
                            "side waits for compute#4", "sum of 1"});
  job.optimizer->square_sum(job.context);
  CHECK(job.gpu->log.back() == "compute waits for side#6");
}

TEST_CASE("weights are gathered in the order of their use and waited for once each") {
  Job job(/*overlap=*/true);
  job.optimizer->begin_gather_weights(job.context, job.comm, std::vector<int>{1, 0, 2});
  CHECK(job.gpu->log ==
        Log{"side waits for compute#0", "gather of 1", "gather of 2", "gather of 1"});
  for (const int bucket : {1, 0, 1, 0}) job.optimizer->wait_for_weights(job.context, bucket);
  CHECK(Log(job.gpu->log.begin() + 4, job.gpu->log.end()) ==
        Log{"compute waits for side#2", "compute waits for side#3"});
  // The step that changes weights waits for those that nobody has used.
  job.optimizer->update(job.context, {}, {.learning_rate = 0.0, .gradient_scale = 1.0, .step = 1},
                        {});
  CHECK(job.gpu->log.back() == "compute waits for side#4");
}

TEST_CASE("without overlap the computation waits for every collective of the data axis") {
  Job job(/*overlap=*/false);
  job.optimizer->reduce_bucket(job.context, job.comm, 0);
  job.optimizer->begin_gather_weights(job.context, job.comm, std::vector<int>{1, 0, 2});
  CHECK(job.gpu->log == Log{"side waits for compute#0", "sum of 2", "compute waits for side#2",
                            "side waits for compute#3", "gather of 4", "compute waits for side#5"});
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
