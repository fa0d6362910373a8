#include "base/dtype.hpp"

#include "base/error.hpp"

namespace espalier {

std::size_t size_of(DType dtype) {
  if (dtype == DType::f64) return 8;
  return dtype == DType::bf16 ? 2 : 4;
}

std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "float32";
    case DType::bf16:
      return "bfloat16";
    case DType::u32:
      return "uint32";
    case DType::i32:
      return "int32";
    case DType::f64:
      return "float64";
  }
  return "?";
}

DType dtype_from_name(std::string_view name) {
  if (name == "float32") return DType::f32;
  if (name == "bfloat16") return DType::bf16;
  fail(ExitStatus::bad_configuration, "dtype \"{}\" is not known: use \"float32\" or \"bfloat16\"",
       name);
}

}  // namespace espalier
