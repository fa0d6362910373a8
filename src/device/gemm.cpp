#include "device/gemm.hpp"

#include "device/gemm_engine.hpp"
#include "device/gemm_widened.hpp"
#include "device/host_library.hpp"
#include "device/operation_clock.hpp"
#include "device/profiler.hpp"

namespace espalier::device {
namespace {

GemmOperand operand(const ConstView& view, bool transposed) {
  return {view.data, view.dtype, view.rows, view.cols, view.stride, transposed};
}

std::unique_ptr<GemmEngine> make_engine(std::shared_ptr<Gpu> gpu, Stream stream) {
  if (gpu == nullptr) return make_host_gemm();
  if (gpu->backend() == Backend::emulated) return make_emulated_gemm(std::move(gpu));
  return make_cuda_gemm(std::move(gpu), stream);
}

}  // namespace

Gemm::Gemm(Bf16Products products) : engine_(make_host_gemm(products)) {}
Gemm::Gemm(Counting) : engine_() {}
Gemm::Gemm(std::shared_ptr<Gpu> gpu, Stream stream)
    : engine_(make_engine(std::move(gpu), stream)) {}
std::int64_t Gemm::workspace_bytes(Backend backend) {
  return backend == Backend::host ? 0 : kGemmWorkspaceBytes;
}
std::int64_t Gemm::host_scratch_bytes(DType dtype, Bf16Products products) {
  const bool widens = dtype == DType::bf16 &&
                      (products == Bf16Products::widened || !host_library_multiplies_bf16());
  return widens ? WidenedProducts::scratch_bytes() : 0;
}
Gemm::~Gemm() = default;
Gemm::Gemm(Gemm&&) noexcept = default;

void Gemm::multiply(const char* name, const View& c, const ConstView& a, bool transpose_a,
                    const ConstView& b, bool transpose_b, Output output, const void* bias) {
  if (c.size() == 0) return;
  const bool accumulate = output == Output::accumulate;
  const Operation operation{name, c.rows, c.cols, transpose_a ? a.rows : a.cols};
  OperationClock::begin();
  if (engine_ != nullptr)
    engine_->multiply(operand(c, false), operand(a, transpose_a), operand(b, transpose_b),
                      accumulate, bias);
  OperationClock::end(operation);
  if (profiler_ == nullptr) return;
  profiler_->add_cost(
      operation, 2.0 * static_cast<double>(c.size()) * static_cast<double>(operation.k),
      static_cast<double>(a.size_bytes() + b.size_bytes() + (accumulate ? 2 : 1) * c.size_bytes()));
}

void Gemm::forward(View y, ConstView x, ConstView w, Output output, ConstView bias) {
  ESPALIER_ASSERT(y.rows == x.rows && y.cols == w.rows && x.cols == w.cols && x.dtype == w.dtype,
                  "y {} = x {} w^T {}", device::describe(y), device::describe(x),
                  device::describe(w));
  ESPALIER_ASSERT(
      !bias.exists() || (bias.rows == 1 && bias.cols == w.rows && bias.dtype == w.dtype),
      "bias {} of w {}", device::describe(bias), device::describe(w));
  multiply("gemm forward", y, x, false, w, true, output, bias.data);
}

void Gemm::backward_input(View dx, ConstView dy, ConstView w, Output output) {
  ESPALIER_ASSERT(
      dx.rows == dy.rows && dx.cols == w.cols && dy.cols == w.rows && dy.dtype == w.dtype,
      "dx {} = dy {} w {}", device::describe(dx), device::describe(dy), device::describe(w));
  multiply("gemm backward_input", dx, dy, false, w, false, output, nullptr);
}

void Gemm::backward_weight(View dw, ConstView dy, ConstView x, Output output) {
  ESPALIER_ASSERT(dw.rows == dy.cols && dw.cols == x.cols && dy.rows == x.rows &&
                      dw.dtype == DType::f32 && dy.dtype == x.dtype,
                  "dw {} = dy^T {} x {}", device::describe(dw), device::describe(dy),
                  device::describe(x));
  multiply("gemm backward_weight", dw, dy, true, x, false, output, nullptr);
}

std::string Gemm::describe() const {
  return engine_->describe();
}
std::string Gemm::choices() const {
  return engine_->choices();
}
void Gemm::adopt_algorithms(const std::string& choices) {
  engine_->adopt_algorithms(choices);
}
bool Gemm::resume_algorithms(const std::string& choices) {
  return engine_->resume_algorithms(choices);
}
void Gemm::save_algorithms() const {
  engine_->save_algorithms();
}
void Gemm::set_tuning(bool tuned) {
  engine_->set_tuning(tuned);
}

}  // namespace espalier::device
