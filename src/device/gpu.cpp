#include "device/gpu.hpp"

#include <algorithm>
#include <charconv>

#include "base/log.hpp"
#include "base/text.hpp"
#include "device/gpu_backends.hpp"

namespace espalier::device {

std::string_view name_of(Backend backend) {
  switch (backend) {
    case Backend::host:
      return "host";
    case Backend::cuda:
      return "cuda";
    case Backend::emulated:
      return "emulated";
  }
  return "?";
}

int Gpu::count(Backend backend) {
  if (backend == Backend::emulated) return 1 << 20;
  return backend == Backend::cuda ? num_cuda_gpus() : 0;
}

std::string Gpu::why_none(Backend backend) {
  return backend == Backend::cuda ? why_no_cuda_gpu() : std::string();
}

bool Gpu::has_driver() {
  return has_cuda_driver();
}

std::vector<std::string> Gpu::uuids() {
  std::vector<std::string> result;
  for (int i = 0; i < num_cuda_gpus(); ++i)
    result.push_back(why_without_code(i).empty() ? uuid_of_cuda_gpu(i) : std::string());
  return result;
}

std::string Gpu::why_without_code(int ordinal) {
  return why_no_code_for_cuda_gpu(ordinal);
}
std::string Gpu::why_without_code_for(int compute_capability) {
  const std::string_view architectures = cuda_architectures();
  if (architectures.empty()) return why_no_cuda_gpu();
  if (has_code_for(architectures, compute_capability)) return "";
  return fmt::format(
      "kernels for compute capability {}.{}: those of this program are compiled for {}; build it "
      "with -DESPALIER_CUDA_ARCHITECTURES={}",
      compute_capability / 10, compute_capability % 10, architectures,
      architecture_for(compute_capability));
}

int Gpu::first_compute_capability(Backend backend) {
  const bool is_there = backend == Backend::cuda && num_cuda_gpus() > 0;
  return is_there ? compute_capability_of_cuda_gpu(0) : 0;
}

std::shared_ptr<Gpu> Gpu::open(Backend backend, int ordinal) {
  if (backend == Backend::emulated) return open_emulated_gpu(ordinal);
  ESPALIER_ASSERT(backend == Backend::cuda, "the host is no GPU");
  require(
      count(backend) > 0, ExitStatus::bad_configuration,
      "device.backend = \"cuda\": {}. Use device.backend = \"host\", or run on a machine with a "
      "GPU",
      why_none(backend));
  require(ordinal >= 0 && ordinal < count(backend), ExitStatus::bad_configuration,
          "GPU {} is asked for, this process sees {}", ordinal, count(backend));
  return open_cuda_gpu(ordinal);
}

bool has_code_for(std::string_view architectures, int compute_capability) {
  while (!architectures.empty()) {
    const auto end = std::min(architectures.find_first_of(" ;"), architectures.size());
    const std::string_view one = architectures.substr(0, end);
    architectures.remove_prefix(std::min(end + 1, architectures.size()));
    int built_for = 0;
    const auto [rest, error] = std::from_chars(one.data(), one.data() + one.size(), built_for);
    if (error != std::errc{}) continue;
    // "a" is for that architecture alone, "f" for its family: for all that counts here the same as
    // nothing, later ones of the same major version.
    const bool specific = rest != one.data() + one.size() && *rest == 'a';
    if (built_for == compute_capability) return true;
    if (!specific && built_for / 10 == compute_capability / 10 && built_for < compute_capability)
      return true;
  }
  return false;
}

std::string architecture_for(int compute_capability) {
  return fmt::format("{}{}", compute_capability, compute_capability == 90 ? "a" : "");
}

void Gpu::refuse_memory(std::string_view what, std::int64_t bytes) const {
  const auto human = [](std::int64_t size) { return human_bytes(static_cast<double>(size)); };
  fail(ExitStatus::bad_configuration,
       "rank {}, GPU {} ({}): {} ({} bytes) for \"{}\" cannot be had, {} of {} are free; use a "
       "smaller training.micro_batch_size, memory.recompute, or a larger parallel.tensor, and make "
       "sure that no other program holds the GPU's memory (nvidia-smi)",
       log::rank(), ordinal_, description().name, human(bytes), bytes, what, human(free_bytes()),
       human(description().memory_bytes));
}

void Gpu::begin_capture(Stream) {
  fail(ExitStatus::internal, "the {} backend has no graphs", name_of(backend_));
}
Graph Gpu::end_capture(Stream) {
  fail(ExitStatus::internal, "the {} backend has no graphs", name_of(backend_));
}
void Gpu::abandon_capture(Stream) noexcept {}
void Gpu::launch(Graph, Stream) {
  fail(ExitStatus::internal, "the {} backend has no graphs", name_of(backend_));
}
void Gpu::destroy(Graph) noexcept {}

}  // namespace espalier::device
