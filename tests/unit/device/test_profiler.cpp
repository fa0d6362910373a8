#include <catch2/catch.hpp>
#include <chrono>
#include <numeric>
#include <thread>

#include "device/profiler.hpp"

namespace espalier::device {

TEST_CASE("an inner scope's time is not counted in the outer one", "[profiler]") {
  using namespace std::chrono_literals;
  Profiler profiler;
  const auto start = std::chrono::steady_clock::now();
  {
    const auto outer = profiler.scope(Phase::attention);
    std::this_thread::sleep_for(5ms);
    {
      const auto inner = profiler.scope(Phase::mlp);
      std::this_thread::sleep_for(20ms);
    }
  }
  const auto seconds = profiler.seconds();
  const double all =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  CHECK(seconds[static_cast<std::size_t>(Phase::mlp)] >= 0.020);
  CHECK(seconds[static_cast<std::size_t>(Phase::attention)] >= 0.005);
  CHECK(seconds[static_cast<std::size_t>(Phase::attention)] +
            seconds[static_cast<std::size_t>(Phase::mlp)] <=
        all);
  profiler.reset();
  const auto after = profiler.seconds();
  CHECK(after[static_cast<std::size_t>(Phase::mlp)] == 0.0);
}

}  // namespace espalier::device
