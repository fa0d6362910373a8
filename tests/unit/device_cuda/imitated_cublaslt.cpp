// A library with cuBLASLt's interface that checks every argument as the documentation of CUDA 13
// demands it, and multiplies on the host. Of its four algorithms the third is the fastest, unless
// the program says otherwise, and the fourth says that it cannot when it is run.
#include <cublasLt.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/dtype.hpp"
#include "imitated_cuda.hpp"

namespace {

using espalier::bf16;

struct Description {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  std::int32_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N;
  std::uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  std::int32_t bias_type = -1;
  const void* bias = nullptr;
};
struct Layout {
  cudaDataType_t type;
  std::int64_t rows, cols, ld;
};
struct Preference {
  std::uint64_t workspace = 0;
  std::uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_MASK;
  std::uint32_t alignment_a = 256, alignment_b = 256, alignment_c = 256, alignment_d = 256;
};
/// In the opaque bytes of cublasLtMatmulAlgo_t.
struct Algorithm {
  std::uint64_t magic, number;
  std::uint32_t alignment_a, alignment_b, alignment_c, alignment_bias;
};
constexpr std::uint64_t kMagic = 0x1AE1C0DE;
constexpr std::uint64_t kNumAlgorithms = std::size(ImitatedCublasLt{}.milliseconds);
constexpr std::size_t kWorkspace = 1 << 20;

auto* as_description(cublasLtMatmulDesc_t d) {
  return reinterpret_cast<Description*>(d);
}
auto* as_layout(cublasLtMatrixLayout_t l) {
  return reinterpret_cast<Layout*>(l);
}
auto* as_preference(cublasLtMatmulPreference_t p) {
  return reinterpret_cast<Preference*>(p);
}

template <class T>
cublasStatus_t take(T& to, const void* from, std::size_t bytes) {
  if (bytes != sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&to, from, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

bool is_aligned(const void* data, std::uint64_t bytes) {
  return reinterpret_cast<std::uintptr_t>(data) % bytes == 0;
}

/// Whether the matrices fit and their types are a row of the documentation's table.
cublasStatus_t check(const Description& d, const Layout& a, const Layout& b, const Layout& c) {
  if (d.compute != CUBLAS_COMPUTE_32F || d.scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  const bool ta = d.transpose_a == CUBLAS_OP_T, tb = d.transpose_b == CUBLAS_OP_T;
  if ((ta ? a.cols : a.rows) != c.rows || (tb ? b.rows : b.cols) != c.cols ||
      (ta ? a.rows : a.cols) != (tb ? b.cols : b.rows))
    return CUBLAS_STATUS_INVALID_VALUE;
  for (const Layout* m : {&a, &b, &c})
    if (m->rows <= 0 || m->cols <= 0 || m->ld < m->rows) return CUBLAS_STATUS_INVALID_VALUE;
  const bool is_f32 = a.type == CUDA_R_32F && b.type == CUDA_R_32F && c.type == CUDA_R_32F;
  const bool is_bf16 = a.type == CUDA_R_16BF && b.type == CUDA_R_16BF &&
                       (c.type == CUDA_R_16BF || c.type == CUDA_R_32F);
  if (!is_f32 && !is_bf16) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (d.epilogue == CUBLASLT_EPILOGUE_BIAS)
    return d.bias_type == -1 || d.bias_type == c.type ? CUBLAS_STATUS_SUCCESS
                                                      : CUBLAS_STATUS_NOT_SUPPORTED;
  return d.epilogue == CUBLASLT_EPILOGUE_DEFAULT ? CUBLAS_STATUS_SUCCESS
                                                 : CUBLAS_STATUS_NOT_SUPPORTED;
}

float element(const void* data, cudaDataType_t type, std::int64_t at) {
  return type == CUDA_R_32F ? static_cast<const float*>(data)[at]
                            : static_cast<float>(static_cast<const bf16*>(data)[at]);
}

void multiply(const Description& d, float alpha, const void* a, const Layout& la, const void* b,
              const Layout& lb, float beta, void* c, const Layout& lc) {
  const bool ta = d.transpose_a == CUBLAS_OP_T, tb = d.transpose_b == CUBLAS_OP_T;
  const std::int64_t k = ta ? la.rows : la.cols;
  for (std::int64_t j = 0; j < lc.cols; ++j)
    for (std::int64_t i = 0; i < lc.rows; ++i) {
      float sum = 0.0f;
      for (std::int64_t l = 0; l < k; ++l)
        sum += element(a, la.type, ta ? l + i * la.ld : i + l * la.ld) *
               element(b, lb.type, tb ? j + l * lb.ld : l + j * lb.ld);
      sum *= alpha;
      if (beta != 0.0f) sum += beta * element(c, lc.type, i + j * lc.ld);
      if (d.epilogue == CUBLASLT_EPILOGUE_BIAS) sum += element(d.bias, lc.type, i);
      if (lc.type == CUDA_R_32F)
        static_cast<float*>(c)[i + j * lc.ld] = sum;
      else
        static_cast<bf16*>(c)[i + j * lc.ld] = bf16(sum);
    }
}

}  // namespace

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = reinterpret_cast<cublasLtHandle_t>(new int(1));
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete reinterpret_cast<int*>(handle);
  return CUBLAS_STATUS_SUCCESS;
}
std::size_t cublasLtGetVersion() {
  return imitated_cublaslt()->version;
}
const char* cublasLtGetStatusName(cublasStatus_t) {
  return "CUBLAS_STATUS";
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* description,
                                        cublasComputeType_t compute, cudaDataType_t scale) {
  *description =
      reinterpret_cast<cublasLtMatmulDesc_t>(new Description{.compute = compute, .scale = scale});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) {
  delete as_description(description);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, std::size_t bytes) {
  Description& d = *as_description(description);
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return take(d.transpose_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return take(d.transpose_b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return take(d.epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return take(d.bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return take(d.bias_type, value, bytes);
    default:
      return CUBLAS_STATUS_INVALID_VALUE;
  }
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType_t type,
                                          std::uint64_t rows, std::uint64_t cols, std::int64_t ld) {
  *layout = reinterpret_cast<cublasLtMatrixLayout_t>(
      new Layout{type, static_cast<std::int64_t>(rows), static_cast<std::int64_t>(cols), ld});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete as_layout(layout);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = reinterpret_cast<cublasLtMatmulPreference_t>(new Preference);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete as_preference(preference);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, std::size_t bytes) {
  Preference& p = *as_preference(preference);
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return take(p.workspace, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return take(p.reduction, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return take(p.alignment_a, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return take(p.alignment_b, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return take(p.alignment_c, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return take(p.alignment_d, value, bytes);
    default:
      return CUBLAS_STATUS_INVALID_VALUE;
  }
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t description,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int* found) {
  *found = 0;
  const Preference& p = *as_preference(preference);
  if (c != d || p.workspace < kWorkspace) return CUBLAS_STATUS_NOT_SUPPORTED;
  // Sums must not depend on who comes first, nor be rounded to the output in between.
  if ((p.reduction & CUBLASLT_REDUCTION_SCHEME_INPLACE) != 0 ||
      (p.reduction & CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE) != 0)
    return CUBLAS_STATUS_INVALID_VALUE;
  if (const cublasStatus_t status =
          check(*as_description(description), *as_layout(a), *as_layout(b), *as_layout(c));
      status != CUBLAS_STATUS_SUCCESS)
    return status;
  for (std::uint64_t i = 0; i < kNumAlgorithms && *found < requested; ++i) {
    const Algorithm algorithm{kMagic,       i, p.alignment_a, p.alignment_b, p.alignment_d,
                              p.alignment_d};
    results[*found] = {};
    static_assert(sizeof algorithm <= sizeof results->algo.data);
    std::memcpy(results[*found].algo.data, &algorithm, sizeof algorithm);
    results[*found].state = CUBLAS_STATUS_SUCCESS;
    results[*found].workspaceSize = kWorkspace;
    ++*found;
  }
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t description,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t,
                                       const cublasLtMatmulAlgo_t* algorithm,
                                       cublasLtMatmulHeuristicResult_t* result) {
  if (algorithm->data[0] != kMagic) return CUBLAS_STATUS_INVALID_VALUE;
  result->workspaceSize = kWorkspace;
  return check(*as_description(description), *as_layout(a), *as_layout(b), *as_layout(c));
}
cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t description, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t la, const void* b,
                              cublasLtMatrixLayout_t lb, const void* beta, const void* c,
                              cublasLtMatrixLayout_t lc, void* d, cublasLtMatrixLayout_t ld,
                              const cublasLtMatmulAlgo_t* opaque, void* workspace,
                              std::size_t workspace_bytes, cudaStream_t stream) {
  Algorithm algorithm{};
  std::memcpy(&algorithm, opaque->data, sizeof algorithm);
  const Description copy = *as_description(description);
  const Layout layout_a = *as_layout(la), layout_b = *as_layout(lb), layout_c = *as_layout(lc);
  if (const cublasStatus_t status = check(copy, layout_a, layout_b, layout_c);
      status != CUBLAS_STATUS_SUCCESS)
    return status;
  if (algorithm.magic != kMagic || lc != ld || c != d || workspace_bytes < kWorkspace ||
      !is_aligned(workspace, 256) || !is_aligned(a, algorithm.alignment_a) ||
      !is_aligned(b, algorithm.alignment_b) || !is_aligned(d, algorithm.alignment_c) ||
      (copy.epilogue == CUBLASLT_EPILOGUE_BIAS &&
       (copy.bias == nullptr || !is_aligned(copy.bias, algorithm.alignment_bias))))
    return CUBLAS_STATUS_INVALID_VALUE;
  if (algorithm.number + 1 == kNumAlgorithms) return CUBLAS_STATUS_NOT_SUPPORTED;
  const float scale_ab = *static_cast<const float*>(alpha);
  const float scale_c = *static_cast<const float*>(beta);
  imitated_launch(
      stream, [=] { multiply(copy, scale_ab, a, layout_a, b, layout_b, scale_c, d, layout_c); },
      imitated_cublaslt()->milliseconds[algorithm.number]);
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
