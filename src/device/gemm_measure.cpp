#include "device/gemm_measure.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/integers.hpp"
#include "device/gemm_algorithm_cache.hpp"
#include "device/random_operand.hpp"
#include "device/stopwatch.hpp"

namespace espalier::device {
namespace {

/// Device memory for a while.
class Scratch {
 public:
  Scratch(Gpu& gpu, std::string_view what, std::int64_t bytes)
      : gpu_(gpu), memory_(gpu.allocate(what, bytes)) {}
  ~Scratch() { gpu_.release(memory_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  char* data() const { return static_cast<char*>(memory_); }

 private:
  Gpu& gpu_;
  void* memory_;
};

/// Random numbers all over `bytes` of device memory.
void fill(Gpu& gpu, Stream stream, char* data, std::int64_t bytes, DType dtype) {
  constexpr std::int64_t kPattern = 1 << 20;
  const std::int64_t first = std::min(bytes, kPattern);
  const std::vector<std::byte> numbers =
      random_operand(dtype, kPattern / static_cast<std::int64_t>(size_of(dtype)));
  void* pinned = gpu.allocate_pinned(kPattern);
  std::memcpy(pinned, numbers.data(), numbers.size());
  gpu.copy_to_device(data, pinned, {1, first, first, first}, stream);
  for (std::int64_t done = first; done < bytes;) {
    const std::int64_t more = std::min(done, bytes - done);
    gpu.copy_on_device(data + done, data, {1, more, more, more}, stream);
    done += more;
  }
  gpu.synchronize(stream);
  gpu.release_pinned(pinned);
}

}  // namespace

std::optional<int> fastest_gemm(Gpu& gpu, Stream stream, const GemmProblem& problem,
                                int num_algorithms,
                                const std::function<bool(int i, const GemmData&)>& run) {
  if (num_algorithms == 1) return 0;
  // Several sets of operands, so that none is found in the cache of the GPU, as in a step.
  constexpr std::int64_t kBeyondCache = std::int64_t{256} << 20;
  constexpr std::int64_t kMaxSets = 16;
  const auto padded = [](std::int64_t bytes) { return round_up(bytes, 256); };
  const std::int64_t bytes_a = padded(problem.bytes_a()), bytes_b = padded(problem.bytes_b());
  const std::int64_t bytes_c = padded(problem.bytes_c()), bytes_bias = padded(problem.m * 4);
  const std::int64_t bytes_set = bytes_a + bytes_b + bytes_c + bytes_bias;
  const std::int64_t available = gpu.free_bytes() / 2;
  require(bytes_set <= available, ExitStatus::bad_configuration,
          "its operands would take more than half of the free memory");
  const std::int64_t num_sets =
      std::clamp(std::min(kBeyondCache, available) / bytes_set, std::int64_t{1}, kMaxSets);
  const Scratch scratch(gpu, "operands of a matrix product that is measured", num_sets * bytes_set);
  fill(gpu, stream, scratch.data(), num_sets * bytes_set, problem.type_ab);
  std::vector<GemmData> sets;
  for (std::int64_t i = 0; i < num_sets; ++i) {
    // The algorithms were suggested for the caller's alignment; theirs may only be better here.
    char* base = scratch.data() + i * bytes_set;
    sets.push_back(
        {base, base + bytes_a, base + bytes_a + bytes_b, base + bytes_a + bytes_b + bytes_c});
  }

  Stopwatch watch(&gpu, stream);
  // Of one run; 0 when the algorithm refuses.
  const auto seconds_of = [&](std::size_t algorithm, int num_runs) {
    watch.start();
    for (int i = 0; i < num_runs; ++i)
      if (!run(static_cast<int>(algorithm), sets[static_cast<std::size_t>(i) % sets.size()]))
        return 0.0;
    return watch.stop_s() / num_runs;
  };

  // Three rounds over all that is not hopeless, so that a change of clock meets every algorithm.
  constexpr double kSecondsPerRound = 2e-3;
  constexpr double kHopeless = 1.3;
  std::vector<double> best(static_cast<std::size_t>(num_algorithms), 0.0);
  for (int round = 0; round < 3; ++round) {
    double fastest = 0.0;
    for (const double s : best)
      if (s > 0.0 && (fastest == 0.0 || s < fastest)) fastest = s;
    for (std::size_t i = 0; i < best.size(); ++i) {
      if (round > 0 && (best[i] == 0.0 || best[i] > kHopeless * fastest)) continue;
      const double once = seconds_of(i, 1);  // loads it
      if (once == 0.0) continue;
      const double estimate = best[i] > 0.0 ? best[i] : once;
      const int num_runs = static_cast<int>(std::clamp(kSecondsPerRound / estimate, 2.0, 32.0));
      const double seconds = seconds_of(i, num_runs);
      if (seconds > 0.0 && (best[i] == 0.0 || seconds < best[i])) best[i] = seconds;
    }
  }
  gpu.synchronize(stream);  // before the operands go away
  const int chosen = choose_fastest(best);
  if (chosen < 0) return std::nullopt;
  return chosen;
}

}  // namespace espalier::device
