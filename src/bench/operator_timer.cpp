#include "bench/operator_timer.hpp"

#include <algorithm>

#include "device/random_operand.hpp"
#include "kernels/elementwise.hpp"

namespace espalier::bench {
namespace {

/// Longer than any cache of a host or a GPU: written before each repetition, so that operands come
/// from memory.
constexpr std::int64_t kFlushBytes = std::int64_t{256} << 20;
constexpr double kSecondsPerOperator = 0.3;
constexpr int kMostRepeats = 50;

std::int64_t flush_bytes(const device::Context& context) {
  return context.backend() == device::Backend::emulated ? 64 : kFlushBytes;
}

}  // namespace

OperatorTimer::OperatorTimer(device::Context& context)
    : context_(context),
      flush_arena_(device::Arena::backed("flush", flush_bytes(context), context.shared_gpu())),
      flush_(flush_arena_.allocate("flush", DType::f32, 1, flush_bytes(context) / 4)),
      stopwatch_(context.gpu(), context.queue().stream) {}

void OperatorTimer::measure(const std::string& name, const std::function<void()>& body) {
  body();  // makes primitives, touches memory
  context_.synchronize();
  const auto before = context_.profiler().costs();
  body();
  Timed row{.name = name};
  const auto after = context_.profiler().costs();
  for (std::size_t i = 0; i < device::kNumPhases; ++i) {
    row.flops += after[i].flops - before[i].flops;
    row.bytes += after[i].bytes - before[i].bytes;
  }
  std::vector<double> seconds;
  double sum = 0.0;
  do {
    kernels::set_zero(context_, flush_);
    context_.synchronize();
    stopwatch_.start();
    body();
    seconds.push_back(stopwatch_.stop_s());
    sum += seconds.back();
  } while (sum < kSecondsPerOperator && seconds.size() < kMostRepeats);
  std::sort(seconds.begin(), seconds.end());
  row.seconds = seconds[seconds.size() / 2];
  rows.push_back(row);
}

void randomize(device::Context& context, const device::View& view, float mean) {
  if (view.size() == 0 || (view.dtype != DType::f32 && view.dtype != DType::bf16)) return;
  context.upload(view, device::random_operand(view.dtype, view.size(), 0.5, mean).data());
}

}  // namespace espalier::bench
