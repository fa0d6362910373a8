#pragma once
#include <cstdint>
#include <optional>

#include "device/arena.hpp"
#include "device/gemm_engine.hpp"

namespace espalier::device {

/// Products of bf16 on a host whose library multiplies only fp32 (or that faster): operands are
/// widened, which is exact, and multiplied in fp32; a bf16 result is rounded once, after its bias
/// and what was there have been added in fp32.
///
/// Rows, columns and the sum are cut into blocks, so that what is widened stays near the cores and
/// needs little memory. Threads share the widened blocks and take tiles of the result, each a
/// product of its own on one thread: the number of threads never shows in a result.
class WidenedProducts {
 public:
  /// See GemmEngine; a and b are bf16.
  void multiply(const GemmOperand& c, const GemmOperand& a, const GemmOperand& b, bool accumulate,
                const void* bias);

  /// Host memory for all of this, whatever the shapes: taken at the first product and kept.
  static std::int64_t scratch_bytes();

 private:
  void take_scratch();

  std::optional<Arena> scratch_;
  float* a_ = nullptr;  ///< a block of each
  float* b_ = nullptr;
  float* c_ = nullptr;
  float* bias_ = nullptr;
};

}  // namespace espalier::device
