#include "kernels/attention/attention_provider.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "base/error.hpp"
#include "device/gpu.hpp"
#include "kernels/attention/attention_cudnn.hpp"
#include "kernels/attention/attention_shapes.hpp"
#include "kernels/cuda/shared_limits.hpp"

namespace espalier::kernels {
namespace {

struct Named {
  AttentionProvider provider;
  std::string_view name;
};
constexpr std::array kNames{
    Named{AttentionProvider::automatic, "auto"}, Named{AttentionProvider::reference, "reference"},
    Named{AttentionProvider::mma, "mma"}, Named{AttentionProvider::wgmma, "wgmma"},
    Named{AttentionProvider::cudnn, "cudnn"}};

constexpr std::int64_t kMaxReferenceHeadDim = 256;
constexpr int kHopper = 90;
constexpr int kFirstBlackwell = 100, kLastBlackwell = 109;
/// Both passes; below it cuDNN's have more conditions than are worth knowing.
constexpr int kOldestForCudnn = 80;

bool is_blackwell(int compute_capability) {
  return compute_capability >= kFirstBlackwell && compute_capability <= kLastBlackwell;
}

/// A tile of queries never has parts of two blocks.
std::string missing_for_tiles(const AttentionShape& s) {
  if (s.block_length % kGpuBlockLength == 0) return "";
  return fmt::format("blocks of a multiple of {} queries, not of {}", kGpuBlockLength,
                     s.block_length);
}

std::string missing_for_tensor_cores(const AttentionRequest& request) {
  if (request.dtype != DType::bf16) return fmt::format("bfloat16, not {}", name_of(request.dtype));
  if (request.shape.head_dim != 64 && request.shape.head_dim != 128)
    return fmt::format("a head_dim of 64 or 128, not {}", request.shape.head_dim);
  if (!request.aligned) return "rows that begin at multiples of 16 bytes";
  return missing_for_tiles(request.shape);
}

/// Of the provider reference; the tiles of the others fit every device that they are for.
std::string missing_shared_memory(const AttentionRequest& request) {
  const std::int64_t head_dim = request.shape.head_dim;
  const std::int64_t bytes =
      request.backward ? reference_backward_bytes(head_dim) : reference_forward_bytes(head_dim);
  const std::int64_t most = most_shared_bytes(request.compute_capability);
  if (bytes <= most) return "";
  return fmt::format(
      "{} bytes of shared memory for head_dim {}, not the {} of compute capability "
      "{}.{}",
      bytes, head_dim, most, request.compute_capability / 10, request.compute_capability % 10);
}

/// Asks the program's own code, where the device it would run on is here; elsewhere a plan is made,
/// for a program that is compiled for that device.
std::string missing_for_warpgroups(int compute_capability) {
#ifdef ESPALIER_HAS_CUDA
  static const std::string missing =
      device::Gpu::first_compute_capability(device::Backend::cuda) == kHopper
          ? cuda::missing_in_warpgroup_code()
          : "";
  return compute_capability == kHopper ? missing : "";
#else
  static_cast<void>(compute_capability);
  return "";
#endif
}

/// dQ is summed in fp32, dK and dV are written for every query head before those of a group are
/// added up, and delta is kept: (B, A, S) rows of D, D / 2, D / 2 and 1 f32; and what separates
/// these buffers. cuDNN 9.19 asked for at most 128 bytes more for 60 shapes on Blackwell in a fixed
/// order of sums; with equal numbers of heads for less.
std::int64_t cudnn_scratch_elements(const AttentionShape& s) {
  constexpr std::int64_t kBetween = 1024;
  return s.batch * s.num_q_heads * s.query_length * (2 * s.head_dim + 1) + kBetween;
}

std::string cudnn_lacks(const AttentionRequest& request) {
  const AttentionShape& s = request.shape;
  const int capability = request.compute_capability;
  if (capability < kOldestForCudnn)
    return fmt::format("a GPU of compute capability 8.0 or higher, {}",
                       capability == 0
                           ? std::string("not the emulated one")
                           : fmt::format("not {}.{}", capability / 10, capability % 10));
  if (const std::string missing = missing_for_tensor_cores(request); !missing.empty())
    return missing;
  if (s.block_length > 0) return "whole sequences: parallel.context = 1";
  if (request.documents) return "whole sequences: data.document_mask = false";
  if (s.query_length != s.kv_length || s.query_length < 2)
    return fmt::format(
        "as many queries as keys, and two at least, not {} and {}: it is for "
        "training, not for generation",
        s.query_length, s.kv_length);
  // Elsewhere a fixed order of sums takes B * A * S * S * 2 bytes of workspace.
  if (request.backward && request.deterministic && !is_blackwell(capability))
    return fmt::format(
        "a GPU of compute capability 10.x for gradients that do not differ from run "
        "to run, not {}.{}",
        capability / 10, capability % 10);
  if (request.backward && request.scratch_elements < cudnn_scratch_elements(s))
    return fmt::format("{} elements of scratch, not {}", cudnn_scratch_elements(s),
                       request.scratch_elements);
  return missing_for_cudnn();
}

/// What automatic takes on such a device, the fastest first. The emulated GPU could do all: it
/// takes what runs on every device.
std::vector<AttentionProvider> preferences(int compute_capability) {
  std::vector<AttentionProvider> result;
  if (is_blackwell(compute_capability)) result.push_back(AttentionProvider::cudnn);
  if (compute_capability == kHopper) result.push_back(AttentionProvider::wgmma);
  result.push_back(AttentionProvider::mma);
  result.push_back(AttentionProvider::reference);
  return result;
}

void check_shape(const AttentionShape& s) {
  ESPALIER_ASSERT(s.num_kv_heads > 0 && s.num_q_heads % s.num_kv_heads == 0 &&
                      s.head_dim % 2 == 0 && s.first_query_position >= 0 &&
                      s.first_query_position + s.query_length <= s.kv_length,
                  "{} query heads, {} kv heads of {}; {} queries from {}, {} keys", s.num_q_heads,
                  s.num_kv_heads, s.head_dim, s.query_length, s.first_query_position, s.kv_length);
}
bool is_queries(const AttentionShape& s, const device::ConstView& view) {
  return view.rows >= s.batch * s.query_length && view.cols == s.num_q_heads * s.head_dim;
}
bool is_keys(const AttentionShape& s, const device::ConstView& view) {
  return view.rows >= s.batch * s.kv_length && view.cols == s.num_kv_heads * s.head_dim;
}
bool is_lse(const AttentionShape& s, const device::ConstView& view) {
  return view.rows == s.batch * s.num_q_heads && view.cols == s.query_length;
}
/// Blocks of whole tiles: the device trusts the numbers in them, which only it can read.
bool is_block_starts(const AttentionShape& s, const device::ConstView& view) {
  if (s.block_length == 0) return !view.exists();
  return s.block_length % kGpuBlockLength == 0 && s.first_query_position == 0 &&
         s.query_length % s.block_length == 0 && s.kv_length % s.block_length == 0 &&
         view.exists() && view.dtype == DType::i32 && view.is_contiguous() &&
         view.size() >= s.batch * (s.query_length / s.block_length);
}
bool is_document_start(const AttentionShape& s, const device::ConstView& view) {
  return !view.exists() || (view.dtype == DType::i32 && view.is_contiguous() &&
                            view.size() >= s.batch * s.query_length);
}

void check_blocks(const AttentionShape& s, const device::ConstView& block_starts) {
  ESPALIER_ASSERT(is_block_starts(s, block_starts),
                  "blocks of {} of {} queries from {} and {} keys, starts {}", s.block_length,
                  s.query_length, s.first_query_position, s.kv_length, describe(block_starts));
}

}  // namespace

void check_attention(const AttentionForward& a) {
  const AttentionShape& s = a.shape;
  check_shape(s);
  ESPALIER_ASSERT(is_queries(s, a.q) && is_keys(s, a.k) && is_keys(s, a.v) && is_queries(s, a.o) &&
                      is_lse(s, a.lse) && is_document_start(s, a.document_start),
                  "q {}, k {}, v {}, o {}, lse {}, document starts {}", describe(a.q),
                  describe(a.k), describe(a.v), describe(a.o), describe(a.lse),
                  describe(a.document_start));
  check_blocks(s, a.block_starts);
}

void check_attention(const AttentionBackward& a) {
  const AttentionShape& s = a.shape;
  check_shape(s);
  ESPALIER_ASSERT(is_queries(s, a.q) && is_queries(s, a.o) && is_queries(s, a.d_o) &&
                      is_queries(s, a.d_q) && is_keys(s, a.k) && is_keys(s, a.v) &&
                      is_keys(s, a.d_k) && is_keys(s, a.d_v) &&
                      is_document_start(s, a.document_start),
                  "q {}, k {}, v {}, o {}, d_o {}, d_q {}, d_k {}, d_v {}, document starts {}",
                  describe(a.q), describe(a.k), describe(a.v), describe(a.o), describe(a.d_o),
                  describe(a.d_q), describe(a.d_k), describe(a.d_v), describe(a.document_start));
  check_blocks(s, a.block_starts);
  ESPALIER_ASSERT((s.block_length > 0 || s.query_length == s.kv_length) &&
                      s.first_query_position == 0 && is_lse(s, a.lse) &&
                      a.scratch.size() >= a.lse.size(),
                  "{} queries from {}, {} keys, lse {}, scratch {}", s.query_length,
                  s.first_query_position, s.kv_length, describe(a.lse), describe(a.scratch));
  const DType of_keys = s.block_length > 0 ? DType::f32 : a.q.dtype;
  ESPALIER_ASSERT(a.d_k.dtype == of_keys && a.d_v.dtype == of_keys, "blocks of {}, d_k {}, d_v {}",
                  s.block_length, describe(a.d_k), describe(a.d_v));
}

std::string_view name_of(AttentionProvider provider) {
  for (const Named& named : kNames)
    if (named.provider == provider) return named.name;
  fail(ExitStatus::internal, "attention provider {}", static_cast<int>(provider));
}

AttentionProvider attention_provider_from_name(std::string_view name) {
  for (const Named& named : kNames)
    if (named.name == name) return named.provider;
  fail(ExitStatus::bad_configuration,
       "device.attention = \"{}\": auto, reference, mma, wgmma and cudnn are known", name);
}

std::string what_is_missing(AttentionProvider provider, const AttentionRequest& request) {
  switch (provider) {
    case AttentionProvider::automatic:
      return "";
    case AttentionProvider::reference:
      if (request.dtype != DType::bf16 && request.dtype != DType::f32)
        return fmt::format("bfloat16 or float32, not {}", name_of(request.dtype));
      if (request.shape.head_dim > kMaxReferenceHeadDim || request.shape.head_dim % 2 != 0)
        return fmt::format("an even head_dim of at most {}, not {}", kMaxReferenceHeadDim,
                           request.shape.head_dim);
      if (std::string missing = missing_for_tiles(request.shape); !missing.empty()) return missing;
      return missing_shared_memory(request);
    case AttentionProvider::mma:
      return missing_for_tensor_cores(request);
    case AttentionProvider::wgmma:
      if (request.compute_capability != 0 && request.compute_capability != kHopper)
        return fmt::format("a GPU of compute capability 9.0, not {}.{}",
                           request.compute_capability / 10, request.compute_capability % 10);
      if (std::string missing = missing_for_tensor_cores(request); !missing.empty()) return missing;
      return missing_for_warpgroups(request.compute_capability);
    case AttentionProvider::cudnn:
      return cudnn_lacks(request);
  }
  fail(ExitStatus::internal, "attention provider {}", static_cast<int>(provider));
}

AttentionProvider choose(AttentionProvider asked, const AttentionRequest& request) {
  if (asked == AttentionProvider::automatic) {
    const auto preferred = preferences(request.compute_capability);
    const auto fitting =
        std::find_if(preferred.begin(), preferred.end(),
                     [&](AttentionProvider provider) { return supports(provider, request); });
    asked = fitting == preferred.end() ? AttentionProvider::reference : *fitting;
  }
  const std::string missing = what_is_missing(asked, request);
  require(missing.empty(), ExitStatus::bad_configuration,
          "attention: the provider {} needs {}; set device.attention = \"auto\"", name_of(asked),
          missing);
  return asked;
}

std::string describe_choice(AttentionProvider asked, AttentionRequest request) {
  std::string taken, reasons;
  for (const bool backward : {false, true}) {
    request.backward = backward;
    request.scratch_elements = backward ? backward_scratch_elements(asked, request) : 0;
    const AttentionProvider provider = choose(asked, request);
    taken += fmt::format("{} by {}", backward ? ", backward" : "forward", name_of(provider));
    if (asked != AttentionProvider::automatic) continue;
    for (const AttentionProvider better : preferences(request.compute_capability)) {
      if (better == provider) break;
      const std::string reason =
          fmt::format("; {} needs {}", name_of(better), what_is_missing(better, request));
      if (reasons.find(reason) == std::string::npos) reasons += reason;
    }
  }
  return taken + reasons;
}

std::int64_t backward_scratch_elements(AttentionProvider asked, AttentionRequest request) {
  request.backward = true;
  request.scratch_elements = cudnn_scratch_elements(request.shape);
  const bool by_cudnn =
      asked == AttentionProvider::cudnn ||
      (asked == AttentionProvider::automatic && is_blackwell(request.compute_capability) &&
       supports(AttentionProvider::cudnn, request));
  std::int64_t elements = attention_backward_scratch_elements(request.shape);
  const bool by_warpgroups =
      asked == AttentionProvider::wgmma ||
      (asked == AttentionProvider::automatic && request.compute_capability == kHopper &&
       supports(AttentionProvider::wgmma, request));
  if (by_warpgroups && request.shape.head_dim == 128)
    elements = std::max(elements, ordered_scratch(request.shape).num_elements);
  return by_cudnn ? std::max(elements, request.scratch_elements) : elements;
}

void require_for_training(AttentionProvider asked, AttentionRequest request) {
  choose(asked, request);
  request.backward = true;
  request.scratch_elements = backward_scratch_elements(asked, request);
  choose(asked, request);
}

}  // namespace espalier::kernels
