#include "emulation/warpgroup.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.hpp"
#include "emulation/block.hpp"
#include "emulation/faults.hpp"

namespace espalier::emulation {
namespace {

constexpr int kRows = 64;
constexpr int kDepth = 16;  ///< k of one product
constexpr int kChunkElements = 8;

/// A matrix in shared memory, as the 64 bits of a descriptor say (PTX ISA, "Matrix descriptor").
struct Descriptor {
  std::int64_t start, leading_bytes, stride_bytes;

  explicit Descriptor(std::uint64_t bits)
      : start(field(bits, 0)), leading_bytes(field(bits, 16)), stride_bytes(field(bits, 32)) {
    require(bits >> 62 == 1 && (bits >> 49 & 7) == 0, ExitStatus::internal,
            "emulation: a descriptor {:#x} that is not of 128-byte swizzling in tiles at multiples "
            "of 1024",
            bits);
  }
  /// Where the eight elements are that begin at (row, k), k along the rows: groups of eight rows
  /// are stride_bytes apart.
  std::int64_t chunk_of_rows(int row, int k) const {
    return swizzled(start + row / 8 * stride_bytes + row % 8 * 128 + k * 2);
  }
  /// The eight that begin at (k, col), columns along the rows: groups of eight k are stride_bytes
  /// apart, and of 64 columns leading_bytes.
  std::int64_t chunk_of_columns(int k, int col) const {
    return swizzled(start + col / 64 * leading_bytes + k / 8 * stride_bytes + k % 8 * 128 +
                    col % 64 * 2);
  }

 private:
  static std::int64_t field(std::uint64_t bits, int at) {
    return static_cast<std::int64_t>(bits >> at & 0x3FFF) << 4;
  }
};

float value_of(std::uint32_t half) {
  return std::bit_cast<float>(half << 16);
}
std::array<float, kChunkElements> values_of(const std::byte* chunk) {
  std::array<float, kChunkElements> values;
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint16_t half;
    std::memcpy(&half, chunk + 2 * i, sizeof half);
    values[i] = value_of(half);
  }
  return values;
}

/// visit(row or k, k or column, offset) for all chunks of an operand.
template <class Visit>
void for_each_chunk_of_rows(std::uint64_t bits, int rows, const Visit& visit) {
  const Descriptor descriptor(bits);
  for (int row = 0; row < rows; ++row)
    for (int k = 0; k < kDepth; k += kChunkElements)
      visit(row, k, descriptor.chunk_of_rows(row, k));
}
template <class Visit>
void for_each_chunk_of_columns(std::uint64_t bits, int cols, const Visit& visit) {
  const Descriptor descriptor(bits);
  for (int k = 0; k < kDepth; ++k)
    for (int col = 0; col < cols; col += kChunkElements)
      visit(k, col, descriptor.chunk_of_columns(k, col));
}

/// Element i of a thread's part of d.
int row_of(int thread, int i) {
  return thread / 32 * 16 + thread % 32 / 4 + i / 2 % 2 * 8;
}
int col_of(int thread, int i) {
  return i / 4 * 8 + thread % 4 * 2 + i % 2;
}

constexpr float kUnknown = std::numeric_limits<float>::quiet_NaN();

}  // namespace

std::size_t Warpgroup::lane() const {
  return static_cast<std::size_t>(block_.thread_index() % device::kWarpgroupThreads);
}

Warpgroup::Result& Warpgroup::result_of(std::size_t thread, float* place) {
  std::vector<Result>& all = results_[thread];
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Result& r) { return r.place == place; });
  if (found != all.end()) return *found;
  all.push_back({place, {}, 0});
  return all.back();
}

void Warpgroup::fence() {
  if (!settings().faults.without_product_fences) is_fenced_[lane()] = true;
}

void Warpgroup::multiply(Product product) {
  require(is_fenced_[lane()], ExitStatus::internal,
          "emulation: thread {} has not fenced its registers since it last waited for products, "
          "before the one at {}",
          block_.thread_index(), product.site.describe());
  if (product.registers != nullptr)
    std::copy_n(product.registers, product.held.size(), product.held.begin());
  Result& result = result_of(lane(), product.d);
  const int count = product.cols / 2;
  if (result.num_products++ == 0) {
    result.values.assign(static_cast<std::size_t>(count), 0.0f);
    if (product.accumulate) std::copy_n(product.d, count, result.values.begin());
    std::fill_n(product.d, count, kUnknown);
  }
  open_[lane()].push_back(product);
}

