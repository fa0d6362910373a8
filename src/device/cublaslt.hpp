#pragma once
// cuBLASLt, which is loaded while the program runs: a program with CUDA starts without it.
#include <cublasLt.h>

#include <string>

namespace espalier::device {

/// The functions of the library that are used: GetVersion is its cublasLtGetVersion.
struct CublasLt {
// clang-format off
#define ESPALIER_CUBLASLT_FUNCTIONS(X)                                                   \
  X(Create) X(Destroy) X(GetVersion) X(GetStatusName)                                    \
  X(MatmulDescCreate) X(MatmulDescDestroy) X(MatmulDescSetAttribute)                     \
  X(MatrixLayoutCreate) X(MatrixLayoutDestroy)                                           \
  X(MatmulPreferenceCreate) X(MatmulPreferenceDestroy) X(MatmulPreferenceSetAttribute)   \
  X(MatmulAlgoGetHeuristic) X(MatmulAlgoCheck) X(Matmul)
  // clang-format on
#define ESPALIER_DECLARE(name) decltype(&::cublasLt##name) name = nullptr;
  ESPALIER_CUBLASLT_FUNCTIONS(ESPALIER_DECLARE)
#undef ESPALIER_DECLARE

  /// The library, loaded when it is first asked for; it stays for the life of the process. Throws
  /// Error (bad_configuration) when it is not found or not whole.
  static const CublasLt& loaded();
  std::string describe() const;  ///< "cuBLASLt 13.1.0"

 private:
  CublasLt();
};

}  // namespace espalier::device
