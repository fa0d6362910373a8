#include "base/activity.hpp"

#include <atomic>
#include <mutex>
#include <set>

namespace espalier::activity {
namespace {

std::atomic<const char*> name{"starting"};
std::atomic<std::int64_t> step{0};
std::atomic<std::uint64_t> changes{0};

}  // namespace

void enter(const char* what) {
  name.store(what, std::memory_order_relaxed);
  // One writer: no need for an atomic addition.
  changes.store(changes.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

const char* keep(const std::string& name) {
  // Never destroyed: a watchdog may read names until the process ends.
  static std::mutex mutex;
  static auto& kept = *new std::set<std::string>;
  const std::scoped_lock lock(mutex);
  return kept.insert(name).first->c_str();
}

void set_step(std::int64_t number) {
  step.store(number, std::memory_order_relaxed);
}

Scope::Scope(const char* what) : outer_(name.load(std::memory_order_relaxed)) {
  enter(what);
}

Scope::~Scope() {
  enter(outer_);
}

Now now() {
  const std::uint64_t count = changes.load(std::memory_order_acquire);
  return {name.load(std::memory_order_relaxed), step.load(std::memory_order_relaxed), count};
}

}  // namespace espalier::activity
