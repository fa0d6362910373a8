#include "emulation/block.hpp"

#include <algorithm>
#include <numeric>

#include "base/error.hpp"
#include "emulation/faults.hpp"

namespace espalier::emulation {
namespace {

constexpr std::size_t kStackBytes = 128 * 1024;

Block*& current_block() {
  static Block* block = nullptr;
  return block;
}

}  // namespace

Settings& settings() {
  static Settings settings;
  return settings;
}

std::set<Site>& barriers_reached() {
  static std::set<Site> sites;
  return sites;
}

std::set<Site>& waits_reached() {
  static std::set<Site> sites;
  return sites;
}

Block::Hopper::Hopper(Block& block) : transactions(block) {
  require(block.num_threads() % device::kWarpgroupThreads == 0, ExitStatus::internal,
          "emulation: a block of {} threads, not whole warpgroups", block.num_threads());
  clocks.begin_block(block.num_threads());
  const int num_groups = block.num_threads() / device::kWarpgroupThreads;
  for (int i = 0; i < num_groups; ++i) groups.emplace_back(block, i);
  group_meetings.resize(static_cast<std::size_t>(num_groups));
}

Block::Hopper& Block::hopper() {
  if (hopper_ == nullptr) {
    hopper_ = std::make_unique<Hopper>(*this);
    shared_.use_clocks(hopper_->clocks);
  }
  return *hopper_;
}

Block::Block(const device::LaunchShape& shape, const std::function<void()>& body)
    : body_(body),
      shared_(
          std::max<std::int64_t>(0, shape.shared_bytes - settings().faults.missing_shared_bytes)),
      copies_(static_cast<std::size_t>(shape.block_threads)),
      warps_(static_cast<std::size_t>(shape.block_threads / device::kWarpSize)),
      random_state_(settings().order_seed) {
  if (settings().count_accesses)
    counter_ = std::make_unique<AccessCounter>(shape.block_threads, access_counts());
  for (int i = 0; i < shape.block_threads; ++i) threads_.emplace_back(kStackBytes, thread_entry);
}

Block& Block::current() {
  Block* block = current_block();
  require(block != nullptr, ExitStatus::internal, "emulation: no kernel is running");
  return *block;
}

void Block::run(const device::LaunchShape& shape, const std::function<void()>& body) {
  constexpr std::int64_t kMostSharedBytes = 227 * 1024;  // of a block, sm_90 and sm_100
  require(shape.shared_bytes <= kMostSharedBytes, ExitStatus::internal,
          "emulation: {} bytes of shared memory, a block can have {}", shape.shared_bytes,
          kMostSharedBytes);
  Block block(shape, body);
  std::vector<std::int64_t> order(static_cast<std::size_t>(shape.num_blocks));
  std::iota(order.begin(), order.end(), 0);
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[block.draw(i)]);
  for (const std::int64_t index : order) block.run_one(index);
}

void Block::run_one(std::int64_t block_index) {
  block_index_ = block_index;
  num_ended_ = 0;
  ++block_epoch_;
  shared_.begin_block(block_epoch_);
  hopper_.reset();
  turns_.begin_block();
  for (AsyncCopies& copies : copies_) copies.forget();
  ready_.resize(threads_.size());
  std::iota(ready_.begin(), ready_.end(), 0);
  current_block() = this;
  running_ = static_cast<int>(draw(ready_.size()));
  ready_.erase(ready_.begin() + running_);
  Fiber::hand_over(launcher_, threads_[static_cast<std::size_t>(running_)]);
  current_block() = nullptr;
  if (error_) std::rethrow_exception(error_);
  if (hopper_ != nullptr) hopper_->transactions.end_block();
  check_named_barriers();
  if (counter_ != nullptr) counter_->end_block();
}

void Block::thread_entry() {
  Fiber::begun();
  for (;;) {
    Block& block = current();
    try {
      block.body_();
      block.end_thread();  // returns when the next block begins
      continue;
    } catch (...) {
      block.error_ = std::current_exception();
    }
    // The whole launch ends here; the other threads are left where they are.
    Fiber::hand_over(block.threads_[static_cast<std::size_t>(block.running_)], block.launcher_);
  }
}

