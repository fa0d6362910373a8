#pragma once
#include "base/dtype.hpp"
#include "base/error.hpp"

namespace espalier::kernels {

/// Calls body with a value of the C++ type of `dtype` (float or bf16): one template per operator,
/// chosen once per call.
template <class Body>
void dispatch(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::f32:
      return body(float{});
    case DType::bf16:
      return body(bf16{});
    default:
      fail(ExitStatus::internal, "no host operator for {}", name_of(dtype));
  }
}

}  // namespace espalier::kernels
