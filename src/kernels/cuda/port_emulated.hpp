#pragma once
// kernels/cuda/port.hpp for an ordinary C++ compiler.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "base/dtype.hpp"
#include "base/error.hpp"
#include "device/gpu.hpp"
#include "emulation/block.hpp"
#include "emulation/faults.hpp"
#include "emulation/tensor_core.hpp"
#include "kernels/cuda/launch_shape.hpp"

#define ESPALIER_DEVICE inline
#define ESPALIER_KERNEL(max_threads) void
#define ESPALIER_KERNEL_OF_BLOCKS(max_threads, min_blocks) void

namespace espalier::kernels::ESPALIER_GPU {

template <class... Parameters>
void launch(void (*kernel)(Parameters...), const LaunchShape& shape, const Queue&,
            std::type_identity_t<Parameters>... arguments) {
  require_launchable(shape);
  if (shape.num_blocks == 0) return;
  const device::EmulatedAccess access;
  emulation::Block::run(shape, [&] { kernel(arguments...); });
}

inline int compute_capability() {
  return 0;
}

inline int num_multiprocessors() {
  return 2;
}

template <class... Parameters>
int most_threads(void (*)(Parameters...)) {
  return 1024;
}

inline int thread_index() {
  return emulation::Block::current().thread_index();
}
inline int num_threads() {
  return emulation::Block::current().num_threads();
}
inline std::int64_t block_index() {
  return emulation::Block::current().block_index();
}
inline void block_barrier(const std::source_location& site = std::source_location::current()) {
  emulation::Block::current().block_barrier(site);
}
inline void warp_barrier(const std::source_location& site = std::source_location::current()) {
  emulation::Block::current().warp_barrier(site);
}
template <class T>
T shuffle_xor(T value, int mask,
              const std::source_location& site = std::source_location::current()) {
  emulation::Block& block = emulation::Block::current();
  const auto all = block.exchange(value, site);
  return all[static_cast<std::size_t>((block.thread_index() % kWarpSize) ^ mask)];
}
template <class T>
T shuffle(T value, int from, const std::source_location& site = std::source_location::current()) {
  return emulation::Block::current().exchange(value, site)[static_cast<std::size_t>(from)];
}

inline std::uint32_t pair_of_bf16(float low, float high) {
  return std::uint32_t{bf16(low).bits} | std::uint32_t{bf16(high).bits} << 16;
}
inline bf16 rounded_bf16(float value) {
  return bf16(value);
}
inline float fast_exp2(float x) {
  return exp2f(x);
}

/// A vector access that is not aligned faults on the device.
inline void check_alignment(const void* p, std::size_t bytes) {
  const std::size_t alignment = bytes < 16 ? bytes : 16;
  require(reinterpret_cast<std::uintptr_t>(p) % alignment == 0, ExitStatus::internal,
          "emulation: {} bytes at {} are not aligned", bytes, p);
}
/// The running thread touches `bytes` bytes: of device memory, or of shared memory at an offset.
inline void note_access(emulation::AccessKind kind, std::uintptr_t place, std::size_t bytes) {
  if (emulation::AccessCounter* counter = emulation::AccessCounter::active(); counter != nullptr)
    counter->note(kind, emulation::Block::current().thread_index(), place, static_cast<int>(bytes));
}
inline void note_access(emulation::AccessKind kind, const void* p, std::size_t bytes) {
  note_access(kind, reinterpret_cast<std::uintptr_t>(p), bytes);
}

template <class T>
T read_element(const T* p) {
  note_access(emulation::AccessKind::load, p, sizeof(T));
  return *p;
}
template <class T>
void write_element(T* p, std::type_identity_t<T> value) {
  note_access(emulation::AccessKind::store, p, sizeof(T));
  *p = value;
}
template <int kCount>
Words<kCount> read_words(const void* p) {
  Words<kCount> words;
  check_alignment(p, sizeof words);
  note_access(emulation::AccessKind::load, p, sizeof words);
  std::memcpy(&words, p, sizeof words);
  return words;
}
template <int kCount>
void write_words(void* p, const Words<kCount>& words) {
  check_alignment(p, sizeof words);
  note_access(emulation::AccessKind::store, p, sizeof words);
  std::memcpy(p, &words, sizeof words);
}

/// An array in the block's shared memory; the array itself has bounds too.
template <class T>
class SharedArray {
 public:
  SharedArray(std::int64_t offset, int count) : offset_(offset), count_(count) {}
  /// Elements first .. first + count as an array of their own.
  SharedArray part(int first, int count) const {
    check(first, static_cast<std::size_t>(count) * sizeof(T));
    return SharedArray(offset_ + first * kSize, count);
  }
  std::uint32_t address(int i) const {
    check(i, sizeof(T));
    return static_cast<std::uint32_t>(offset_ + i * kSize);
  }
  T get(int i) const {
    T value;
    read(&value, i, sizeof value);
    return value;
  }
  void set(int i, T value) const { write(i, &value, sizeof value); }
  template <int kCount>
  Words<kCount> read_words(int i) const {
    Words<kCount> words;
    read(&words, i, sizeof words);
    return words;
  }
  template <int kCount>
  void write_words(int i, const Words<kCount>& words) const {
    write(i, &words, sizeof words);
  }
  void copy_async(int i, const T* from, bool valid) const {
    check(i, 16);
    emulation::Block& block = emulation::Block::current();
    block.copies().start(block.shared(), offset_ + i * kSize, valid ? from : nullptr,
                         block.accessor());
    note_access(emulation::AccessKind::shared_store, place(i), 16);
    if (valid)
      note_access(emulation::AccessKind::load, from, 16);
    else if (emulation::AccessCounter::active() != nullptr)
      emulation::AccessCounter::active()->skip(emulation::AccessKind::load, block.thread_index(),
                                               16);
  }
  Words<4> load_matrices(int i,
                         const std::source_location& site = std::source_location::current()) const {
    return matrices(i, false, site);
  }
  Words<4> load_matrices_transposed(
      int i, const std::source_location& site = std::source_location::current()) const {
    return matrices(i, true, site);
  }

