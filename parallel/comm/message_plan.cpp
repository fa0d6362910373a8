#include "parallel/comm/message_plan.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace espalier::parallel {

MessagePlan::MessagePlan(int num_ranks, std::int64_t limit_bytes)
    : streams_(static_cast<std::size_t>(num_ranks)),
      limit_bytes_(limit_bytes),
      alone_bytes_(std::max<std::int64_t>(limit_bytes / 8, 1)) {
  ESPALIER_ASSERT(limit_bytes > 0 && limit_bytes % 8 == 0, "{} bytes", limit_bytes);
}

void MessagePlan::clear() {
  for (Stream& stream : streams_) {
    stream.stretches.clear();
    stream.messages.clear();
  }
}

void MessagePlan::append(int rank, void* data, std::int64_t bytes) {
  Stream& stream = streams_[static_cast<std::size_t>(rank)];
  auto* place = static_cast<std::byte*>(data);
  while (bytes > 0) {
    const std::int64_t part = std::min(bytes, limit_bytes_);
    const bool joins = part < alone_bytes_ && !stream.messages.empty() &&
                       stream.stretches.back().bytes < alone_bytes_ &&
                       stream.messages.back().bytes + part <= limit_bytes_;
    if (!joins) stream.messages.push_back({stream.stretches.size(), 0, 0});
    stream.stretches.push_back({place, part});
    stream.messages.back().num_stretches += 1;
    stream.messages.back().bytes += part;
    place += part;
    bytes -= part;
  }
}

std::size_t MessagePlan::num_rounds() const {
  std::size_t rounds = 0;
  for (const Stream& stream : streams_) rounds = std::max(rounds, stream.messages.size());
  return rounds;
}

}  // namespace espalier::parallel
