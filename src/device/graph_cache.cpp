#include "device/graph_cache.hpp"

namespace espalier::device {

GraphCache::GraphCache(std::shared_ptr<Gpu> gpu, Stream stream, Profiler& profiler)
    : gpu_(std::move(gpu)), stream_(stream), profiler_(profiler) {}

GraphCache::~GraphCache() {
  for (const auto& [key, entry] : entries_) gpu_->destroy(entry.graph);
}

void GraphCache::forget() {
  gpu_->synchronize(stream_);
  for (const auto& [key, entry] : entries_) gpu_->destroy(entry.graph);
  entries_.clear();
}

GraphCache::Turn GraphCache::begin(std::uint64_t key) {
  if (is_capturing_) return Turn::run;  // a part of what is being captured
  const auto [entry, is_new] = entries_.try_emplace(key);
  // The first call may allocate, load libraries and measure algorithms, which no graph can hold.
  if (is_new) return Turn::run;
  if (entry->second.graph != nullptr) {
    gpu_->launch(entry->second.graph, stream_);
    profiler_.add_costs(entry->second.costs);
    return Turn::launched;
  }
  costs_before_ = profiler_.costs();
  gpu_->begin_capture(stream_);
  is_capturing_ = true;
  profiler_.pause();
  return Turn::capture;
}

void GraphCache::end(std::uint64_t key) {
  is_capturing_ = false;
  profiler_.resume();
  Entry& entry = entries_.at(key);
  entry.graph = gpu_->end_capture(stream_);
  const auto costs = profiler_.costs();
  for (std::size_t i = 0; i < kNumPhases; ++i)
    entry.costs[i] = {costs[i].flops - costs_before_[i].flops,
                      costs[i].bytes - costs_before_[i].bytes,
                      costs[i].calls - costs_before_[i].calls};
  gpu_->launch(entry.graph, stream_);
}

void GraphCache::abandon() noexcept {
  is_capturing_ = false;
  profiler_.resume();
  gpu_->abandon_capture(stream_);
}

}  // namespace espalier::device