 private:
  static constexpr auto kSize = static_cast<std::int64_t>(sizeof(T));

  std::uintptr_t place(int i) const { return static_cast<std::uintptr_t>(offset_ + i * kSize); }
  void check(int i, std::size_t bytes) const {
    require(i >= 0 && i * kSize + static_cast<std::int64_t>(bytes) <= count_ * kSize,
            ExitStatus::internal, "emulation: {} bytes at element {} of a shared array of {}",
            bytes, i, count_);
  }
  void read(void* to, int i, std::size_t bytes) const {
    check(i, bytes);
    note_access(emulation::AccessKind::shared_load, place(i), bytes);
    emulation::Block& block = emulation::Block::current();
    block.shared().read(to, offset_ + i * kSize, static_cast<std::int64_t>(bytes),
                        block.accessor());
  }
  void write(int i, const void* from, std::size_t bytes) const {
    check(i, bytes);
    note_access(emulation::AccessKind::shared_store, place(i), bytes);
    emulation::Block& block = emulation::Block::current();
    block.shared().write(offset_ + i * kSize, from, static_cast<std::int64_t>(bytes),
                         block.accessor());
  }

  Words<4> matrices(int i, bool transposed, const std::source_location& site) const {
    static_assert(sizeof(T) == 2);
    emulation::MatrixRow row;
    read(row.data(), i, sizeof row);
    emulation::Block& block = emulation::Block::current();
    return emulation::matrices_of_lane(block.exchange(row, site), block.thread_index() % kWarpSize,
                                       transposed);
  }

  std::int64_t offset_;
  std::int64_t count_;
};

class SharedAllocator {
 public:
  template <class T>
  SharedArray<T> take(int count) {
    const SharedArray<T> array(used_, count);
    used_ += shared_bytes<T>(count);
    const std::int64_t given = emulation::Block::current().shared().size_bytes();
    require(used_ <= given, ExitStatus::internal,
            "emulation: the kernel takes {} bytes of shared memory, the launch gave {}", used_,
            given);
    return array;
  }

 private:
  std::int64_t used_ = 0;
};

inline void commit_copies() {
  emulation::Block::current().copies().commit();
}
template <int kPending>
void wait_for_copies() {
  emulation::Block& block = emulation::Block::current();
  const int pending = kPending + emulation::settings().faults.extra_pending_copies;
  block.copies().wait(block.shared(), pending, block.accessor());
}
inline void multiply_add(float (&d)[4], const Words<4>& a, std::uint32_t b0, std::uint32_t b1,
                         const std::source_location& site = std::source_location::current()) {
  emulation::Block& block = emulation::Block::current();
  const emulation::Operands mine{{a.at[0], a.at[1], a.at[2], a.at[3]}, {b0, b1}};
  emulation::multiply_add(d, block.exchange(mine, site), block.thread_index() % kWarpSize);
}

inline int num_tail_columns(int count) {
  return count + emulation::settings().faults.extra_tail_columns;
}

}  // namespace espalier::kernels::ESPALIER_GPU
