#include "device/gpu_timeline.hpp"

namespace espalier::device {

GpuTimeline::GpuTimeline(std::shared_ptr<Gpu> gpu, Stream stream, Phase first)
    : gpu_(std::move(gpu)), stream_(stream), marks_(kNumEvents) {
  for (Mark& mark : marks_) mark.event = gpu_->create_event(/*timed=*/true);
  mark(first);
}

GpuTimeline::~GpuTimeline() {
  for (const Mark& mark : marks_) gpu_->destroy(mark.event);
}

void GpuTimeline::mark(Phase phase) {
  if (past_last_ - first_ == kNumEvents) {
    collect();
    if (past_last_ - first_ == kNumEvents) {
      // Half of them, so that the next marks need not wait one by one.
      gpu_->synchronize(mark_at(first_ + kNumEvents / 2).event);
      collect();
    }
  }
  Mark& next = mark_at(past_last_++);
  next.phase = phase;
  gpu_->record(next.event, stream_);
}

void GpuTimeline::collect() {
  while (past_last_ - first_ > 1 && gpu_->is_done(mark_at(first_ + 1).event)) {
    const Mark& from = mark_at(first_);
    seconds_[static_cast<std::size_t>(from.phase)] +=
        1e-3 * gpu_->elapsed_ms(from.event, mark_at(first_ + 1).event);
    ++first_;
  }
}

std::array<double, kNumPhases> GpuTimeline::seconds() {
  mark(mark_at(past_last_ - 1).phase);
  gpu_->synchronize(mark_at(past_last_ - 1).event);
  collect();
  return seconds_;
}

void GpuTimeline::reset() {
  const Phase running = mark_at(past_last_ - 1).phase;
  seconds_ = {};
  first_ = past_last_;  // what is under way counts for nothing
  mark(running);
}

}  // namespace espalier::device
