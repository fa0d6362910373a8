// Matrix products by cuBLASLt, which is loaded when the first engine is made.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/integers.hpp"
#include "base/log.hpp"
#include "device/cublaslt.hpp"
#include "device/gemm_algorithm_cache.hpp"
#include "device/gemm_engine.hpp"
#include "device/gemm_measure.hpp"
#include "device/gemm_problem.hpp"

namespace espalier::device {
namespace {

constexpr int kNumSuggestions = 16;

void check_blas(cublasStatus_t status, const char* call, const GemmProblem& problem) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  fail(ExitStatus::internal, "{}: {} (status {}) for the product {}", call,
       CublasLt::loaded().GetStatusName(status), static_cast<int>(status), describe(problem));
}

cudaDataType_t library_type(DType dtype) {
  return dtype == DType::f32 ? CUDA_R_32F : CUDA_R_16BF;
}

/// Owns a descriptor of the library.
template <class Handle, auto kDestroy>
class Owned {
 public:
  Owned() = default;
  Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Owned() {
    if (handle_ != nullptr) (CublasLt::loaded().*kDestroy)(handle_);
  }
  Handle get() const { return handle_; }
  Handle* address() { return &handle_; }

 private:
  Handle handle_ = nullptr;
};
using Description = Owned<cublasLtMatmulDesc_t, &CublasLt::MatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, &CublasLt::MatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, &CublasLt::MatmulPreferenceDestroy>;

/// What the library wants to know of a product, and the algorithm that was chosen.
struct Product {
  Description description;
  Layout a, b, c;
  cublasLtMatmulAlgo_t algorithm{};
};

class CublasLtGemm final : public GemmEngine {
 public:
  CublasLtGemm(std::shared_ptr<Gpu> gpu, Stream stream)
      : gpu_(std::move(gpu)),
        stream_(stream),
        choices_(gpu_->description().name, library_.describe()) {
    gpu_->make_current();
    const cublasStatus_t status = library_.Create(&handle_);
    require(status == CUBLAS_STATUS_SUCCESS, ExitStatus::internal,
            "cublasLtCreate: {} (status {}) on GPU {} ({}, {}) with {}",
            library_.GetStatusName(status), static_cast<int>(status), gpu_->ordinal(),
            gpu_->description().name, gpu_->description().versions, library_.describe());
    workspace_ = gpu_->allocate("workspace of matrix products", kGemmWorkspaceBytes);
  }
  ~CublasLtGemm() override {
    products_.clear();
    for (const Ones& ones : ones_) gpu_->release(ones.data);
    gpu_->release(workspace_);
    library_.Destroy(handle_);
  }
  CublasLtGemm(const CublasLtGemm&) = delete;
  CublasLtGemm& operator=(const CublasLtGemm&) = delete;

  void multiply(const GemmOperand& c, const GemmOperand& a, const GemmOperand& b, bool accumulate,
                const void* bias) override {
    gpu_->make_current();
    const GemmProblem problem = column_major_problem(c, a, b, accumulate, bias);
    const GemmData data{b.data, a.data, const_cast<void*>(c.data), bias};
    if (const Product* product = find_or_make(problem, data); product != nullptr) {
      check_blas(run(*product, problem, product->algorithm, data), "cublasLtMatmul", problem);
      return;
    }
    require(bias != nullptr && c.dtype == DType::f32, ExitStatus::internal,
            "{} has no algorithm for the product {}", library_.describe(),
            device::describe(problem));
    // The library wants a bias of the output's dtype. In fp32 nothing is rounded in between, and
    // the bias of each row is a product itself: ones (M, 1) times bias (1, N).
    multiply(c, a, b, accumulate, nullptr);
    multiply(c, {ones(c.rows, a.dtype), a.dtype, c.rows, 1, 1, false},
             {bias, a.dtype, 1, c.cols, c.cols, false}, /*accumulate=*/true, nullptr);
  }

  std::string describe() const override { return library_.describe(); }

  std::string choices() const override { return tuned_ ? choices_.text() : std::string(); }
  void adopt_algorithms(const std::string& choices) override {
    if (!choices_.is_ours(choices)) return;
    choices_.clear();
    choices_.adopt(choices);
    products_.clear();
    is_settled_ = true;
  }
  bool resume_algorithms(const std::string& choices) override {
    if (!tuned_) return true;
    if (!choices_.is_ours(choices)) return false;
    choices_.clear();
    choices_.adopt(choices);
    products_.clear();
    is_cache_read_ = true;  // what was measured since then by others may differ
    return true;
  }
  void save_algorithms() const override {
    if (num_measured_ > 0) choices_.save(choices_.cache_file());
  }
  void set_tuning(bool tuned) override { tuned_ = tuned; }

