#include "device/gemm_engine.hpp"
#include "device/gpu_backends.hpp"

namespace espalier::device {
namespace {

constexpr const char* kWhy = "this program was built without CUDA (espalier --version says more)";

}  // namespace

int num_cuda_gpus() {
  return 0;
}
std::string why_no_cuda_gpu() {
  return kWhy;
}
bool has_cuda_driver() {
  return false;
}
std::string uuid_of_cuda_gpu(int) {
  fail(ExitStatus::internal, "{}", kWhy);
}
int compute_capability_of_cuda_gpu(int) {
  fail(ExitStatus::internal, "{}", kWhy);
}
std::string why_no_code_for_cuda_gpu(int) {
  return kWhy;
}
std::string_view cuda_architectures() {
  return "";
}
std::shared_ptr<Gpu> open_cuda_gpu(int) {
  fail(ExitStatus::internal, "{}", kWhy);
}
std::unique_ptr<GemmEngine> make_cuda_gemm(std::shared_ptr<Gpu>, Stream) {
  fail(ExitStatus::internal, "{}", kWhy);
}

}  // namespace espalier::device
