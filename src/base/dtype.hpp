#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace espalier {

/// Element types of buffers. Weights and activations are f32 or bf16; tokens are u32; sums
/// over many elements f64.
enum class DType : std::uint8_t { f32, bf16, u32, i32, f64 };

std::size_t size_of(DType dtype);       ///< bytes per element
std::string_view name_of(DType dtype);  ///< "float32", "bfloat16", "uint32", "int32", "float64"
/// The dtype that `training.dtype` names; throws Error (bad_configuration) on anything else.
DType dtype_from_name(std::string_view name);

/// bfloat16: the upper half of an IEEE binary32. Conversion rounds to nearest even and keeps NaN.
struct bf16 {
  std::uint16_t bits = 0;

  bf16() = default;
  explicit bf16(float value) {
    const auto word = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t rounded = (word + 0x7FFFu + ((word >> 16) & 1u)) >> 16;
    // NaN must stay NaN: rounding its payload could carry into infinity or zero.
    const bool is_nan = (word & 0x7FFFFFFFu) > 0x7F800000u;
    bits = static_cast<std::uint16_t>(is_nan ? (word >> 16) | 0x40u : rounded);
  }
  explicit operator float() const {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
};
static_assert(sizeof(bf16) == 2);

template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::f32;
}
template <>
constexpr DType dtype_of<bf16>() {
  return DType::bf16;
}
template <>
constexpr DType dtype_of<std::uint32_t>() {
  return DType::u32;
}
template <>
constexpr DType dtype_of<std::int32_t>() {
  return DType::i32;
}
template <>
constexpr DType dtype_of<double>() {
  return DType::f64;
}

}  // namespace espalier
