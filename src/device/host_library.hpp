#pragma once
#include <string_view>

#include "base/simd/level.hpp"

namespace espalier::device {

/// From now on oneDNN, which multiplies on the host, uses no instructions above `level`: portable
/// is its sse41, avx2 its avx2, avx512 its avx512_core, and avx512_bf16 leaves it free. A lower
/// limit in the environment (ONEDNN_MAX_CPU_ISA) stays in force.
///
/// oneDNN takes a limit once, before its first use, and any question about its instructions is a
/// use: call this before a Gemm is made and before the functions below, from one thread. Again with
/// the same level it does nothing; with another one it throws Error (internal), as it does when the
/// library is already in use above the level. Only x86 has levels: elsewhere nothing happens.
void limit_host_library(simd::Level level);

/// The instructions that oneDNN uses at most: "avx2", "avx512_core_bf16"; "generic" without x86.
std::string_view host_library_isa();

/// Whether the library's own products of bf16 are the fastest here. Where it has none, or emulates
/// them without the instruction, operands are better widened to fp32.
bool host_library_multiplies_bf16();

}  // namespace espalier::device
