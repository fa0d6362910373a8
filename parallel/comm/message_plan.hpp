#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace espalier::parallel {

/// A stretch of contiguous memory.
struct Stretch {
  std::byte* data;
  std::int64_t bytes;
};

/// Cuts what a collective moves into messages of bounded size. Pure arithmetic on sizes: all ranks
/// of a group that describe the same tensors get the same messages without talking.
///
/// For each rank of the group there is a stream: that rank's shards of all tensors, in order. A
/// stretch longer than the limit is cut; long stretches travel alone, straight from and to where
/// they lie; short ones are packed together, so that a group of many small tensors costs as many
/// messages as one large tensor.
class MessagePlan {
 public:
  /// A message of at most `limit_bytes`. More than one stretch: it is packed.
  struct Message {
    std::size_t first_stretch;
    std::size_t num_stretches;
    std::int64_t bytes;
  };

  /// `limit_bytes` is a multiple of every element size, so that no element is cut in two.
  MessagePlan(int num_ranks, std::int64_t limit_bytes);

  void clear();
  /// Appends a stretch to the stream of `rank`. Empty stretches vanish.
  void append(int rank, void* data, std::int64_t bytes);

  std::span<const Message> messages(int rank) const { return stream(rank).messages; }
  std::span<const Stretch> stretches(int rank, const Message& message) const {
    return std::span(stream(rank).stretches).subspan(message.first_stretch, message.num_stretches);
  }
  /// Messages of the longest stream.
  std::size_t num_rounds() const;

 private:
  struct Stream {
    std::vector<Stretch> stretches;
    std::vector<Message> messages;
  };
  const Stream& stream(int rank) const { return streams_[static_cast<std::size_t>(rank)]; }

  std::vector<Stream> streams_;  ///< cleared, never freed: no allocation after the first step
  std::int64_t limit_bytes_;
  std::int64_t alone_bytes_;  ///< stretches from this size on are not worth packing
};

}  // namespace espalier::parallel
