#include "model/message_buffers.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace espalier::model {

using device::View;
using pipeline::Placement;
using pipeline::Step;
using pipeline::StepKind;

namespace {

bool is_received(StepKind kind) {
  return kind == StepKind::post_receive || kind == StepKind::wait_receive;
}

/// The chunk at this end. A message is named after the stage that takes it in.
std::size_t chunk_of(const Step& message, const Placement& placement) {
  const int taken_in = message.action.stage;
  const int sender = is_forward(message.action) ? taken_in - 1 : taken_in + 1;
  return static_cast<std::size_t>(
      placement.chunk_of(is_received(message.kind) ? taken_in : sender));
}

}  // namespace

MessageCounts MessageCounts::of(const pipeline::RankProgram& program, const Placement& placement) {
  MessageCounts counts;
  counts.received.resize(static_cast<std::size_t>(placement.chunks));
  counts.sent.resize(static_cast<std::size_t>(placement.chunks));
  counts.local = program.buffers.local;
  for (const Step& step : program.steps) {
    if (step.kind == StepKind::compute) continue;
    auto& ends = is_received(step.kind) ? counts.received : counts.sent;
    int& count = ends[chunk_of(step, placement)].of(is_forward(step.action));
    count = std::max(count, step.buffer + 1);
  }
  return counts;
}

MessageCounts MessageCounts::join(const MessageCounts& other) const {
  MessageCounts joined = *this;
  const auto widen = [](std::vector<OfChunk>& mine, const std::vector<OfChunk>& theirs) {
    mine.resize(std::max(mine.size(), theirs.size()));
    for (std::size_t i = 0; i < theirs.size(); ++i)
      mine[i] = {std::max(mine[i].forward, theirs[i].forward),
                 std::max(mine[i].backward, theirs[i].backward)};
  };
  widen(joined.received, other.received);
  widen(joined.sent, other.sent);
  joined.local = std::max(local, other.local);
  return joined;
}

int MessageCounts::total() const {
  int sum = local;
  for (const auto* ends : {&received, &sent})
    for (const OfChunk& chunk : *ends) sum += chunk.forward + chunk.backward;
  return sum;
}

MessageBuffers::MessageBuffers(const MessageCounts& counts, std::int64_t rows, std::int64_t cols,
                               DType dtype, device::Arena& arena) {
  const auto allocate = [&](const std::vector<MessageCounts::OfChunk>& ends, const char* name,
                            std::vector<OfChunk>& buffers) {
    for (std::size_t chunk = 0; chunk < ends.size(); ++chunk) {
      MessageCounts::OfChunk count = ends[chunk];
      OfChunk& of_chunk = buffers.emplace_back();
      for (const bool forward : {true, false})
        for (int i = 0; i < count.of(forward); ++i)
          of_chunk[forward ? 1 : 0].push_back(
              arena.allocate(fmt::format("{} {} {} of chunk {}", name,
                                         forward ? "activations" : "gradients", i, chunk),
                             dtype, rows, cols));
    }
  };
  allocate(counts.received, "received", received_);
  allocate(counts.sent, "sent", sent_);
  for (int i = 0; i < counts.local; ++i)
    local_.push_back(arena.allocate(fmt::format("handed on {}", i), dtype, rows, cols));
}

View MessageBuffers::input_of(const Step& compute, const Placement& placement) const {
  if (compute.input < 0) return {};
  const auto buffer = static_cast<std::size_t>(compute.input);
  if (compute.input_is_local) return local_.at(buffer);
  const auto chunk = static_cast<std::size_t>(placement.chunk_of(compute.action.stage));
  return received_.at(chunk)[is_forward(compute.action) ? 1 : 0].at(buffer);
}

View MessageBuffers::output_of(const Step& compute, const Placement& placement) const {
  if (compute.output < 0) return {};
  const auto buffer = static_cast<std::size_t>(compute.output);
  if (compute.output_is_local) return local_.at(buffer);
  const auto chunk = static_cast<std::size_t>(placement.chunk_of(compute.action.stage));
  return sent_.at(chunk)[is_forward(compute.action) ? 1 : 0].at(buffer);
}

View MessageBuffers::of_message(const Step& message, const Placement& placement) const {
  const auto& ends = is_received(message.kind) ? received_ : sent_;
  return ends.at(chunk_of(message, placement))[is_forward(message.action) ? 1 : 0].at(
      static_cast<std::size_t>(message.buffer));
}

}  // namespace espalier::model
