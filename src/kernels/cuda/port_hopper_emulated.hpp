#pragma once
// kernels/cuda/port_hopper.hpp for an ordinary C++ compiler.
#include "emulation/tensor_map.hpp"
#include "kernels/cuda/launch_shape.hpp"
#include "kernels/cuda/port.hpp"

#define ESPALIER_GRID_CONSTANT
#define ESPALIER_ONE_BLOCK_KERNEL(threads) void

namespace espalier::kernels::ESPALIER_GPU {

constexpr bool kHasWarpgroupProducts = true;

using emulation::TensorMap;

inline TensorMap make_tensor_map(const void* data, const TensorExtents& extents) {
  return TensorMap::make(data, extents);
}

inline TensorMap make_new_tensor_map(const void* data, const TensorExtents& extents) {
  return make_tensor_map(data, extents);
}

template <class... Maps>
void prefetch_maps(const Maps&...) {}

struct Barrier {
  std::uint32_t address;

  void init(int num_arrivals,
            const std::source_location& site = std::source_location::current()) const {
    emulation::Block::current().transactions().init(address, num_arrivals, site);
  }
  void arrive() const { emulation::Block::current().transactions().arrive(address, 0); }
  void arrive_expecting(int bytes) const {
    emulation::Block::current().transactions().arrive(address, bytes);
  }
  void wait(int parity, const std::source_location& site = std::source_location::current()) const {
    emulation::Block::current().transactions().wait(address, parity, site);
  }
};
/// A fence between initialising and asynchronous use; not watched.
inline void publish_barriers() {}
inline void fence_async_proxy() {
  emulation::Block& block = emulation::Block::current();
  if (!emulation::settings().faults.without_proxy_fences)
    block.clocks().fence(block.thread_index());
}
inline void group_barrier(int id, int count,
                          const std::source_location& site = std::source_location::current()) {
  emulation::Block::current().named_barrier(id, count, site);
}
inline void arrive_at_group_barrier(
    int id, int count, const std::source_location& site = std::source_location::current()) {
  emulation::Block::current().arrive_at_named_barrier(id, count, site);
}

/// Coordinates of all dimensions that there can be.
template <int kRank>
void check_rank(const TensorMap& map, const int (&at)[kRank], int (&all)[kMaxTensorRank]) {
  require(map.extents.rank == kRank, ExitStatus::internal,
          "emulation: {} coordinates for a tensor map of rank {}", kRank, map.extents.rank);
  for (int i = 0; i < kMaxTensorRank; ++i) all[i] = i < kRank ? at[i] : 0;
}
template <int kRank>
void load_box(const TensorMap& map, const int (&at)[kRank], std::uint32_t to, Barrier barrier) {
  int all[kMaxTensorRank];
  check_rank(map, at, all);
  emulation::Block::current().transactions().load(map, all, to, barrier.address);
}
template <int kRank>
void store_box(const TensorMap& map, const int (&at)[kRank], std::uint32_t from) {
  int all[kMaxTensorRank];
  check_rank(map, at, all);
  emulation::Block::current().transactions().store(map, all, from);
}
inline void commit_stores() {
  emulation::Block::current().transactions().commit_stores();
}
template <int kPending>
void wait_for_stores() {
  emulation::Block::current().transactions().wait_for_stores(kPending);
}

template <int kPending>
void complete_stores() {
  emulation::Block::current().transactions().complete_stores(kPending);
}
inline void store_floats(float* to, std::uint32_t from, int bytes) {
  emulation::Block::current().transactions().store_floats(to, from, bytes, false);
}
inline void add_floats(float* to, std::uint32_t from, int bytes) {
  emulation::Block::current().transactions().store_floats(to, from, bytes, true);
}
inline std::int32_t count_one(std::int32_t* count) {
  note_access(emulation::AccessKind::load, count, sizeof *count);
  return (*count)++;
}
inline void wait_for_count(const std::int32_t* count, std::int32_t wanted) {
  note_access(emulation::AccessKind::load, count, sizeof *count);
  emulation::Block& block = emulation::Block::current();
  block.turns().wait(block.thread_index(), count, wanted);
}
inline void publish_count(std::int32_t* count, std::int32_t value) {
  note_access(emulation::AccessKind::store, count, sizeof *count);
  emulation::Block& block = emulation::Block::current();
  block.turns().publish(block.thread_index(), count, value);
}
template <int kCount>
Words<kCount> read_sums(const float* p) {
  emulation::Block& block = emulation::Block::current();
  block.turns().read(block.thread_index(), p, block.clocks());
  return read_words<kCount>(p);
}

inline int same_in_warp(int value,
                        const std::source_location& site = std::source_location::current()) {
  const int first = ESPALIER_GPU::shuffle(value, 0, site);
  require(value == first, ExitStatus::internal,
          "emulation: same_in_warp at {} of {}, the first lane has {}",
          emulation::Site(site).describe(), value, first);
  return first;
}
template <int kRegisters>
void raise_registers(const std::source_location& site = std::source_location::current()) {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256);
  emulation::Block::current().warpgroup().set_registers(kRegisters, site);
}
template <int kRegisters>
void lower_registers(const std::source_location& site = std::source_location::current()) {
  raise_registers<kRegisters>(site);
}

