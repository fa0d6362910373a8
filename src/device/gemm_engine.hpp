#pragma once
#include <memory>
#include <string>

#include "device/gemm.hpp"
#include "device/gpu.hpp"
#include "device/view.hpp"

namespace espalier::device {

/// A row-major matrix of a product: `transposed` swaps the roles of rows and columns by strides
/// alone, so that no product packs or copies a matrix.
struct GemmOperand {
  const void* data;
  DType dtype;
  std::int64_t rows, cols, stride;
  bool transposed;
};

/// What carries a product out: a library, on the host or on a GPU.
class GemmEngine {
 public:
  virtual ~GemmEngine() = default;
  /// c (+)= a b (+ bias) after transposition of a and b; c.data is written. `bias`: (1, c.cols) of
  /// a's dtype, or null. Sums in fp32.
  virtual void multiply(const GemmOperand& c, const GemmOperand& a, const GemmOperand& b,
                        bool accumulate, const void* bias) = 0;
  /// "oneDNN 2.6.3 avx512_core_bf16", "cuBLASLt 13.0.2"
  virtual std::string describe() const = 0;
  /// See Gemm.
  virtual std::string choices() const { return {}; }
  virtual void adopt_algorithms(const std::string&) {}
  virtual bool resume_algorithms(const std::string&) { return true; }
  virtual void save_algorithms() const {}
  virtual void set_tuning(bool) {}
};

std::unique_ptr<GemmEngine> make_host_gemm(Bf16Products products = Bf16Products::automatic);
/// Of the library's own partial results. What NVIDIA recommends for Hopper and later; more does not
/// change what is suggested.
constexpr std::int64_t kGemmWorkspaceBytes = std::int64_t{32} << 20;

/// The host's, allowed to touch the emulated GPU's memory.
std::unique_ptr<GemmEngine> make_emulated_gemm(std::shared_ptr<Gpu> gpu);
/// cuBLASLt in `stream`, loaded when first used; Error (bad_configuration) when it is not found.
/// Throws Error (internal) in a program without CUDA.
std::unique_ptr<GemmEngine> make_cuda_gemm(std::shared_ptr<Gpu> gpu, Stream stream);

}  // namespace espalier::device