void Warpgroup::check_uniform() const {
  const std::vector<Product>& first = open_.front();
  for (std::size_t t = 1; t < open_.size(); ++t) {
    const std::vector<Product>& other = open_[t];
    require(
        other.size() == first.size(), ExitStatus::internal,
        "emulation: threads of warpgroup {} ask for different products: thread 0 for {}, thread "
        "{} for {}",
        index_, first.size(), t, other.size());
    for (std::size_t i = 0; i < first.size(); ++i)
      require(other[i].site == first[i].site && other[i].cols == first[i].cols &&
                  other[i].accumulate == first[i].accumulate && other[i].b == first[i].b &&
                  other[i].a == first[i].a &&
                  other[i].left_by_columns == first[i].left_by_columns &&
                  other[i].right_by_columns == first[i].right_by_columns &&
                  (other[i].registers == nullptr) == (first[i].registers == nullptr),
              ExitStatus::internal,
              "emulation: threads 0 and {} of warpgroup {} ask for different products at {} and {}",
              t, index_, first[i].site.describe(), other[i].site.describe());
  }
}

void Warpgroup::note_reads(const Product& product, std::uint32_t clock) {
  Accessor who = block_.accessor();
  who.thread = Clocks::group(index_);
  who.warp = -3;
  who.clock = clock;
  const auto note = [&](int, int, std::int64_t offset) {
    block_.shared().begin_product(offset, index_, who);
  };
  const auto note_operand = [&](std::uint64_t bits, int rows, bool by_columns) {
    if (by_columns)
      for_each_chunk_of_columns(bits, rows, note);
    else
      for_each_chunk_of_rows(bits, rows, note);
  };
  if (product.registers == nullptr) note_operand(product.a, kRows, product.left_by_columns);
  note_operand(product.b, product.cols, product.right_by_columns);
}

void Warpgroup::commit(Site site) {
  block_.meet_warpgroup(site, [&] {
    check_uniform();
    Clocks& clocks = block_.clocks();
    clocks.begin_products(index_);
    const std::uint32_t clock = clocks.time_of(Clocks::group(index_));
    Group group(open_.front().size());
    for (std::size_t i = 0; i < group.size(); ++i) {
      for (std::size_t t = 0; t < open_.size(); ++t) group[i][t] = open_[t][i];
      note_reads(group[i].front(), clock);
    }
    for (auto& products : open_) products.clear();
    clocks.advance(Clocks::group(index_));
    committed_.push_back({std::move(group), clock});
  });
}

