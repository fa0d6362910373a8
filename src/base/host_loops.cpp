#include "base/host_loops.hpp"

#include <Kokkos_Core.hpp>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <vector>

#include "base/integers.hpp"

namespace espalier {
namespace {
using Space = Kokkos::DefaultHostExecutionSpace;
}

HostRuntime::HostRuntime(int num_threads) {
  Kokkos::InitArguments arguments;
  arguments.num_threads = num_threads > 0 ? num_threads : -1;
  arguments.disable_warnings = true;
  Kokkos::initialize(arguments);
}

HostRuntime::~HostRuntime() {
  Kokkos::finalize();
}

int num_host_threads() {
  return Space().concurrency();
}

void host_for_ranges(std::int64_t count, std::int64_t grain,
                     FunctionRef<void(std::int64_t, std::int64_t)> body) {
  if (count <= 0) return;
  const std::int64_t grains = div_ceil(count, grain);
  const std::int64_t parts = std::min<std::int64_t>(num_host_threads(), grains);
  if (parts == 1) return body(0, count);
  Kokkos::parallel_for(
      Kokkos::RangePolicy<Space, Kokkos::Schedule<Kokkos::Static>, Kokkos::IndexType<std::int64_t>>(
          0, parts, Kokkos::ChunkSize(1)),
      [=](std::int64_t part) {
        const std::int64_t begin = grains * part / parts * grain;
        const std::int64_t end = std::min(count, grains * (part + 1) / parts * grain);
        if (begin < end) body(begin, end);
      });
}

void host_for_tasks(std::int64_t count, FunctionRef<void(std::int64_t)> body) {
  if (count <= 0) return;
  if (count == 1 || num_host_threads() == 1) {
    for (std::int64_t task = 0; task < count; ++task) body(task);
    return;
  }
  // An exception must not leave a thread of the loop: the first one is thrown behind it.
  std::exception_ptr first;
  std::atomic<bool> failed = false;
  std::mutex mutex;
  const auto guarded = [&](std::int64_t task) {
    if (failed) return;
    try {
      body(task);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failed.exchange(true)) first = std::current_exception();
    }
  };
  const auto* one = &guarded;
  Kokkos::parallel_for(
      Kokkos::RangePolicy<Space, Kokkos::Schedule<Kokkos::Dynamic>,
                          Kokkos::IndexType<std::int64_t>>(0, count, Kokkos::ChunkSize(1)),
      [=](std::int64_t task) { (*one)(task); });
  if (first) std::rethrow_exception(first);
}

double host_sum(std::int64_t count, std::int64_t slice,
                FunctionRef<double(std::int64_t, std::int64_t)> body) {
  if (count <= 0) return 0.0;
  const std::int64_t num_slices = div_ceil(count, slice);
  std::vector<double> partial(static_cast<std::size_t>(num_slices));
  host_for_ranges(num_slices, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i)
      partial[static_cast<std::size_t>(i)] = body(i * slice, std::min(count, (i + 1) * slice));
  });
  double sum = 0.0;
  for (double value : partial) sum += value;
  return sum;
}

}  // namespace espalier
