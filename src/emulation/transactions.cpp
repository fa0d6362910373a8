#include "emulation/transactions.hpp"

#include "base/error.hpp"
#include "emulation/block.hpp"
#include "emulation/faults.hpp"

namespace espalier::emulation {
namespace {

constexpr int kRowBytes = 128;
constexpr int kChunkBytes = 16;

/// visit(row, chunk, offset in shared memory) for all chunks of a box.
template <class Visit>
void for_each_chunk(const TensorMap& map, std::int64_t place, const Visit& visit) {
  for (std::int64_t row = 0; row < map.box_rows(); ++row)
    for (int chunk = 0; chunk < kRowBytes / kChunkBytes; ++chunk)
      visit(row, chunk, swizzled(place + row * kRowBytes + chunk * kChunkBytes));
}

/// Every row of a box is a request.
void note_rows(AccessKind kind, const TensorMap& map, const int (&at)[device::kMaxTensorRank]) {
  if (AccessCounter::active() == nullptr) return;
  for (std::int64_t row = 0; row < map.box_rows(); ++row) {
    const auto bytes = map.row_inside(at, row);
    AccessCounter::active()->note_run(kind, reinterpret_cast<std::uintptr_t>(bytes.data()),
                                      static_cast<std::int64_t>(bytes.size()));
  }
}

void check_place(std::uint32_t place) {
  require(place % 1024 == 0, ExitStatus::internal,
          "emulation: a box at byte {} of shared memory: swizzled tiles begin at multiples of 1024",
          place);
}

void set_place(int (&to)[device::kMaxTensorRank], const int (&from)[device::kMaxTensorRank]) {
  for (int i = 0; i < device::kMaxTensorRank; ++i) to[i] = from[i];
}

}  // namespace

void Transactions::init(std::uint32_t address, int num_arrivals, Site site) {
  require(address % 8 == 0 && num_arrivals > 0 && num_arrivals < 1 << 20, ExitStatus::internal,
          "emulation: a barrier for {} arrivals at byte {}", num_arrivals, address);
  require(!barriers_.contains(address) && barriers_.size() < Clocks::kMaxBarriers,
          ExitStatus::internal, "emulation: the barrier at byte {} is initialised twice", address);
  Barrier barrier;
  barrier.site = site;
  barrier.made_by = block_.accessor();
  barrier.agent = Clocks::barrier(static_cast<int>(barriers_.size()));
  barrier.num_arrivals = barrier.missing_arrivals = num_arrivals;
  barrier.gathering = barrier.released = block_.clocks().nothing();
  barriers_.emplace(address, std::move(barrier));
}

Transactions::Barrier& Transactions::find(std::uint32_t address) {
  const auto found = barriers_.find(address);
  require(found != barriers_.end(), ExitStatus::internal,
          "emulation: thread {} uses a barrier at byte {} that is not initialised",
          block_.thread_index(), address);
  require(
      block_.shared().is_ordered(found->second.made_by, block_.accessor()), ExitStatus::internal,
      "emulation: thread {} uses the barrier of {}, which thread {} initialised, and has not met "
      "it since",
      block_.thread_index(), found->second.site.describe(), found->second.made_by.thread);
  return found->second;
}

void Transactions::arrive(std::uint32_t address, std::int64_t expected_bytes) {
  Barrier& barrier = find(address);
  if (expected_bytes > 0)
    barrier.expected_bytes += expected_bytes - settings().faults.missing_transaction_bytes;
  require(--barrier.missing_arrivals >= 0, ExitStatus::internal,
          "emulation: more than {} arrivals in phase {} of the barrier of {}", barrier.num_arrivals,
          barrier.phase, barrier.site.describe());
  const int thread = block_.thread_index();
  block_.clocks().publish(thread, barrier.gathering);
  end_phase_if_complete(barrier);
}

void Transactions::load(const TensorMap& map, const int (&at)[device::kMaxTensorRank],
                        std::uint32_t to, std::uint32_t address) {
  check_place(to);
  Barrier& barrier = find(address);
  const Accessor who = block_.accessor();
  for_each_chunk(map, to, [&](std::int64_t, int, std::int64_t offset) {
    block_.shared().begin_copy(offset, kChunkBytes, who);
  });
  Copy copy{map, {}, to};
  set_place(copy.at, at);
  barrier.copies.push_back(copy);
  note_rows(AccessKind::load, map, at);
  barrier.copied_bytes += map.box_bytes();
  end_phase_if_complete(barrier);
}

void Transactions::end_phase_if_complete(Barrier& barrier) {
  if (barrier.missing_arrivals > 0) return;
  require(barrier.copied_bytes <= barrier.expected_bytes, ExitStatus::internal,
          "emulation: phase {} of the barrier of {} expects {} bytes, copies bring {}",
          barrier.phase, barrier.site.describe(), barrier.expected_bytes, barrier.copied_bytes);
  if (barrier.copied_bytes < barrier.expected_bytes) return;
  Accessor copier = block_.accessor();
  copier.thread = barrier.agent;
  copier.warp = -1;
  copier.clock = ++barrier.phase;
  for (const Copy& copy : barrier.copies)
    for_each_chunk(copy.map, copy.place, [&](std::int64_t row, int chunk, std::int64_t offset) {
      const Chunk bytes = copy.map.read(copy.at, row, chunk);
      block_.shared().end_copy(offset, bytes.data(), kChunkBytes, copier);
    });
  barrier.released = barrier.gathering;
  barrier.gathering.assign(barrier.gathering.size(), 0);
  barrier.copies.clear();
  barrier.copied_bytes = barrier.expected_bytes = 0;
  barrier.missing_arrivals = barrier.num_arrivals;
  block_.wake(barrier.waiting);
}

void Transactions::wait(std::uint32_t address, int parity, Site site) {
  waits_reached().insert(site);
  if (settings().faults.skipped_wait == site) return;
  Barrier& barrier = find(address);
  require(parity == 0 || parity == 1, ExitStatus::internal, "emulation: a parity of {}", parity);
  while (static_cast<int>(barrier.phase % 2) == parity) {
    barrier.waiting_at = site;
    block_.sleep(barrier.waiting);
  }
  Clocks& clocks = block_.clocks();
  clocks.learn(block_.thread_index(), barrier.released);
  if (barrier.phase > 0) clocks.learn(block_.thread_index(), barrier.agent, barrier.phase);
}

void Transactions::store(const TensorMap& map, const int (&at)[device::kMaxTensorRank],
                         std::uint32_t from) {
  check_place(from);
  const Accessor who = block_.accessor();
  for_each_chunk(map, from, [&](std::int64_t, int, std::int64_t offset) {
    block_.shared().begin_async_read(offset, kChunkBytes, who);
  });
  Copy copy{map, {}, from};
  set_place(copy.at, at);
  stores_[who.thread].groups.back().boxes.push_back(copy);
  note_rows(AccessKind::store, map, at);
}

void Transactions::commit_stores() {
  stores_[block_.thread_index()].groups.emplace_back();
}

void Transactions::store_floats(float* to, std::uint32_t from, int bytes, bool adds) {
  require(from % kChunkBytes == 0 && reinterpret_cast<std::uintptr_t>(to) % kChunkBytes == 0 &&
              bytes > 0 && bytes % kChunkBytes == 0,
          ExitStatus::internal,
          "emulation: {} bytes from {} of shared memory to {}: not in whole chunks of 16", bytes,
          from, static_cast<const void*>(to));
  const Accessor who = block_.accessor();
  for (std::int64_t offset = from; offset < from + bytes; offset += kChunkBytes)
    block_.shared().begin_async_read(offset, kChunkBytes, who);
  stores_[who.thread].groups.back().floats.push_back(
      {to, from, bytes, adds, block_.turns().start(who.thread, to, bytes, adds)});
  if (AccessCounter::active() != nullptr)
    AccessCounter::active()->note_run(AccessKind::store, reinterpret_cast<std::uintptr_t>(to),
                                      bytes);
}

void Transactions::wait_for_stores(int num_pending) {
  auto& [groups, landing] = stores_[block_.thread_index()];
  while (groups.size() > static_cast<std::size_t>(num_pending) + 1) {
    for (const Copy& copy : groups.front().boxes)
      for_each_chunk(copy.map, copy.place, [&](std::int64_t row, int chunk, std::int64_t offset) {
        Chunk bytes;
        block_.shared().end_async_read(bytes.data(), offset, kChunkBytes);
        copy.map.write(copy.at, row, chunk, bytes);
      });
    for (FloatStore& store : groups.front().floats) {
      store.held.resize(static_cast<std::size_t>(store.bytes) / sizeof(float));
      auto* held = reinterpret_cast<std::byte*>(store.held.data());
      for (int at = 0; at < store.bytes; at += kChunkBytes) {
        block_.shared().end_async_read(held + at, store.place + at, kChunkBytes);
        // Who writes there next must have met the thread since.
        block_.shared().read(held + at, store.place + at, kChunkBytes, block_.accessor());
      }
      landing.push_back(std::move(store));
    }
    groups.erase(groups.begin());
  }
}

void Transactions::complete_stores(int num_pending) {
  wait_for_stores(num_pending);
  if (settings().faults.incomplete_stores) return;
  const int thread = block_.thread_index();
  auto& landing = stores_[thread].landing;
  for (const FloatStore& store : landing) {
    for (std::size_t i = 0; i < store.held.size(); ++i)
      store.to[i] = store.adds ? store.to[i] + store.held[i] : store.held[i];
    block_.turns().complete(thread, store.to, store.number, block_.clocks());
  }
  landing.clear();
}

std::string Transactions::describe_waiting() const {
  for (const auto& [address, barrier] : barriers_)
    if (!barrier.waiting.empty())
      return fmt::format(
          "{} threads wait at {} for phase {} of the barrier of {}: {} of {} arrivals are missing, "
          "{} bytes are expected and {} copied",
          barrier.waiting.size(), barrier.waiting_at.describe(), barrier.phase,
          barrier.site.describe(), barrier.missing_arrivals, barrier.num_arrivals,
          barrier.expected_bytes, barrier.copied_bytes);
  return "";
}

void Transactions::end_block() const {
  for (const auto& [thread, stores] : stores_) {
    for (const auto& group : stores.groups)
      require(group.boxes.empty() && group.floats.empty(), ExitStatus::internal,
              "emulation: the block ends while a store of thread {} still reads its shared memory",
              thread);
    require(stores.landing.empty(), ExitStatus::internal,
            "emulation: the block ends before a store of thread {} is complete", thread);
  }
  for (const auto& [address, barrier] : barriers_)
    require(barrier.copies.empty(), ExitStatus::internal,
            "emulation: the block ends while {} bytes are copied for the barrier of {}",
            barrier.copied_bytes, barrier.site.describe());
}

}  // namespace espalier::emulation
