#pragma once
#include <functional>
#include <string>
#include <vector>

#include "bench/job.hpp"
#include "bench/roofline.hpp"
#include "device/arena.hpp"
#include "device/stopwatch.hpp"
#include "kernels/attention/attention_provider.hpp"

namespace espalier::bench {

/// Times operators one by one, with caches emptied before.
class OperatorTimer {
 public:
  explicit OperatorTimer(device::Context& context);

  /// Adds a row: the median of repetitions of `body`, and what it costs as the operators say.
  void measure(const std::string& name, const std::function<void()>& body);

  std::vector<Timed> rows;

 private:
  device::Context& context_;
  device::Arena flush_arena_;
  device::View flush_;
  device::Stopwatch stopwatch_;
};

/// device::random_operand for a view of f32 or bf16, nothing for others.
void randomize(device::Context& context, const device::View& view, float mean = 0.0f);

}  // namespace espalier::bench
