#include "device/stopwatch.hpp"

namespace espalier::device {

Stopwatch::Stopwatch(Gpu* gpu, Stream stream) : gpu_(gpu), stream_(stream) {
  if (gpu_ == nullptr) return;
  from_ = gpu_->create_event(/*timed=*/true);
  to_ = gpu_->create_event(/*timed=*/true);
}

Stopwatch::~Stopwatch() {
  if (gpu_ == nullptr) return;
  gpu_->destroy(from_);
  gpu_->destroy(to_);
}

void Stopwatch::start() {
  if (gpu_ != nullptr)
    gpu_->record(from_, stream_);
  else
    since_ = Clock::now();
}

double Stopwatch::stop_s() {
  if (gpu_ == nullptr) return std::chrono::duration<double>(Clock::now() - since_).count();
  gpu_->record(to_, stream_);
  gpu_->synchronize(to_);
  return 1e-3 * gpu_->elapsed_ms(from_, to_);
}

}  // namespace espalier::device
