// The backward pass beside attention_wgmma.cu: still the kernels of the other provider.
#include "kernels/attention_wgmma.hpp"
#include "kernels/siblings.hpp"

namespace espalier::kernels::ESPALIER_GPU {

Cost attention_backward_wgmma(const Queue& queue, const AttentionBackward& a) {
  return attention_backward(queue, a);
}

}  // namespace espalier::kernels::ESPALIER_GPU
