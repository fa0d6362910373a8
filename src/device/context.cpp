#include "device/context.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <oneapi/dnnl/dnnl.hpp>

#include "base/host_loops.hpp"
#include "device/arena.hpp"

namespace espalier::device {
namespace {

std::string_view name_of_isa(dnnl::cpu_isa isa) {
  switch (isa) {
    case dnnl::cpu_isa::sse41:
      return "sse41";
    case dnnl::cpu_isa::avx:
      return "avx";
    case dnnl::cpu_isa::avx2:
      return "avx2";
    case dnnl::cpu_isa::avx2_vnni:
      return "avx2_vnni";
    case dnnl::cpu_isa::avx512_core:
      return "avx512_core";
    case dnnl::cpu_isa::avx512_core_vnni:
      return "avx512_core_vnni";
    case dnnl::cpu_isa::avx512_core_bf16:
      return "avx512_core_bf16";
    case dnnl::cpu_isa::avx512_core_amx:
      return "avx512_core_amx";
    default:
      return "generic";
  }
}

}  // namespace

double Context::measure_gemm_peak(DType dtype, double seconds) {
  // 2048^3 keeps every thread in its inner kernel and still takes a few hundredths of a second.
  constexpr std::int64_t kSize = 2048;
  constexpr double kFlops = 2.0 * kSize * kSize * kSize;
  Arena arena =
      Arena::backed("gemm peak", 3 * kSize * kSize * static_cast<std::int64_t>(size_of(dtype)));
  const View x = arena.allocate("x", dtype, kSize, kSize);
  const View w = arena.allocate("w", dtype, kSize, kSize);
  const View y = arena.allocate("y", dtype, kSize, kSize);
  const auto fill = [dtype](View view) {
    for (std::int64_t i = 0; i < view.size(); ++i) {
      const float value = static_cast<float>(i % 7) - 3.0f;
      if (dtype == DType::f32)
        view.as<float>()[i] = value;
      else
        view.as<bf16>()[i] = bf16(value);
    }
  };
  fill(x);
  fill(w);
  gemm_.forward(y, x, w);  // creates the primitive
  // The peak is the best single product: other programs can only make it slower.
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  double best = 0.0;
  const auto start = Clock::now();
  do {
    const auto begin = Clock::now();
    gemm_.forward(y, x, w);
    best = std::max(best, kFlops / since(begin));
  } while (since(start) < seconds);
  return best;
}

std::string Context::describe() const {
  const dnnl_version_t* version = dnnl_version();
  return fmt::format("host, {} thread{}, oneDNN {}.{}.{} {}", num_host_threads(),
                     num_host_threads() == 1 ? "" : "s", version->major, version->minor,
                     version->patch, name_of_isa(dnnl::get_effective_cpu_isa()));
}

float* Context::workspace(std::int64_t elements) {
  if (static_cast<std::size_t>(elements) > workspace_.size())
    workspace_.resize(static_cast<std::size_t>(elements));
  return workspace_.data();
}

}  // namespace espalier::device
