#pragma once
// Which provider computes attention on a GPU.
#include <string>
#include <string_view>

#include "base/dtype.hpp"
#include "kernels/attention/attention.hpp"

namespace espalier::kernels {

/// What a provider is asked to do.
struct AttentionRequest {
  AttentionShape shape;
  DType dtype;
  /// Whether the rows of all heads of all matrices begin at multiples of 16 bytes.
  bool aligned = true;
  /// Of the device: 90, 100. 0: the emulated GPU, which has the instructions of all.
  int compute_capability = 0;
  bool backward = false;
  bool deterministic = true;  ///< of the backward pass
  bool documents = false;     ///< whether there are document starts
  /// f32 elements that the backward pass is given.
  std::int64_t scratch_elements = 0;
};

/// "auto", "reference", "mma", "wgmma", "cudnn", as device.attention names them.
std::string_view name_of(AttentionProvider provider);
/// Throws Error (bad_configuration) for any other name.
AttentionProvider attention_provider_from_name(std::string_view name);

/// What the provider needs and the request does not have, "bfloat16, not float32"; empty when it
/// can do it.
std::string what_is_missing(AttentionProvider provider, const AttentionRequest& request);
inline bool supports(AttentionProvider provider, const AttentionRequest& request) {
  return what_is_missing(provider, request).empty();
}

/// `asked` itself, or for automatic the fastest that supports the request: cudnn on Blackwell,
/// wgmma on Hopper, else mma, else reference. Throws Error
/// (bad_configuration) when the one asked for does not: it says what is missing.
AttentionProvider choose(AttentionProvider asked, const AttentionRequest& request);

/// "forward by wgmma, backward by wgmma; cudnn needs ...": what choose takes for both passes of
/// training, and for each provider that automatic would rather take on this device what it needs.
/// Throws as choose. Of the request, shape, dtype, device and documents matter.
std::string describe_choice(AttentionProvider asked, AttentionRequest request);

/// f32 elements of scratch for the backward pass on a GPU when `asked` is what the user asked for:
/// one for each query and head (delta); that of cudnn counts where it is asked for by name, and
/// where automatic will take it, which depends on the request's device; so does that of wgmma in
/// five products, 128 floats a query and head. request.scratch_elements is not looked at.
std::int64_t backward_scratch_elements(AttentionProvider asked, AttentionRequest request);

/// Throws Error (bad_configuration), as choose does, when training with `asked` would be refused:
/// before the first step. Of the request, shape, dtype, device and documents matter.
void require_for_training(AttentionProvider asked, AttentionRequest request);

namespace cuda {
/// Of the code that the current device, of compute capability 9.0, would run: what the provider
/// wgmma needs and it has not. Empty when it is there.
std::string missing_in_warpgroup_code();
}  // namespace cuda

/// What every provider expects of the views. They may have more rows than the shape: a cache.
void check_attention(const AttentionForward& a);
void check_attention(const AttentionBackward& a);

}  // namespace espalier::kernels
