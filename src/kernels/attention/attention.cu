// Attention on a GPU: the choice of the provider.
#include "kernels/attention/attention.hpp"

#include "kernels/attention/attention_cudnn.hpp"
#include "kernels/attention/attention_provider.hpp"
#include "kernels/backends.hpp"
#include "kernels/cuda/attention_providers.hpp"
#include "kernels/cuda/port.hpp"
#include "kernels/cuda/tiling.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

AttentionProvider provider_of(const AttentionForward& a) {
  return choose(a.provider, {.shape = a.shape,
                             .dtype = a.q.dtype,
                             .aligned = all_aligned(a.q, a.k, a.v, a.o),
                             .compute_capability = compute_capability(),
                             .documents = a.document_start.data != nullptr});
}
AttentionProvider provider_of(const AttentionBackward& a) {
  const bool aligned = all_aligned(a.q, a.k, a.v, a.o, a.d_o, a.d_q, a.d_k, a.d_v);
  return choose(a.provider, {.shape = a.shape,
                             .dtype = a.q.dtype,
                             .aligned = aligned,
                             .compute_capability = compute_capability(),
                             .backward = true,
                             .deterministic = a.deterministic,
                             .documents = a.document_start.data != nullptr,
                             .scratch_elements = a.scratch.size()});
}

}  // namespace

void attention_forward(const Queue& queue, const AttentionForward& a) {
  check_attention(a);
  switch (provider_of(a)) {
    case AttentionProvider::mma:
      return attention_forward_mma(queue, a);
    case AttentionProvider::wgmma:
      return attention_forward_wgmma(queue, a);
    case AttentionProvider::cudnn:
      return attention_forward_cudnn(queue, a);
    default:
      return attention_forward_reference(queue, a);
  }
}

void attention_backward(const Queue& queue, const AttentionBackward& a) {
  check_attention(a);
  switch (provider_of(a)) {
    case AttentionProvider::mma:
      return attention_backward_mma(queue, a);
    case AttentionProvider::wgmma:
      return attention_backward_wgmma(queue, a);
    case AttentionProvider::cudnn:
      return attention_backward_cudnn(queue, a);
    default:
      return attention_backward_reference(queue, a);
  }
}

}  // namespace espalier::kernels::ESPALIER_GPU
