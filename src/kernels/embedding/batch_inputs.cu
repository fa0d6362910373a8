#include "kernels/embedding/batch_inputs.hpp"

#include "base/integers.hpp"
#include "kernels/backends.hpp"
#include "kernels/cuda/port.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/embedding/batch_inputs_shapes.hpp"
#include "kernels/loss/cross_entropy.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

constexpr int kGatherThreads = 256;

/// (1, B*S_loc) each.
struct Gathered {
  std::uint32_t* tokens;
  std::uint32_t* targets;
  std::int32_t* position_ids;
  std::int32_t* document_start;  ///< null: no mask
};

/// The blocks of a sample's tokens that are gathered.
struct TokenBlocks {
  const std::int32_t* starts;  ///< (B, S_loc / length); null: whole samples
  int length;
};

/// A thread per token, `blocks_per_sample` blocks per sample. Rows of S + 1 words begin at any
/// word, so a thread takes one: a warp's loads still lie side by side.
ESPALIER_KERNEL(kGatherThreads)
gather_sample(Gathered to, Rows<const std::uint32_t> samples, Rows<const std::int32_t> places,
              TokenBlocks blocks, std::int64_t length, std::int64_t blocks_per_sample,
              std::int64_t num_counted, bool predict_across) {
  const std::int64_t b = block_index() / blocks_per_sample;
  const std::int64_t i = (block_index() - b * blocks_per_sample) * kGatherThreads + thread_index();
  if (i >= length) return;
  const std::int64_t t = b * length + i;
  std::int64_t s = i;
  if (blocks.starts != nullptr) {
    const std::int64_t block = t / blocks.length;  // of all samples
    s = read_element(blocks.starts + block) + t - block * blocks.length;
  }
  const std::uint32_t* sample = samples.row(b) + s;
  const auto position = static_cast<std::int32_t>(s);
  const bool counts =
      b < num_counted && (predict_across || read_element(places.row(b) + s + 1) != 0);
  const std::uint32_t next = read_element(sample + 1);
  write_element(to.tokens + t, read_element(sample));
  write_element(to.targets + t, counts ? next : kIgnoredTarget);
  if (to.document_start == nullptr) {
    write_element(to.position_ids + t, position);
    return;
  }
  const std::int32_t place = read_element(places.row(b) + s);
  write_element(to.position_ids + t, place);
  write_element(to.document_start + t, position - place);
}

}  // namespace

void batch_inputs(const Queue& queue, const BatchInputs& a) {
  require_shapes(a);
  const std::int64_t length = gathered_length(a);
  const std::int64_t blocks_per_sample = div_ceil(length, kGatherThreads);
  const Gathered to{
      a.tokens.as<std::uint32_t>(), a.targets.as<std::uint32_t>(),
      a.position_ids.as<std::int32_t>(),
      a.document_start.data != nullptr ? a.document_start.as<std::int32_t>() : nullptr};
  const auto places = a.document_positions.data != nullptr
                          ? rows_of<std::int32_t>(a.document_positions)
                          : Rows<const std::int32_t>{};
  const TokenBlocks blocks{a.block_length > 0 ? a.block_starts.as<std::int32_t>() : nullptr,
                           narrow<int>(a.block_length)};
  launch(gather_sample, {a.samples.rows * blocks_per_sample, kGatherThreads}, queue, to,
         rows_of<std::uint32_t>(a.samples), places, blocks, length, blocks_per_sample,
         a.num_counted, a.predict_across);
}

}  // namespace espalier::kernels::ESPALIER_GPU