template <class... Registers>
void begin_products(Registers&...) {
  emulation::Block::current().warpgroup().fence();
}
inline void end_products(const std::source_location& site = std::source_location::current()) {
  emulation::Block::current().warpgroup().commit(site);
}
template <class T, int kCount>
void check_done(const T (&registers)[kCount]) {
  emulation::Block::current().warpgroup().check_done(registers);
}
template <class T, int kRows, int kCount>
void check_done(const T (&registers)[kRows][kCount]) {
  for (const auto& row : registers) check_done(row);
}
/// Registers of any number leave no room for the place that calls.
template <int kPending, class... Registers>
void wait_for_products(Registers&... registers) {
  emulation::Site site;
  site.file = "wait_for_products";
  emulation::Block::current().warpgroup().wait(kPending, site);
  (check_done(registers), ...);
}
/// A product as one thread asks for it: d = a b, or d += a b. `registers` hold a, or are null.
struct ProductKind {
  bool accumulate, left_by_columns, right_by_columns;
};
template <int kCount>
void ask_for_product(float (&d)[kCount], const ProductKind& kind, std::uint64_t a,
                     const std::uint32_t* registers, std::uint64_t b,
                     const std::source_location& site) {
  emulation::Block::current().warpgroup().multiply({.site = site,
                                                    .d = d,
                                                    .cols = 2 * kCount,
                                                    .accumulate = kind.accumulate,
                                                    .a = a,
                                                    .registers = registers,
                                                    .b = b,
                                                    .left_by_columns = kind.left_by_columns,
                                                    .right_by_columns = kind.right_by_columns});
}
template <int kCount>
void multiply(float (&d)[kCount], std::uint64_t a, std::uint64_t b,
              const std::source_location& site = std::source_location::current()) {
  ask_for_product(d, {false, false, false}, a, nullptr, b, site);
}
template <int kCount>
void multiply_add(float (&d)[kCount], std::uint64_t a, std::uint64_t b,
                  const std::source_location& site = std::source_location::current()) {
  ask_for_product(d, {true, false, false}, a, nullptr, b, site);
}
template <int kCount>
void multiply_columns(float (&d)[kCount], std::uint64_t a, std::uint64_t b,
                      const std::source_location& site = std::source_location::current()) {
  ask_for_product(d, {false, true, true}, a, nullptr, b, site);
}
template <int kCount>
void multiply_add_columns(float (&d)[kCount], std::uint64_t a, std::uint64_t b,
                          const std::source_location& site = std::source_location::current()) {
  ask_for_product(d, {true, true, true}, a, nullptr, b, site);
}
template <int kCount>
void multiply_add_mixed(float (&d)[kCount], std::uint64_t a, std::uint64_t b,
                        const std::source_location& site = std::source_location::current()) {
  ask_for_product(d, {true, false, true}, a, nullptr, b, site);
}
template <int kCount>
void multiply_add(float (&d)[kCount], const std::uint32_t (&a)[4], std::uint64_t b,
                  const std::source_location& site = std::source_location::current()) {
  ask_for_product(d, {true, false, true}, 0, a, b, site);
}

}  // namespace espalier::kernels::ESPALIER_GPU
