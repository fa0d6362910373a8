#include "device/random_operand.hpp"

#include "base/error.hpp"
#include "base/random.hpp"

namespace espalier::device {

std::vector<std::byte> random_operand(DType dtype, std::int64_t count, double deviation,
                                      float mean) {
  ESPALIER_ASSERT(dtype == DType::f32 || dtype == DType::bf16, "{}", name_of(dtype));
  // Drawing every number would take longer than what is measured.
  constexpr std::int64_t kNumDrawn = 65535;
  std::vector<float> drawn(kNumDrawn);
  RandomStream(1, "operand").normal(drawn, 0, deviation);
  std::vector<std::byte> bytes(static_cast<std::size_t>(count) * size_of(dtype));
  for (std::int64_t i = 0; i < count; ++i) {
    const float value = mean + drawn[static_cast<std::size_t>(i * 7919 % kNumDrawn)];
    if (dtype == DType::f32)
      reinterpret_cast<float*>(bytes.data())[i] = value;
    else
      reinterpret_cast<bf16*>(bytes.data())[i] = bf16(value);
  }
  return bytes;
}

}  // namespace espalier::device
