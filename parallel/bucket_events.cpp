#include "parallel/bucket_events.hpp"

namespace espalier::parallel {

BucketEvents::~BucketEvents() {
  for (const Entry& entry : entries_) gpu_->destroy(entry.event);
}

void BucketEvents::record(device::Context& context, int bucket, int num_buckets) {
  if (context.gpu() == nullptr) return;
  if (entries_.empty()) {
    gpu_ = context.shared_gpu();
    entries_.resize(static_cast<std::size_t>(num_buckets));
    for (Entry& entry : entries_) entry.event = gpu_->create_event(/*timed=*/false);
  }
  Entry& entry = entries_[static_cast<std::size_t>(bucket)];
  gpu_->record(entry.event, context.communication_queue().stream);
  entry.pending = true;
}

void BucketEvents::wait(device::Context& context, int bucket) {
  if (entries_.empty()) return;
  Entry& entry = entries_[static_cast<std::size_t>(bucket)];
  if (!entry.pending) return;
  gpu_->wait(context.queue().stream, entry.event);
  entry.pending = false;
}

void BucketEvents::wait_for_all(device::Context& context) {
  for (std::size_t bucket = 0; bucket < entries_.size(); ++bucket)
    wait(context, static_cast<int>(bucket));
}

}  // namespace espalier::parallel
