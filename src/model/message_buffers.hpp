#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "base/dtype.hpp"
#include "device/arena.hpp"
#include "parallel/schedule/lowering.hpp"

// The buffers at this rank's ends of the links of a pipeline.

namespace espalier::model {

/// How many there are, as a rank's program uses them.
struct MessageCounts {
  /// A link is a direction and the chunk at this end.
  struct OfChunk {
    int forward = 0, backward = 0;
    int& of(bool is_forward) { return is_forward ? forward : backward; }
  };
  std::vector<OfChunk> received, sent;  ///< by chunk
  int local = 0;                        ///< between two chunks of this rank

  /// Those that the program needs.
  static MessageCounts of(const pipeline::RankProgram& program,
                          const pipeline::Placement& placement);
  /// Enough for either.
  MessageCounts join(const MessageCounts& other) const;
  int total() const;
};

/// The buffers of a rank. All are (T_loc, H): the residual stream that a stage hands on, or its
/// gradient.
class MessageBuffers {
 public:
  MessageBuffers() = default;
  /// Lays them out in `arena`, (rows, cols) each.
  MessageBuffers(const MessageCounts& counts, std::int64_t rows, std::int64_t cols, DType dtype,
                 device::Arena& arena);

  /// What an action takes in and where its result belongs; absent where it needs none.
  device::View input_of(const pipeline::Step& compute, const pipeline::Placement& placement) const;
  device::View output_of(const pipeline::Step& compute, const pipeline::Placement& placement) const;
  /// Of a message that is received or sent.
  device::View of_message(const pipeline::Step& message,
                          const pipeline::Placement& placement) const;

 private:
  using OfChunk = std::array<std::vector<device::View>, 2>;  ///< backward, forward
  std::vector<OfChunk> received_, sent_;
  std::vector<device::View> local_;
};

}  // namespace espalier::model
