#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "device/gemm_problem.hpp"

namespace espalier::device {

/// Which algorithm a library is to take for which problem, found by measuring. Holds for one model
/// of GPU and one version of the library.
///
/// As text: a line "espalier gemm choices, <GPU>, <library>", then a line "<problem>: <hex>" for
/// each, sorted, so that equal choices are equal texts.
class GemmAlgorithmCache {
 public:
  /// The library's description of an algorithm (cublasLtMatmulAlgo_t), which only it understands.
  using Algorithm = std::array<std::uint64_t, 8>;

  GemmAlgorithmCache(std::string gpu, std::string library)
      : gpu_(std::move(gpu)), library_(std::move(library)) {}

  const Algorithm* find(const GemmProblem& problem) const;
  void set(const GemmProblem& problem, const Algorithm& algorithm);
  void clear() { lines_.clear(); }
  std::size_t size() const { return lines_.size(); }

  /// Whether `text` is of this GPU model and library.
  bool is_ours(std::string_view text) const;
  std::string text() const;
  /// Takes over what `text` has, in place of what was known of the same problems. Nothing happens
  /// with the text of another GPU or library; lines that make no sense are left out. Returns
  /// how many were taken.
  int adopt(std::string_view text);

  /// "gemm-NVIDIA_H100_80GB_HBM3-cuBLASLt_13.0.2.txt" in $XDG_CACHE_HOME/espalier or
  /// ~/.cache/espalier; empty when there is neither.
  std::filesystem::path cache_file() const;
  /// A missing file is no choices; an unreadable one also a warning.
  void load(const std::filesystem::path& file);
  /// Adds to what the file has, atomically: whoever reads meanwhile finds a whole file. What cannot
  /// be written is a warning: the next run measures again.
  void save(const std::filesystem::path& file) const;

 private:
  std::string heading() const;
  std::string gpu_, library_;
  std::map<std::string, Algorithm> lines_;  ///< by describe(problem)
};

/// The index to choose among measured times: the first whose time is within 2 % of the best, so
/// that noise does not decide between equals. Times <= 0 were not measured; -1 when none was.
int choose_fastest(std::span<const double> seconds);

}  // namespace espalier::device