void Warpgroup::run(const std::array<Product, device::kWarpgroupThreads>& products) {
  const Product& first = products.front();
  const auto cols = static_cast<std::size_t>(first.cols);
  static std::array<std::array<float, kDepth>, kRows> a;
  static std::array<std::array<float, 256>, kDepth> b;
  const SharedMemory& shared = block_.shared();
  if (first.registers != nullptr) {
    for (int t = 0; t < device::kWarpgroupThreads; ++t)
      for (int i = 0; i < 8; ++i) {
        const std::uint32_t word =
            products[static_cast<std::size_t>(t)].held[static_cast<std::size_t>(i / 2)];
        const int row = t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8;
        const int k = t % 4 * 2 + i / 4 * 8 + i % 2;
        a[static_cast<std::size_t>(row)][static_cast<std::size_t>(k)] =
            value_of(i % 2 == 0 ? word & 0xFFFFu : word >> 16);
      }
  } else if (first.left_by_columns) {
    for_each_chunk_of_columns(first.a, kRows, [&](int k, int row, std::int64_t offset) {
      const auto values = values_of(shared.chunk(offset));
      for (std::size_t i = 0; i < values.size(); ++i)
        a[static_cast<std::size_t>(row) + i][static_cast<std::size_t>(k)] = values[i];
    });
  } else {
    for_each_chunk_of_rows(first.a, kRows, [&](int row, int k, std::int64_t offset) {
      const auto values = values_of(shared.chunk(offset));
      std::copy(values.begin(), values.end(), a[static_cast<std::size_t>(row)].begin() + k);
    });
  }
  if (first.right_by_columns)
    for_each_chunk_of_columns(first.b, first.cols, [&](int k, int col, std::int64_t offset) {
      const auto values = values_of(shared.chunk(offset));
      std::copy(values.begin(), values.end(), b[static_cast<std::size_t>(k)].begin() + col);
    });
  else
    for_each_chunk_of_rows(first.b, first.cols, [&](int col, int k, std::int64_t offset) {
      const auto values = values_of(shared.chunk(offset));
      for (std::size_t i = 0; i < values.size(); ++i)
        b[static_cast<std::size_t>(k) + i][static_cast<std::size_t>(col)] = values[i];
    });
  static std::array<std::array<float, 256>, kRows> sums;
  for (std::size_t row = 0; row < kRows; ++row) {
    std::fill_n(sums[row].begin(), cols, 0.0f);
    for (std::size_t k = 0; k < kDepth; ++k)
      for (std::size_t col = 0; col < cols; ++col) sums[row][col] += a[row][k] * b[k][col];
  }
  for (int t = 0; t < device::kWarpgroupThreads; ++t) {
    const auto thread = static_cast<std::size_t>(t);
    std::vector<float>& values = result_of(thread, products[thread].d).values;
    for (int i = 0; i < first.cols / 2; ++i) {
      float& value = values[static_cast<std::size_t>(i)];
      const float sum =
          sums[static_cast<std::size_t>(row_of(t, i))][static_cast<std::size_t>(col_of(t, i))];
      value = first.accumulate ? value + sum : sum;
    }
    release(thread, products[thread]);
  }
}

void Warpgroup::release(std::size_t thread, const Product& product) {
  if (product.registers != nullptr)
    require(std::equal(product.held.begin(), product.held.end(), product.registers),
            ExitStatus::internal,
            "emulation: the left operand of the product at {} changed before it was waited for",
            product.site.describe());
  Result& result = result_of(thread, product.d);
  if (--result.num_products > 0) return;
  for (std::size_t i = 0; i < result.values.size(); ++i) {
    require(std::isnan(product.d[i]), ExitStatus::internal,
            "emulation: the result of the product at {} was written before it was waited for",
            product.site.describe());
    product.d[i] = result.values[i];
  }
  std::erase_if(results_[thread], [&](const Result& r) { return r.place == product.d; });
}

void Warpgroup::wait(int num_pending, Site site) {
  const int pending = num_pending + settings().faults.extra_pending_products;
  block_.meet_warpgroup(site, [&] {
    while (committed_.size() > static_cast<std::size_t>(pending)) {
      for (const auto& products : committed_.front().products) run(products);
      for (int t = 0; t < device::kWarpgroupThreads; ++t)
        block_.clocks().learn(index_ * device::kWarpgroupThreads + t,
                              Clocks::part(index_, t / device::kWarpSize),
                              committed_.front().clock);
      committed_.pop_front();
    }
    is_fenced_.fill(false);
  });
}

void Warpgroup::check_done(const void* registers) const {
  for (const Result& result : results_[lane()])
    require(result.place != registers, ExitStatus::internal,
            "emulation: thread {} has waited for products, but one with these registers is still "
            "under way",
            block_.thread_index());
  const auto uses = [&](const Product& product) {
    return registers != nullptr && product.registers == registers;
  };
  for (const Committed& group : committed_)
    for (const auto& products : group.products)
      require(!uses(products[lane()]), ExitStatus::internal,
              "emulation: thread {} has waited for products, but the one at {} still reads these "
              "registers",
              block_.thread_index(), products[lane()].site.describe());
}

void Warpgroup::set_registers(int count, Site site) {
  block_.meet_warpgroup(site, [&] {
    num_registers_ = count;
    int num_all = 0;
    for (const Warpgroup& group : block_.warpgroups()) num_all += group.num_registers_;
    constexpr int kRegistersOfThread = 65536 / device::kWarpgroupThreads;
    require(num_all <= kRegistersOfThread, ExitStatus::internal,
            "emulation: at {} the warpgroups want {} registers a thread in all, there are {}",
            site.describe(), num_all, kRegistersOfThread);
  });
}

}  // namespace espalier::emulation
