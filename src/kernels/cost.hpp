#pragma once

namespace espalier::kernels {

/// What a launch must do at least, whatever the kernel: the floor that its time is measured
/// against. Bytes count every operand once, read or written.
struct Cost {
  double flops = 0.0;
  double bytes = 0.0;
};

}  // namespace espalier::kernels
