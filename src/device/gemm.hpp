#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "device/gpu.hpp"
#include "device/view.hpp"

namespace espalier::device {

class GemmEngine;
class Profiler;

/// Whether the result replaces what is in the output or is added to it.
enum class Output { replace, accumulate };

/// How the host multiplies bf16: by the library's own products where it has fast ones, else, or
/// always, by fp32 products of the widened operands.
enum class Bf16Products : std::uint8_t { automatic, widened };

/// The three matrix products of a linear layer y = x W^T (+ bias), W (out, in) as in Hugging Face.
/// Operands f32 or bf16 (both alike), accumulation in fp32; outputs f32 or the operands' dtype.
/// Rows may be strided. Primitives are cached by shape: the first call of a shape is slow.
/// Cost of each: 2*M*N*K FLOPs. Errors of the library are Error (internal) with the shapes.
class Gemm {
 public:
  /// On the host.
  explicit Gemm(Bf16Products products = Bf16Products::automatic);
  /// Counts what it is asked for (count_in) and computes nothing.
  struct Counting {};
  explicit Gemm(Counting);
  /// In `stream` of a GPU; null is the host.
  Gemm(std::shared_ptr<Gpu> gpu, Stream stream);
  ~Gemm();
  Gemm(Gemm&&) noexcept;

  /// Forward: y (M, N) = x (M, K) w (N, K)^T, plus `bias` (1, N) of the operands' dtype when it has
  /// data, added in fp32 before y is rounded.
  void forward(View y, ConstView x, ConstView w, Output output = Output::replace,
               ConstView bias = {});
  /// Gradient of the input: dx (M, K) = dy (M, N) w (N, K).
  void backward_input(View dx, ConstView dy, ConstView w, Output output = Output::replace);
  /// Gradient of the weight: dw (N, K) f32 (+)= dy (M, N)^T x (M, K).
  void backward_weight(View dw, ConstView dy, ConstView x, Output output);

  std::string describe() const;  ///< the library: "cuBLASLt 13.0.2"
  /// The algorithms that were measured best so far, as text that another rank with the same GPU
  /// and library adopts: all ranks then compute alike. Its first line names GPU model and library.
  /// Empty where nothing is measured.
  std::string choices() const;
  /// From now on these algorithms and no others that were measured or kept: a product that is not
  /// among them gets the library's first suggestion, on every rank that adopts the same text. Text
  /// of another GPU model or library is ignored.
  void adopt_algorithms(const std::string& choices);
  /// Begins with these algorithms, those of an earlier part of the same run, and not with what is
  /// kept on this machine; only products that are not among them are measured. False, and nothing
  /// is changed, for text of another GPU model or library. Before the products that are to take
  /// them; without effect where nothing is measured.
  bool resume_algorithms(const std::string& choices);
  /// Keeps what was measured for the next run, in $XDG_CACHE_HOME/espalier or ~/.cache/espalier;
  /// for one rank of a job. A file that cannot be written is a warning.
  void save_algorithms() const;
  /// Whether algorithms are measured at the first call of a shape (the default), unless they are
  /// known from an earlier run, or the library's first suggestion is taken. Before the first call.
  void set_tuning(bool tuned);

  /// Device memory that a Gemm takes when it is made; none on the host. The emulated GPU needs none
  /// and takes it all the same, so that its memory is that of a real one. Beside it, for a while,
  /// the operands with which algorithms are measured, if there is memory for them; and, should
  /// the library have no product with a bias of some dtype, a vector of ones.
  static std::int64_t workspace_bytes(Backend backend);

  /// Host memory in which a Gemm on the host widens operands of `dtype`: taken at the first such
  /// product and kept, the same for all shapes; 0 where nothing is widened. Asks the library for
  /// its instructions (see limit_host_library).
  static std::int64_t host_scratch_bytes(DType dtype,
                                         Bf16Products products = Bf16Products::automatic);

  /// FLOPs and bytes of every product go to the profiler's current phase from now on.
  void count_in(Profiler* profiler) { profiler_ = profiler; }

 private:
  void multiply(const char* name, const View& c, const ConstView& a, bool transpose_a,
                const ConstView& b, bool transpose_b, Output output, const void* bias);
  std::unique_ptr<GemmEngine> engine_;  ///< null: counts
  Profiler* profiler_ = nullptr;
};

}  // namespace espalier::device