 private:
  bool measures() const { return tuned_ && !is_settled_; }
  /// Null when the library has no algorithm.
  const Product* find_or_make(const GemmProblem& problem, const GemmData& data) {
    if (const auto found = products_.find(problem); found != products_.end())
      return found->second.get();
    if (measures() && !std::exchange(is_cache_read_, true)) choices_.load(choices_.cache_file());
    auto product = make_product(problem, data);
    return products_.emplace(problem, choose(*product, problem) ? std::move(product) : nullptr)
        .first->second.get();
  }

  std::unique_ptr<Product> make_product(const GemmProblem& p, const GemmData& data) const {
    auto product = std::make_unique<Product>();
    const auto operands = library_type(p.type_ab), output = library_type(p.type_c);
    // CUBLAS_COMPUTE_32F keeps fp32 operands whole; it is not TF32.
    check_blas(
        library_.MatmulDescCreate(product->description.address(), CUBLAS_COMPUTE_32F, CUDA_R_32F),
        "cublasLtMatmulDescCreate", p);
    const auto set = [&](cublasLtMatmulDescAttributes_t attribute, auto value) {
      check_blas(library_.MatmulDescSetAttribute(product->description.get(), attribute, &value,
                                                 sizeof value),
                 "cublasLtMatmulDescSetAttribute", p);
    };
    const auto operation = [](bool transposed) -> std::int32_t {
      return transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    };
    set(CUBLASLT_MATMUL_DESC_TRANSA, operation(p.transpose_a));
    set(CUBLASLT_MATMUL_DESC_TRANSB, operation(p.transpose_b));
    if (p.has_bias) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, static_cast<std::uint32_t>(CUBLASLT_EPILOGUE_BIAS));
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<std::int32_t>(operands));
      // The suggestions depend on its alignment.
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, data.bias);
    }
    const auto lay_out = [&](Layout& layout, cudaDataType_t type, std::int64_t rows,
                             std::int64_t cols, std::int64_t ld) {
      check_blas(library_.MatrixLayoutCreate(layout.address(), type, narrow<std::uint64_t>(rows),
                                             narrow<std::uint64_t>(cols), ld),
                 "cublasLtMatrixLayoutCreate", p);
    };
    lay_out(product->a, operands, p.rows_a(), p.cols_a(), p.lda);
    lay_out(product->b, operands, p.rows_b(), p.cols_b(), p.ldb);
    lay_out(product->c, output, p.m, p.n, p.ldc);
    return product;
  }

  /// What is known from before, else the fastest suggestion or the first; false: there is none.
  bool choose(Product& product, const GemmProblem& problem) {
    if (const GemmAlgorithmCache::Algorithm* known = choices_.find(problem); known != nullptr) {
      std::memcpy(product.algorithm.data, known->data(), sizeof product.algorithm.data);
      cublasLtMatmulHeuristicResult_t result{};
      if (library_.MatmulAlgoCheck(handle_, product.description.get(), product.a.get(),
                                   product.b.get(), product.c.get(), product.c.get(),
                                   &product.algorithm, &result) == CUBLAS_STATUS_SUCCESS &&
          result.workspaceSize <= static_cast<std::size_t>(kGemmWorkspaceBytes))
        return true;
    }
    const std::vector<cublasLtMatmulAlgo_t> suggestions = suggest(product, problem);
    if (suggestions.empty()) return false;
    std::optional<int> best = 0;
    if (measures()) {
      best = measure_if_possible(product, problem, suggestions);
      if (best) {
        GemmAlgorithmCache::Algorithm chosen{};
        const cublasLtMatmulAlgo_t& algorithm = suggestions[static_cast<std::size_t>(*best)];
        static_assert(sizeof chosen == sizeof algorithm.data);
        std::memcpy(chosen.data(), algorithm.data, sizeof chosen);
        choices_.set(problem, chosen);
        ++num_measured_;
      }
    }
    product.algorithm = suggestions[static_cast<std::size_t>(best.value_or(0))];
    return true;
  }

  std::vector<cublasLtMatmulAlgo_t> suggest(const Product& product, const GemmProblem& p) const {
    Preference preference;
    check_blas(library_.MatmulPreferenceCreate(preference.address()),
               "cublasLtMatmulPreferenceCreate", p);
    const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      check_blas(
          library_.MatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof value),
          "cublasLtMatmulPreferenceSetAttribute", p);
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<std::uint64_t>(kGemmWorkspaceBytes));
    // A sum over k that is split is kept in fp32 and put together in a step of its own, in one
    // order (cuBLAS, cublasLtReductionScheme_t): "in place" the blocks would take turns, and
    // "output type" would round in between. A product with a long k and a small output, such as a
    // weight's gradient, would leave half of the GPU idle without splitting.
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_NONE |
                                   CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<std::uint32_t>(p.alignment_a));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<std::uint32_t>(p.alignment_b));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<std::uint32_t>(p.alignment_c));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<std::uint32_t>(p.alignment_c));
    std::array<cublasLtMatmulHeuristicResult_t, kNumSuggestions> results{};
    int num_results = 0;
    const cublasStatus_t status = library_.MatmulAlgoGetHeuristic(
        handle_, product.description.get(), product.a.get(), product.b.get(), product.c.get(),
        product.c.get(), preference.get(), kNumSuggestions, results.data(), &num_results);
    std::vector<cublasLtMatmulAlgo_t> algorithms;
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE)
      return algorithms;
    check_blas(status, "cublasLtMatmulAlgoGetHeuristic", p);
    for (int i = 0; i < num_results; ++i)
      if (results[static_cast<std::size_t>(i)].state == CUBLAS_STATUS_SUCCESS)
        algorithms.push_back(results[static_cast<std::size_t>(i)].algo);
    return algorithms;
  }

  cublasStatus_t run(const Product& product, const GemmProblem& problem,
                     const cublasLtMatmulAlgo_t& algorithm, const GemmData& data) {
    if (problem.has_bias)
      check_blas(library_.MatmulDescSetAttribute(product.description.get(),
                                                 CUBLASLT_MATMUL_DESC_BIAS_POINTER, &data.bias,
                                                 sizeof data.bias),
                 "cublasLtMatmulDescSetAttribute", problem);
    const float alpha = 1.0f, beta = problem.accumulate ? 1.0f : 0.0f;
    return library_.Matmul(handle_, product.description.get(), &alpha, data.a, product.a.get(),
                           data.b, product.b.get(), &beta, data.c, product.c.get(), data.c,
                           product.c.get(), &algorithm, workspace_,
                           static_cast<std::size_t>(kGemmWorkspaceBytes), stream_);
  }

  /// Nothing when there is no memory for it.
  std::optional<int> measure_if_possible(const Product& product, const GemmProblem& problem,
                                         std::span<const cublasLtMatmulAlgo_t> suggestions) {
    try {
      return fastest_gemm(*gpu_, stream_, problem, static_cast<int>(suggestions.size()),
                          [&](int i, const GemmData& data) {
                            return run(product, problem, suggestions[static_cast<std::size_t>(i)],
                                       data) == CUBLAS_STATUS_SUCCESS;
                          });
    } catch (const Error& error) {
      if (error.status() != ExitStatus::bad_configuration) throw;
      log::warn(
          "the matrix product {} is not measured, the library's first suggestion is taken: {}",
          device::describe(problem), error.what());
      return std::nullopt;
    }
  }
  /// (count, 1) ones on the GPU.
  const void* ones(std::int64_t count, DType dtype);

  struct Ones {
    void* data = nullptr;
    std::int64_t count = 0;
  };

  const CublasLt& library_ = CublasLt::loaded();
  std::shared_ptr<Gpu> gpu_;
  Stream stream_;
  cublasLtHandle_t handle_ = nullptr;
  void* workspace_ = nullptr;
  std::unordered_map<GemmProblem, std::unique_ptr<Product>, GemmProblemHash> products_;
  GemmAlgorithmCache choices_;
  bool tuned_ = true;
  bool is_settled_ = false;  ///< choices were adopted
  bool is_cache_read_ = false;
  int num_measured_ = 0;
  std::array<Ones, 2> ones_;  ///< f32, bf16
};

const void* CublasLtGemm::ones(std::int64_t count, DType dtype) {
  Ones& ones = ones_[dtype == DType::f32 ? 0 : 1];
  if (ones.count >= count) return ones.data;
  gpu_->synchronize(stream_);  // a product may still read the old ones
  gpu_->release(std::exchange(ones.data, nullptr));
  const std::int64_t bytes = count * static_cast<std::int64_t>(size_of(dtype));
  ones = {gpu_->allocate("ones for a bias", bytes), count};
  void* pinned = gpu_->allocate_pinned(bytes);
  for (std::int64_t i = 0; i < count; ++i)
    if (dtype == DType::f32)
      static_cast<float*>(pinned)[i] = 1.0f;
    else
      static_cast<bf16*>(pinned)[i] = bf16(1.0f);
  gpu_->copy_to_device(ones.data, pinned, {1, bytes, bytes, bytes}, stream_);
  gpu_->synchronize(stream_);
  gpu_->release_pinned(pinned);
  return ones.data;
}

}  // namespace

std::unique_ptr<GemmEngine> make_cuda_gemm(std::shared_ptr<Gpu> gpu, Stream stream) {
  return std::make_unique<CublasLtGemm>(std::move(gpu), stream);
}

}  // namespace espalier::device
