#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace espalier::parallel {

/// One call of NCCL for a tensor whose rows are divided over a group.
struct ShardCall {
  enum class Kind {
    even,   ///< ncclReduceScatter or ncclAllGather in place: rank r has num_rows rows from row
            ///< first_row + r * num_rows
    whole,  ///< ncclAllReduce of all rows, of which each rank uses its own
    owner,  ///< ncclReduce to, or ncclBroadcast from, the one rank that has these rows
  };
  Kind kind;
  int owner;  ///< of Kind::owner
  std::int64_t first_row, num_rows;
  bool operator==(const ShardCall&) const = default;
};

/// Tensors up to this size are summed whole when their rows do not divide evenly.
inline constexpr std::int64_t kWholeSumBytes = std::int64_t{1} << 18;

/// The calls for a tensor with rows [begins[r], begins[r+1]) on rank r, row_bytes long. `sums`: a
/// reduce-scatter, else an all-gather. Replaces what `calls` holds.
///
/// NCCL's own reduce-scatter and all-gather want the same number of rows on every rank. That is the
/// case nearly always: all rows of Qwen3 and Llama 3 (hidden sizes, heads x head_dim, MLP sizes, a
/// vocabulary of 128 x 1187 or 128 x 1002) divide by every power of two up to 128, less the tensor
/// size. One call per tensor, a bucket's calls in one group, is then one launch that moves the
/// least there is, (n-1)/n of the data. Other divisions have equal shards up to a shorter last one,
/// and perhaps none behind it; in place, the equal part is of some ranks only, so that it is no
/// collective of the group. There each owner gets a call: a ring reduction to n owners in turn
/// sends what a reduce-scatter sends, (n-1)/n of the data from every rank, and only has n times as
/// many starts. Where the starts would cost more than the data, the sum is taken whole.
void shard_calls(std::span<const std::int64_t> begins, std::int64_t row_bytes, bool sums,
                 std::vector<ShardCall>& calls);

/// Which ranks of a group share a GPU, given every rank's GPU (its uuid): "ranks 0 and 2", or empty
/// when each has its own.
std::string ranks_that_share(const std::vector<std::string>& gpus);
/// Whether NCCL can serve a job of these ranks: every rank has a GPU (its uuid; empty where NCCL is
/// not to be had) of its own.
bool nccl_serves(const std::vector<std::string>& gpus);

}  // namespace espalier::parallel
