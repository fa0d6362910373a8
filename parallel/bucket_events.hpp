#pragma once
#include <memory>
#include <vector>

#include "device/context.hpp"

namespace espalier::parallel {

/// Tells the compute stream of a GPU, bucket by bucket, that the communication stream has come past
/// the gathering of its weights. On the host there is nothing to wait for.
class BucketEvents {
 public:
  BucketEvents() = default;
  ~BucketEvents();
  BucketEvents(const BucketEvents&) = delete;
  BucketEvents& operator=(const BucketEvents&) = delete;

  /// The communication stream's work up to now makes the bucket known. The first call creates the
  /// events.
  void record(device::Context& context, int bucket, int num_buckets);
  /// The compute stream's work from now on comes after it; nothing unless there is a record that
  /// was not waited for.
  void wait(device::Context& context, int bucket);
  void wait_for_all(device::Context& context);

 private:
  struct Entry {
    device::Event event = nullptr;
    bool pending = false;
  };
  std::shared_ptr<device::Gpu> gpu_;  ///< whose events they are
  std::vector<Entry> entries_;        ///< one per bucket
};

}  // namespace espalier::parallel