void Block::end_thread() {
  if (++num_ended_ < num_threads())
    rest();
  else
    Fiber::hand_over(threads_[static_cast<std::size_t>(running_)], launcher_);
}

void Block::rest() {
  if (ready_.empty()) fail_stuck();
  const int previous = running_;
  std::swap(ready_[draw(ready_.size())], ready_.back());
  running_ = ready_.back();
  ready_.pop_back();
  if (running_ == previous) return;
  Fiber::hand_over(threads_[static_cast<std::size_t>(previous)],
                   threads_[static_cast<std::size_t>(running_)]);
}

void Block::meet(Meeting& meeting, int party, Site site, const std::function<void()>& then) {
  if (meeting.arrived == 0) meeting.site = site;
  if (meeting.site != site)
    fail(ExitStatus::internal,
         "emulation: divergent rendezvous: thread {} of block {} waits at {}, others wait at {}",
         running_, block_index_, site.describe(), meeting.site.describe());
  meeting.waiting.push_back(running_);
  if (++meeting.arrived == party) {
    meeting.arrived = 0;
    ++meeting.number;
    if (then) then();
    if (counter_ != nullptr) counter_->meet(meeting.waiting);
    ready_.insert(ready_.end(), meeting.waiting.begin(), meeting.waiting.end());
    meeting.waiting.clear();
    // Counted here, once, and not by each thread when it goes on.
    if (&meeting == &barrier_) ++block_epoch_;
  }
  rest();
}

void Block::block_barrier(Site site) {
  barriers_reached().insert(site);
  const Faults& faults = settings().faults;
  if (faults.skipped_barrier == site || faults.absent_thread == running_) return;
  meet(barrier_, num_threads(), site, [this] { know_each_other(barrier_); });
}

void Block::know_each_other(const Meeting& meeting) {
  if (hopper_ != nullptr) hopper_->clocks.meet(meeting.waiting);
}

Block::NamedBarrier& Block::named_barrier(int id, int num_threads) {
  require(id > 0 && id < 16 && num_threads > 0 && num_threads % device::kWarpSize == 0,
          ExitStatus::internal, "emulation: named barrier {} of {} threads", id, num_threads);
  NamedBarrier& barrier = hopper().named_barriers[id];
  if (barrier.gathering.empty()) barrier.gathering = hopper().clocks.nothing();
  if (barrier.meeting.arrived == 0) barrier.num_threads = num_threads;
  require(barrier.num_threads == num_threads, ExitStatus::internal,
          "emulation: thread {} comes to named barrier {} of {} threads, others to one of {}",
          running_, id, num_threads, barrier.num_threads);
  return barrier;
}

void Block::named_barrier(int id, int num_threads, Site site) {
  barriers_reached().insert(site);
  if (settings().faults.skipped_barrier == site) return;
  NamedBarrier& barrier = named_barrier(id, num_threads);
  if (barrier.meeting.waiting.empty()) barrier.meeting.site = site;
  meet(barrier.meeting, num_threads, site, [&] { end_phase(barrier); });
}

void Block::arrive_at_named_barrier(int id, int num_threads, Site site) {
  barriers_reached().insert(site);
  if (settings().faults.skipped_barrier == site) return;
  NamedBarrier& barrier = named_barrier(id, num_threads);
  if (barrier.ahead.empty()) barrier.ahead_site = site;
  // The device would count it for somebody else, who may not be there yet.
  require(
      std::find(barrier.ahead.begin(), barrier.ahead.end(), running_) == barrier.ahead.end(),
      ExitStatus::internal,
      "emulation: thread {} arrives at named barrier {} again at {}, before its phase has ended",
      running_, id, site.describe());
  require(barrier.ahead_site == site, ExitStatus::internal,
          "emulation: divergent rendezvous: thread {} of block {} arrives at {}, others at {}",
          running_, block_index_, site.describe(), barrier.ahead_site.describe());
  hopper().clocks.publish(running_, barrier.gathering);
  barrier.ahead.push_back(running_);
  if (++barrier.meeting.arrived < num_threads) return;
  barrier.meeting.arrived = 0;
  end_phase(barrier);
  wake(barrier.meeting.waiting);
}

