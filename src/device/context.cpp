#include "device/context.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/host_loops.hpp"
#include "base/simd/level.hpp"
#include "device/arena.hpp"
#include "device/random_operand.hpp"
#include "device/stopwatch.hpp"

namespace espalier::device {
namespace {

std::int64_t bytes_per_row(const ConstView& view) {
  return view.cols * static_cast<std::int64_t>(size_of(view.dtype));
}
std::int64_t bytes_between_rows(const ConstView& view) {
  return view.stride * static_cast<std::int64_t>(size_of(view.dtype));
}

void copy_rows(void* to, std::int64_t to_stride, const void* from, std::int64_t from_stride,
               std::int64_t rows, std::int64_t row_bytes) {
  if (rows == 0 || row_bytes == 0) return;
  if (to_stride == row_bytes && from_stride == row_bytes) {
    std::memcpy(to, from, static_cast<std::size_t>(rows * row_bytes));
    return;
  }
  for (std::int64_t r = 0; r < rows; ++r)
    std::memcpy(static_cast<char*>(to) + r * to_stride,
                static_cast<const char*>(from) + r * from_stride,
                static_cast<std::size_t>(row_bytes));
}

}  // namespace

Context::Context() : Context(nullptr) {}

Context::Context(Counting counting)
    : backend_(counting.backend),
      is_counting_(true),
      gemm_(std::make_unique<Gemm>(Gemm::Counting{})) {
  gemm_->count_in(&profiler_);
}

Context::Context(std::shared_ptr<Gpu> gpu, std::int64_t workspace_elements)
    : backend_(gpu ? gpu->backend() : Backend::host), gpu_(std::move(gpu)) {
  if (gpu_ == nullptr) {
    gemm_ = std::make_unique<Gemm>();
    gemm_->count_in(&profiler_);
    return;
  }
  queue_.stream = gpu_->create_stream(/*urgent=*/false);
  for (Lane& lane : lanes_) {
    lane.queue.stream = gpu_->create_stream(/*urgent=*/true);
    lane.forked = gpu_->create_event(/*timed=*/false);
    lane.joined = gpu_->create_event(/*timed=*/false);
  }
  profiler_.measure_stream(gpu_, queue_.stream);
  staging_ = std::make_unique<Staging>(gpu_, queue_.stream);
  if (workspace_elements > 0) {
    device_workspace_ = gpu_->allocate("workspace of kernels", workspace_bytes(workspace_elements));
    queue_.workspace = static_cast<float*>(device_workspace_);
    Queue& beside = lane(CommunicationStream::data).queue;
    beside.workspace = queue_.workspace + workspace_elements;
    queue_.workspace_elements = beside.workspace_elements = workspace_elements;
  }
  gemm_ = std::make_unique<Gemm>(gpu_, queue_.stream);
  gemm_->count_in(&profiler_);
}

Context::~Context() {
  graphs_.reset();
  gemm_.reset();
  staging_.reset();
  if (gpu_ == nullptr) return;
  gpu_->release(device_workspace_);
  for (const Lane& lane : lanes_) {
    gpu_->destroy(lane.forked);
    gpu_->destroy(lane.joined);
    gpu_->destroy(lane.queue.stream);
  }
  gpu_->destroy(queue_.stream);
}

void Context::fork_communication(CommunicationStream stream) {
  if (gpu_ == nullptr) return;
  gpu_->record(lane(stream).forked, queue_.stream);
  gpu_->wait(lane(stream).queue.stream, lane(stream).forked);
}

void Context::join_communication(CommunicationStream stream) {
  mark_communication(stream);
  wait_communication(stream);
}

void Context::mark_communication(CommunicationStream stream) {
  if (gpu_ != nullptr) gpu_->record(lane(stream).joined, lane(stream).queue.stream);
}

void Context::wait_communication(CommunicationStream stream) {
  if (gpu_ != nullptr) gpu_->wait(queue_.stream, lane(stream).joined);
}

void Context::use_graphs(bool wanted) {
  if (graphs_ != nullptr) graphs_->forget();
  graphs_.reset();
  if (wanted && gpu_ != nullptr && gpu_->is_graph_supported())
    graphs_ = std::make_unique<GraphCache>(gpu_, queue_.stream, profiler_);
}

void Context::upload(View to, const void* from) {
  if (is_counting_) return;
  if (gpu_ != nullptr)
    staging_->upload(to, from);
  else
    copy_rows(to.data, bytes_between_rows(to), from, bytes_per_row(to), to.rows, bytes_per_row(to));
}

void Context::download(void* to, ConstView from) {
  if (is_counting_) {
    std::memset(to, 0, static_cast<std::size_t>(from.size_bytes()));
    return;
  }
  if (gpu_ != nullptr)
    staging_->download(to, from);
  else
    copy_rows(to, bytes_per_row(from), from.data, bytes_between_rows(from), from.rows,
              bytes_per_row(from));
}

void Context::copy(View to, ConstView from) {
  ESPALIER_ASSERT(to.rows == from.rows && to.cols == from.cols && to.dtype == from.dtype,
                  "{} to {}", device::describe(from), device::describe(to));
  if (is_counting_) return;
  if (gpu_ != nullptr)
    gpu_->copy_on_device(
        to.data, from.data,
        {from.rows, bytes_per_row(from), bytes_between_rows(to), bytes_between_rows(from)},
        queue_.stream);
  else
    copy_rows(to.data, bytes_between_rows(to), from.data, bytes_between_rows(from), from.rows,
              bytes_per_row(from));
}

void Context::synchronize() {
  if (gpu_ == nullptr) return;
  gpu_->synchronize(queue_.stream);
  for (const Lane& lane : lanes_) gpu_->synchronize(lane.queue.stream);
}

double Context::measure_gemm_peak(DType dtype, double seconds) {
  // 2048^3 keeps every host thread in its inner kernel and still takes a few hundredths of a
  // second; 8192^3 fills a GPU. The emulated GPU is no machine to measure.
  if (backend() == Backend::emulated) return 0.0;
  const std::int64_t size = on_host() ? 2048 : 8192;
  const double flops = 2.0 * static_cast<double>(size) * static_cast<double>(size * size);
  Arena arena =
      Arena::backed("gemm peak", 3 * size * size * static_cast<std::int64_t>(size_of(dtype)), gpu_);
  const View x = arena.allocate("x", dtype, size, size);
  const View w = arena.allocate("w", dtype, size, size);
  const View y = arena.allocate("y", dtype, size, size);
  const std::vector<std::byte> values = random_operand(dtype, x.size());
  upload(x, values.data());
  upload(w, values.data());
  gemm().forward(y, x, w);  // creates the primitive
  synchronize();
  // The peak is the best single product: other programs can only make it slower.
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  Stopwatch watch(gpu_.get(), queue_.stream);
  double best = 0.0;
  const auto start = Clock::now();
  do {
    watch.start();
    gemm().forward(y, x, w);
    best = std::max(best, flops / watch.stop_s());
  } while (since(start) < seconds);
  return best;
}

std::string Context::describe() const {
  if (on_host())
    return fmt::format("host, {} thread{}, SIMD level {}, {}", num_host_threads(),
                       num_host_threads() == 1 ? "" : "s", simd::name_of(simd::level()),
                       gemm_->describe());
  return fmt::format("{}, {}, {}, {}", name_of(backend()), gpu_->description().name,
                     gpu_->description().versions, gemm_->describe());
}

float* Context::workspace(std::int64_t elements) {
  if (static_cast<std::size_t>(elements) > workspace_.size())
    workspace_.resize(static_cast<std::size_t>(elements));
  return workspace_.data();
}

}  // namespace espalier::device
