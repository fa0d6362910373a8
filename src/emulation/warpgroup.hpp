#pragma once
#include <array>
#include <cstdint>
#include <deque>
#include <vector>

#include "device/tensor_extents.hpp"
#include "emulation/site.hpp"

namespace espalier::emulation {

class Block;

/// wgmma of one warpgroup (PTX ISA, "Asynchronous warpgroup level matrix instructions"). Products
/// are done as late as they may be, when their group is waited for. Until then their results are
/// NaN, and at the end they must be as they were left.
class Warpgroup {
 public:
  /// d (64, cols) = a (64, 16) b [+ d] as one thread asks for it. d and registers stay where they
  /// are until the product is waited for.
  struct Product {
    Site site;
    float* d;
    int cols;
    bool accumulate;
    std::uint64_t a;                 ///< descriptor, if registers == nullptr
    const std::uint32_t* registers;  ///< four: rows g and g + 8 of k 2t.., the same of k 2t + 8..
    std::uint64_t b;                 ///< descriptor of (cols, 16), or by columns of (16, cols)
    bool left_by_columns = false;    ///< sums run across the rows of a's descriptor,
    bool right_by_columns = false;   ///< and of b's
    std::array<std::uint32_t, 4> held = {};  ///< the registers when it was asked for
  };

  Warpgroup(Block& block, int index) : block_(block), index_(index) {}

  void fence();
  void multiply(Product product);
  void commit(Site site);
  void wait(int num_pending, Site site);
  /// Throws Error unless nothing that uses these registers is under way.
  void check_done(const void* registers) const;
  /// setmaxnreg. Throws Error when the warpgroups of the block want more than there are.
  void set_registers(int count, Site site);
  int num_registers() const { return num_registers_; }

 private:
  /// What a thread holds of d while products with it are under way.
  struct Result {
    float* place;
    std::vector<float> values;
    int num_products;
  };
  using Group = std::vector<std::array<Product, device::kWarpgroupThreads>>;
  struct Committed {
    Group products;
    std::uint32_t clock;
  };
  std::size_t lane() const;
  Result& result_of(std::size_t thread, float* place);
  void check_uniform() const;
  void note_reads(const Product& product, std::uint32_t clock);
  void run(const std::array<Product, device::kWarpgroupThreads>& products);
  void release(std::size_t thread, const Product& product);

  Block& block_;
  int index_;
  int num_registers_ = 0;
  std::array<bool, device::kWarpgroupThreads> is_fenced_{};
  std::array<std::vector<Product>, device::kWarpgroupThreads> open_;
  std::array<std::vector<Result>, device::kWarpgroupThreads> results_;
  std::deque<Committed> committed_;
};

}  // namespace espalier::emulation
