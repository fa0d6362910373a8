#include "emulation/access_counter.hpp"

#include <algorithm>
#include <bit>
#include <set>

namespace espalier::emulation {
namespace {

constexpr int kSectorBytes = 32;
constexpr int kWidestAccess = 16;
constexpr int kWordBytes = 4;
constexpr std::size_t kBanks = 32;

double ratio(std::int64_t a, std::int64_t b) {
  return b == 0 ? 1.0 : static_cast<double>(a) / static_cast<double>(b);
}

/// How many different numbers there are; sorts them.
template <class Iterator>
std::int64_t num_different(Iterator begin, Iterator end) {
  std::sort(begin, end);
  return std::unique(begin, end) - begin;
}

}  // namespace

AccessCounts& access_counts() {
  static AccessCounts counts;
  return counts;
}

double DeviceTraffic::sector_factor() const {
  return ratio(sectors * kSectorBytes, bytes);
}
double SharedTraffic::conflict_factor() const {
  return ratio(wavefronts, fewest);
}
DeviceTraffic AccessCounts::device() const {
  return {loads.requests + stores.requests, loads.bytes + stores.bytes,
          loads.sectors + stores.sectors};
}
SharedTraffic AccessCounts::shared() const {
  return {shared_loads.requests + shared_stores.requests,
          shared_loads.wavefronts + shared_stores.wavefronts,
          shared_loads.fewest + shared_stores.fewest};
}

AccessCounter::AccessCounter(int num_threads, AccessCounts& counts)
    : counts_(counts), warps_(static_cast<std::size_t>(num_threads / device::kWarpSize)) {
  active_ = this;
}

AccessCounter::~AccessCounter() {
  active_ = nullptr;
}

AccessCounter::Stream& AccessCounter::stream(AccessKind kind, int thread, int bytes) {
  const auto width = static_cast<std::size_t>(std::countr_zero(static_cast<unsigned>(bytes)));
  return warps_[static_cast<std::size_t>(thread / device::kWarpSize)]
               [static_cast<std::size_t>(kind) * kWidths + width];
}

void AccessCounter::note(AccessKind kind, int thread, std::uintptr_t place, int bytes) {
  for (int done = 0; done < bytes; done += kWidestAccess)
    add(kind, thread, place + static_cast<std::uintptr_t>(done), std::min(bytes, kWidestAccess));
}

void AccessCounter::add(AccessKind kind, int thread, std::uintptr_t place, int bytes) {
  const auto lane = static_cast<std::size_t>(thread % device::kWarpSize);
  Stream& s = stream(kind, thread, bytes);
  const std::size_t i = s.next[lane]++;
  if (i >= s.requests.size()) s.requests.resize(i + 1);
  s.requests[i].lanes |= 1u << lane;
  s.requests[i].place[lane] = place;
}

void AccessCounter::skip(AccessKind kind, int thread, int bytes) {
  ++stream(kind, thread, bytes).next[static_cast<std::size_t>(thread % device::kWarpSize)];
}

void AccessCounter::note_run(AccessKind kind, std::uintptr_t address, std::int64_t bytes) {
  if (bytes == 0) return;
  DeviceTraffic& traffic = kind == AccessKind::load ? counts_.loads : counts_.stores;
  const auto last = address + static_cast<std::uintptr_t>(bytes) - 1;
  ++traffic.requests;
  traffic.bytes += bytes;
  traffic.sectors += static_cast<std::int64_t>(last / kSectorBytes - address / kSectorBytes + 1);
}

void AccessCounter::meet(const std::vector<int>& threads) {
  // Once per warp, by its first lane.
  for (const int thread : threads)
    if (thread % device::kWarpSize == 0)
      finish(warps_[static_cast<std::size_t>(thread / device::kWarpSize)]);
}

void AccessCounter::end_block() {
  for (Warp& warp : warps_) finish(warp);
}

void AccessCounter::finish(Warp& warp) {
  for (std::size_t i = 0; i < kStreams; ++i) {
    Stream& s = warp[i];
    const auto kind = static_cast<AccessKind>(i / kWidths);
    const int bytes = 1 << i % kWidths;
    for (const Request& request : s.requests) {
      if (request.lanes == 0) continue;
      if (kind == AccessKind::load) count_device(counts_.loads, request, bytes);
      if (kind == AccessKind::store) count_device(counts_.stores, request, bytes);
      if (kind == AccessKind::shared_load) count_shared(counts_.shared_loads, request, bytes);
      if (kind == AccessKind::shared_store) count_shared(counts_.shared_stores, request, bytes);
    }
    s.requests.clear();
    s.next.fill(0);
  }
}

void AccessCounter::count_device(DeviceTraffic& traffic, const Request& request, int bytes) const {
  // Accesses are aligned to their width: two of them are the same or touch no byte in common.
  std::array<std::uintptr_t, device::kWarpSize> places;
  std::size_t count = 0;
  for (std::size_t lane = 0; lane < device::kWarpSize; ++lane)
    if ((request.lanes >> lane & 1) != 0) places[count++] = request.place[lane];
  const auto end = places.begin() + static_cast<std::ptrdiff_t>(count);
  ++traffic.requests;
  auto sectors = places;
  std::transform(places.begin(), end, sectors.begin(),
                 [](std::uintptr_t place) { return place / kSectorBytes; });
  traffic.sectors +=
      num_different(sectors.begin(), sectors.begin() + static_cast<std::ptrdiff_t>(count));
  traffic.bytes += num_different(places.begin(), end) * bytes;
}

void AccessCounter::count_shared(SharedTraffic& traffic, const Request& request, int bytes) const {
  ++traffic.requests;
  const int num_parts =
      std::max(1, bytes * device::kWarpSize / static_cast<int>(kBanks * kWordBytes));
  const int lanes = device::kWarpSize / num_parts;
  for (int part = 0; part < num_parts; ++part) {
    std::array<std::set<std::uintptr_t>, kBanks> words;
    for (int lane = part * lanes; lane < (part + 1) * lanes; ++lane) {
      if ((request.lanes >> lane & 1) == 0) continue;
      const std::uintptr_t first = request.place[static_cast<std::size_t>(lane)] / kWordBytes;
      const auto count = static_cast<std::uintptr_t>(std::max(1, bytes / kWordBytes));
      for (std::uintptr_t word = first; word < first + count; ++word)
        words[word % kBanks].insert(word);
    }
    std::size_t most = 0;
    for (const auto& bank : words) most = std::max(most, bank.size());
    traffic.wavefronts += static_cast<std::int64_t>(most);
    if (most > 0) ++traffic.fewest;
  }
}

}  // namespace espalier::emulation