/// Those that wait learn what those knew who went on, not the other way round.
void Block::end_phase(NamedBarrier& barrier) {
  for (const int thread : barrier.meeting.waiting) hopper().clocks.learn(thread, barrier.gathering);
  know_each_other(barrier.meeting);
  barrier.ahead.clear();
  barrier.gathering.assign(barrier.gathering.size(), 0);
}

void Block::check_named_barriers() const {
  if (hopper_ == nullptr) return;
  for (const auto& [id, barrier] : hopper_->named_barriers) {
    const Meeting& meeting = barrier.meeting;
    if (meeting.arrived == 0) continue;
    std::string who;
    if (!meeting.waiting.empty())
      who +=
          fmt::format(", {} threads wait at {}", meeting.waiting.size(), meeting.site.describe());
    if (!barrier.ahead.empty())
      who += fmt::format(", {} have arrived at {} and gone on", barrier.ahead.size(),
                         barrier.ahead_site.describe());
    fail(ExitStatus::internal,
         "emulation: {} of {} threads have come to named barrier {} of block {}{}; {} have ended",
         meeting.arrived, barrier.num_threads, id, block_index_, who, num_ended_);
  }
}

void Block::meet_warpgroup(Site site, const std::function<void()>& then) {
  meet(hopper().group_meetings[static_cast<std::size_t>(running_ / device::kWarpgroupThreads)],
       device::kWarpgroupThreads, site, then);
}

void Block::sleep(std::vector<int>& waiting) {
  waiting.push_back(running_);
  rest();
}

void Block::wake(std::vector<int>& waiting) {
  ready_.insert(ready_.end(), waiting.begin(), waiting.end());
  waiting.clear();
}

void Block::warp_barrier(Site site) {
  Warp& warp = warps_[static_cast<std::size_t>(running_ / device::kWarpSize)];
  const std::uint64_t number = warp.meeting.number;
  meet(warp.meeting, device::kWarpSize, site, [&] { know_each_other(warp.meeting); });
  warp.epoch = std::max(warp.epoch, number + 2);
}

void Block::fail_stuck() {
  const auto stuck = [&](const Meeting& meeting, int party, const char* what) {
    if (meeting.arrived > 0)
      fail(ExitStatus::internal,
           "emulation: divergent rendezvous in block {}: {} of {} threads wait at {} for the rest "
           "of the {}, {} have ended",
           block_index_, meeting.arrived, party, meeting.site.describe(), what, num_ended_);
  };
  for (const Warp& warp : warps_) stuck(warp.meeting, device::kWarpSize, "warp");
  stuck(barrier_, num_threads(), "block");
  if (hopper_ != nullptr) {
    for (const Meeting& meeting : hopper_->group_meetings)
      stuck(meeting, device::kWarpgroupThreads, "warpgroup");
    const std::string waiting = hopper_->transactions.describe_waiting();
    require(waiting.empty(), ExitStatus::internal, "emulation: no thread of block {} can go on: {}",
            block_index_, waiting);
  }
  check_named_barriers();
  fail(ExitStatus::internal, "emulation: no thread of block {} can go on", block_index_);
}

Accessor Block::accessor() const {
  const int warp = running_ / device::kWarpSize;
  return {running_, warp, block_epoch_, warps_[static_cast<std::size_t>(warp)].epoch,
          hopper_ != nullptr ? hopper_->clocks.time_of(running_) : 0};
}

/// SplitMix64 (Steele, Lea, Flood 2014).
std::uint64_t Block::draw(std::uint64_t bound) {
  random_state_ += 0x9E3779B97F4A7C15u;
  std::uint64_t x = random_state_;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return (x ^ (x >> 31)) % bound;
}

}  // namespace espalier::emulation
