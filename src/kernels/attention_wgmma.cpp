#include "kernels/attention_wgmma.hpp"

namespace espalier::kernels {

bool wgmma_fits(const AttentionShape& shape, DType dtype) {
  return dtype == DType::bf16 && (shape.head_dim == 64 || shape.head_dim == 128);
}

}  // namespace espalier::kernels
