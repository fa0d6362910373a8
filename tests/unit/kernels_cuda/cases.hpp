#pragma once
// The CUDA operators beside the host's, on small matrices that divide nothing. A case does not
// judge with CHECK but returns what it found, so that the same cases can be run with faults that
// must not go unnoticed.
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "difference.hpp"
#include "kernels/backends.hpp"
#include "on_device.hpp"
#include "unit/kernels/support.hpp"

namespace espalier::testing {

/// What a case found: complaints, and a digest of all results that does not depend on anything but
/// their bits.
class Verdict {
 public:
  /// |got - want| / (scale + |want|) is at most `tolerance` everywhere, and nothing was written
  /// beside the matrix.
  template <class T>
  void close(const char* what, Matrix<T>& got, const Matrix<T>& want, double tolerance,
             double scale = 1e-3) {
    const double error = worst_error(got, want, scale);
    if (!(error <= tolerance))
      complaints += fmt::format("{}: error {:.3g} > {:.3g}; {}\n", what, error, tolerance,
                                describe_difference(got, want, tolerance, scale));
    if (const std::string touched = got.touched_padding(); !touched.empty())
      complaints += fmt::format("{}: written beside it, {}; ", what, touched);
    for (std::int64_t r = 0; r < got.rows(); ++r)
      for (std::int64_t c = 0; c < got.cols(); ++c) digest(&got.at(r, c), sizeof(T));
  }
  template <class T>
  void same_bits(const char* what, Matrix<T>& got, Matrix<T>& want) {
    close(what, got, want, 0.0);
    if (!got.same_bits(want))
      complaints += fmt::format("{}: {}; ", what, describe_other_bits(got, want));
  }
  void expect(const char* what, bool condition) {
    if (!condition) complain(what, "");
  }
  /// Element `i` of a vector. Only the first few that are wrong are named.
  template <class T>
  void equal(const char* what, std::int64_t i, T found, T expected) {
    if (!(found == expected))
      complain(what, fmt::format("[{}]: found {}, expected {}", i, found, expected));
  }
  /// Within `tolerance` of what is expected, relative.
  void near(const char* what, std::int64_t i, double found, double expected, double tolerance) {
    if (!(std::abs(found - expected) <= tolerance * std::abs(expected)))
      complain(what, fmt::format("[{}]: found {:.17g}, expected {:.17g}", i, found, expected));
  }

  std::string complaints;
  std::uint64_t bits = 0xCBF29CE484222325u;

 private:
  void complain(const std::string& what, const std::string& how) {
    constexpr int kMost = 8;
    const int count = ++num_complaints_[what];
    if (count <= kMost) complaints += what + how + "; ";
    if (count == kMost + 1) complaints += what + " at more places; ";
  }

  std::map<std::string, int> num_complaints_;

  void digest(const void* data, std::size_t bytes) {  // FNV-1a
    for (std::size_t i = 0; i < bytes; ++i)
      bits = (bits ^ static_cast<const unsigned char*>(data)[i]) * 0x100000001B3u;
  }
};

struct Case {
  std::string name;
  std::function<Verdict()> run;
};

/// A queue with a workspace for rows of any width in the cases; freshly filled with NaN, because no
/// kernel may expect anything there.
class TestQueue {
 public:
  TestQueue()
      : memory_(static_cast<std::size_t>(kernels::ESPALIER_GPU::workspace_elements(2048, 4096)) + 4,
                NAN) {}
  operator kernels::Queue() {
    auto address = reinterpret_cast<std::uintptr_t>(memory_.data());
    address = (address + 15) / 16 * 16;
    return {nullptr, reinterpret_cast<float*>(address),
            static_cast<std::int64_t>(memory_.size()) - 4};
  }

 private:
  MatrixVector<float> memory_;
};

/// Differences that the order of sums may leave in a result of T: about one unit in the last place
/// for each of `roundings` to bf16; in fp32 the sums' own errors are larger than a rounding.
template <class T>
constexpr double tolerance_of(int roundings = 1) {
  return sizeof(T) == 2 ? 2.02 * kRounding<bf16> * roundings : 1e-5;
}
template <class T>
constexpr const char* kTypeName = sizeof(T) == 2 ? "bf16" : "f32";

/// Under emulation: the order of blocks and threads from now on.
void set_order(std::uint64_t seed);
/// Whether the device is a Hopper; the emulation is one.
bool has_warpgroups();

void add_bias_cases(std::vector<Case>& cases);
void add_elementwise_cases(std::vector<Case>& cases);
void add_embedding_cases(std::vector<Case>& cases);
void add_expert_dispatch_cases(std::vector<Case>& cases);
void add_expert_swiglu_cases(std::vector<Case>& cases);
void add_gelu_cases(std::vector<Case>& cases);
void add_grouped_product_cases(std::vector<Case>& cases);
void add_grouped_wgmma_cases(std::vector<Case>& cases);
void add_layernorm_cases(std::vector<Case>& cases);
void add_norm_cases(std::vector<Case>& cases);
void add_batch_inputs_cases(std::vector<Case>& cases);
void add_positions_cases(std::vector<Case>& cases);
void add_qk_norm_rope_cases(std::vector<Case>& cases);
void add_router_cases(std::vector<Case>& cases);
void add_swiglu_cases(std::vector<Case>& cases);
void add_cross_entropy_cases(std::vector<Case>& cases);
void add_attention_cases(std::vector<Case>& cases);
void add_attention_blocks_cases(std::vector<Case>& cases);
void add_attention_wgmma_cases(std::vector<Case>& cases);
void add_attention_wgmma_blocks_cases(std::vector<Case>& cases);
void add_adamw_cases(std::vector<Case>& cases);
/// Sizes of real models, for a GPU.
void add_large_attention_cases(std::vector<Case>& cases);
void add_large_dispatch_cases(std::vector<Case>& cases);
void add_large_grouped_cases(std::vector<Case>& cases);
std::vector<Case> all_cases();

}  // namespace espalier::testing
