#include "device/host_library.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <string>

#include "base/error.hpp"

namespace espalier::device {
namespace {

struct Isa {
  dnnl::cpu_isa isa;
  std::string_view name;  ///< in describe() and, in any case of letters, in the environment
};
/// Lowest first.
constexpr std::array kIsas = {
    Isa{dnnl::cpu_isa::sse41, "sse41"},
    Isa{dnnl::cpu_isa::avx, "avx"},
    Isa{dnnl::cpu_isa::avx2, "avx2"},
    Isa{dnnl::cpu_isa::avx2_vnni, "avx2_vnni"},
    Isa{dnnl::cpu_isa::avx512_core, "avx512_core"},
    Isa{dnnl::cpu_isa::avx512_core_vnni, "avx512_core_vnni"},
    Isa{dnnl::cpu_isa::avx512_core_bf16, "avx512_core_bf16"},
    Isa{dnnl::cpu_isa::avx512_core_amx, "avx512_core_amx"},
};

std::size_t rank_of(dnnl::cpu_isa isa) {
  const auto* at =
      std::find_if(kIsas.begin(), kIsas.end(), [&](const Isa& one) { return one.isa == isa; });
  return static_cast<std::size_t>(at - kIsas.begin());
}

/// What oneDNN reads for itself if no limit is set by a call, which would overrule it: the first of
/// its two variables that is not empty. A name that it does not know is no limit.
[[maybe_unused]] std::size_t rank_in_environment() {
  for (const char* variable : {"ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"}) {
    const char* value = std::getenv(variable);
    if (value == nullptr || *value == '\0') continue;
    std::string name = value;
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    const auto* at =
        std::find_if(kIsas.begin(), kIsas.end(), [&](const Isa& one) { return one.name == name; });
    return static_cast<std::size_t>(at - kIsas.begin());
  }
  return kIsas.size();
}

[[maybe_unused]] dnnl::cpu_isa isa_of(simd::Level level) {
  switch (level) {
    case simd::Level::portable:
      return dnnl::cpu_isa::sse41;
    case simd::Level::avx2:
      return dnnl::cpu_isa::avx2;
    case simd::Level::avx512:
      return dnnl::cpu_isa::avx512_core;
    case simd::Level::avx512_bf16:
      break;
  }
  return dnnl::cpu_isa::all;
}

/// Asked of the library, not of the processor: which primitives there are depends on how it was
/// built.
bool has_bf16_primitive() {
  using dnnl::memory;
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  const memory::desc operand({64, 64}, memory::data_type::bf16, memory::dims{64, 1});
  const memory::desc result({64, 64}, memory::data_type::f32, memory::dims{64, 1});
  try {
    dnnl::matmul::primitive_desc(dnnl::matmul::desc(operand, operand, result), engine);
    return true;
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_unimplemented) return false;
    fail(ExitStatus::internal, "oneDNN matmul of bf16: {} (status {})", error.message,
         static_cast<int>(error.status));
  }
}

}  // namespace

void limit_host_library([[maybe_unused]] simd::Level level) {
#if defined(__x86_64__)
  static std::optional<simd::Level> limited_to;
  if (limited_to == level) return;
  require(!limited_to.has_value(), ExitStatus::internal,
          "oneDNN is limited to the SIMD level {} and takes no other limit: {}",
          simd::name_of(*limited_to), simd::name_of(level));
  const dnnl::cpu_isa wanted = isa_of(level);
  if (rank_of(wanted) < rank_in_environment()) {
    const dnnl::status status = dnnl::set_max_cpu_isa(wanted);
    require(status != dnnl::status::unimplemented, ExitStatus::bad_configuration,
            "this oneDNN was built without limits to its instructions (DNNL_ENABLE_MAX_CPU_ISA), "
            "so that the SIMD level {} cannot be kept; use device.simd = \"auto\"",
            simd::name_of(level));
    // Refused when the library is in use; it may keep the limit all the same.
    require(status == dnnl::status::success ||
                rank_of(dnnl::get_effective_cpu_isa()) <= rank_of(wanted),
            ExitStatus::internal, "oneDNN uses {} already and cannot be limited to {} any more",
            host_library_isa(), simd::name_of(level));
  }
  limited_to = level;
#endif
}

std::string_view host_library_isa() {
  const std::size_t rank = rank_of(dnnl::get_effective_cpu_isa());
  return rank < kIsas.size() ? kIsas[rank].name : "generic";
}

bool host_library_multiplies_bf16() {
  // The library's instructions are fixed from its first use on.
  static const bool answer = [] {
    const dnnl::cpu_isa isa = dnnl::get_effective_cpu_isa();
    const bool is_emulated =
        isa == dnnl::cpu_isa::avx512_core || isa == dnnl::cpu_isa::avx512_core_vnni;
    return !is_emulated && has_bf16_primitive();
  }();
  return answer;
}

}  // namespace espalier::device
