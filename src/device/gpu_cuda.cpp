// The GPU of gpu.hpp over CUDA's runtime, which is linked statically and finds the driver itself.
#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include <cstdlib>
#include <string>
#include <type_traits>

#include "base/integers.hpp"
#include "base/text.hpp"
#include "device/cuda_check.hpp"
#include "device/gpu_backends.hpp"
#include "device/pci_place.hpp"

namespace espalier::device {
namespace {

static_assert(std::is_same_v<Stream, cudaStream_t> && std::is_same_v<Event, cudaEvent_t> &&
              std::is_same_v<Graph, cudaGraphExec_t>);

/// Of CUDA 13.x (release notes of CUDA 13, "CUDA Toolkit and Minimum Required Driver Version").
constexpr int kOldestDriver = 580;
static_assert(CUDART_VERSION / 1000 == 13);

/// Before CUDA's first call, which reads it. Each of our streams and of NCCL's, two for every
/// communicator, wants a queue of the GPU of its own: what waits in one of the eight that are usual
/// holds up the other streams of its queue, and a message that waits for another rank may hold up
/// the computation that this rank needs first (CUDA Programming Guide, "CUDA Environment
/// Variables").
void ask_for_queues() {
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", /*overwrite=*/0);
}

std::string version_text(int version) {  // 13000 is 13.0
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

cudaError_t count_gpus(int& count) {
  count = 0;
  ask_for_queues();
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    count = 0;
    cudaGetLastError();  // it is answered here; a later check must not see it
  }
  return status;
}

cudaDeviceProp properties_of(int ordinal) {
  ask_for_queues();
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, ordinal), "cudaGetDeviceProperties", ordinal);
  return properties;
}

std::string uuid_text(const cudaUUID_t& uuid) {  // as nvidia-smi -L writes it
  std::string text = "GPU-";
  for (int i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", static_cast<unsigned char>(uuid.bytes[i]));
  }
  return text;
}

std::string why_no_code(int ordinal, const cudaDeviceProp& properties) {
  const int capability = 10 * properties.major + properties.minor;
  if (has_code_for(cuda_architectures(), capability)) return "";
  return fmt::format(
      "GPU {} ({}) has compute capability {}.{}, the kernels of this program are compiled for {}; "
      "build it with -DESPALIER_CUDA_ARCHITECTURES={}",
      ordinal, properties.name, properties.major, properties.minor, cuda_architectures(),
      architecture_for(capability));
}

class CudaGpu final : public Gpu {
 public:
  explicit CudaGpu(int ordinal) : Gpu(Backend::cuda, ordinal) {
    const cudaDeviceProp properties = properties_of(ordinal);
    Description& d = description_;
    d.name = properties.name;
    d.uuid = uuid_text(properties.uuid);
    d.compute_capability = 10 * properties.major + properties.minor;
    d.multiprocessors = properties.multiProcessorCount;
    d.memory_bytes = narrow<std::int64_t>(properties.totalGlobalMem);
    const std::string why = why_no_code(ordinal, properties);
    require(why.empty(), ExitStatus::bad_configuration, "{}, or use device.backend = \"host\"",
            why);
    make_current();
    char bus[32] = {};
    check(cudaDeviceGetPCIBusId(bus, sizeof bus, ordinal), "cudaDeviceGetPCIBusId");
    d.pci_bus = bus;
    const PciPlace place = find_pci_place(d.pci_bus);
    d.numa_node = place.numa_node;
    d.nics = place.nics;
    int driver = 0, runtime = 0;
    check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
    check(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
    d.versions = fmt::format("driver {}, runtime {}", version_text(driver), version_text(runtime));
    check(cudaDeviceGetStreamPriorityRange(&least_priority_, &greatest_priority_),
          "cudaDeviceGetStreamPriorityRange");
  }

  const Description& description() const override { return description_; }

  std::int64_t free_bytes() const override {
    make_current();
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    return narrow<std::int64_t>(free);
  }

  void make_current() const override { check(cudaSetDevice(ordinal()), "cudaSetDevice"); }

  void* allocate(std::string_view what, std::int64_t bytes) override {
    make_current();
    void* memory = nullptr;
    const auto size = narrow<std::size_t>(bytes > 0 ? bytes : 1);
    const cudaError_t status = cudaMalloc(&memory, size);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();  // this error leaves the device usable
      refuse_memory(what, bytes);
    }
    check(status, "cudaMalloc");
    set_zero(memory, bytes);
    return memory;
  }
  void release(void* memory) noexcept override {
    if (memory == nullptr) return;
    cudaSetDevice(ordinal());
    cudaFree(memory);
  }
  void set_zero(void* memory, std::int64_t bytes) override {
    make_current();
    // Streams do not wait for the default stream, so the zeros must be there on return.
    check(cudaMemset(memory, 0, narrow<std::size_t>(bytes)), "cudaMemset");
    check(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");
  }

  void* allocate_pinned(std::int64_t bytes) override {
    make_current();
    void* memory = nullptr;
    const auto size = narrow<std::size_t>(bytes > 0 ? bytes : 1);
    const cudaError_t status = cudaHostAlloc(&memory, size, cudaHostAllocDefault);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      fail(ExitStatus::bad_configuration,
           "GPU {} ({}): {} of pinned host memory cannot be had; give the job more host memory, or "
           "look at the limits of locked memory (ulimit -l)",
           ordinal(), description_.name, human_bytes(static_cast<double>(bytes)));
    }
    check(status, "cudaHostAlloc");
    return memory;
  }
  void release_pinned(void* memory) noexcept override {
    if (memory == nullptr) return;
    cudaSetDevice(ordinal());
    cudaFreeHost(memory);
  }

  void copy_to_device(void* to, const void* from, const Rectangle& r, Stream stream) override {
    copy(to, from, r, cudaMemcpyHostToDevice, stream);
  }
  void copy_to_host(void* to, const void* from, const Rectangle& r, Stream stream) override {
    copy(to, from, r, cudaMemcpyDeviceToHost, stream);
  }
  void copy_on_device(void* to, const void* from, const Rectangle& r, Stream stream) override {
    copy(to, from, r, cudaMemcpyDeviceToDevice, stream);
  }

  Stream create_stream(bool urgent) override {
    make_current();
    Stream stream = nullptr;
    check(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking,
                                       urgent ? greatest_priority_ : least_priority_),
          "cudaStreamCreateWithPriority");
    return stream;
  }
  void destroy(Stream stream) noexcept override {
    if (stream == nullptr) return;
    cudaSetDevice(ordinal());
    cudaStreamDestroy(stream);
  }
  void synchronize(Stream stream) override {
    make_current();
    check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  }

  Event create_event(bool timed) override {
    make_current();
    Event event = nullptr;
    check(cudaEventCreateWithFlags(&event, timed ? cudaEventDefault : cudaEventDisableTiming),
          "cudaEventCreateWithFlags");
    return event;
  }
  void destroy(Event event) noexcept override {
    if (event == nullptr) return;
    cudaSetDevice(ordinal());
    cudaEventDestroy(event);
  }
  void record(Event event, Stream stream) override {
    make_current();
    check(cudaEventRecord(event, stream), "cudaEventRecord");
  }
  void wait(Stream stream, Event event) override {
    make_current();
    check(cudaStreamWaitEvent(stream, event, 0), "cudaStreamWaitEvent");
  }
  void synchronize(Event event) override {
    make_current();
    check(cudaEventSynchronize(event), "cudaEventSynchronize");
  }
  bool is_done(Event event) override {
    make_current();
    const cudaError_t status = cudaEventQuery(event);
    if (status == cudaErrorNotReady) {
      cudaGetLastError();
      return false;
    }
    check(status, "cudaEventQuery");
    return true;
  }
  double elapsed_ms(Event from, Event to) override {
    make_current();
    float ms = 0.0f;
    check(cudaEventElapsedTime(&ms, from, to), "cudaEventElapsedTime");
    return static_cast<double>(ms);
  }

  bool is_graph_supported() const override { return true; }
  void begin_capture(Stream stream) override {
    make_current();
    // Thread-local: the checkpoint's writer may copy and allocate meanwhile.
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
          "cudaStreamBeginCapture");
  }
  Graph end_capture(Stream stream) override {
    make_current();
    cudaGraph_t captured = nullptr;
    check(cudaStreamEndCapture(stream, &captured), "cudaStreamEndCapture");
    Graph graph = nullptr;
    const cudaError_t status = cudaGraphInstantiate(&graph, captured, 0);
    cudaGraphDestroy(captured);
    check(status, "cudaGraphInstantiate");
    return graph;
  }
  void abandon_capture(Stream stream) noexcept override {
    cudaSetDevice(ordinal());
    cudaGraph_t captured = nullptr;
    if (cudaStreamEndCapture(stream, &captured) == cudaSuccess && captured != nullptr)
      cudaGraphDestroy(captured);
    cudaGetLastError();
  }
  void launch(Graph graph, Stream stream) override {
    make_current();
    check(cudaGraphLaunch(graph, stream), "cudaGraphLaunch");
  }
  void destroy(Graph graph) noexcept override {
    if (graph == nullptr) return;
    cudaSetDevice(ordinal());
    cudaGraphExecDestroy(graph);
  }

 private:
  void check(cudaError_t status, const char* call) const { check_cuda(status, call, ordinal()); }

  void copy(void* to, const void* from, const Rectangle& r, cudaMemcpyKind kind, Stream stream) {
    if (r.rows <= 0 || r.row_bytes <= 0) return;
    make_current();
    const auto row = narrow<std::size_t>(r.row_bytes);
    const auto rows = narrow<std::size_t>(r.rows);
    const bool contiguous = r.to_stride == r.row_bytes && r.from_stride == r.row_bytes;
    if (rows == 1 || contiguous)  // any length, while rows of a rectangle are limited to 2 GiB
      check(cudaMemcpyAsync(to, from, rows * row, kind, stream), "cudaMemcpyAsync");
    else
      check(cudaMemcpy2DAsync(to, narrow<std::size_t>(r.to_stride), from,
                              narrow<std::size_t>(r.from_stride), row, rows, kind, stream),
            "cudaMemcpy2DAsync");
  }

  Description description_;
  int least_priority_ = 0, greatest_priority_ = 0;
};

/// 12040 is CUDA 12.4; 0 without a driver.
int driver_version() {
  int version = 0;
  if (cudaDriverGetVersion(&version) != cudaSuccess) version = 0;
  cudaGetLastError();
  return version;
}

}  // namespace

void cuda_failed(cudaError_t status, const char* call, int device) {
  // Of what the device cannot recover from it says the same again, hence without checks.
  cudaGetLastError();
  std::string name;
  if (cudaDeviceProp properties{};
      device >= 0 && cudaGetDeviceProperties(&properties, device) == cudaSuccess)
    name = fmt::format(" ({})", properties.name);
  cudaGetLastError();
  fail(ExitStatus::internal, "GPU {}{}: {}: {} ({})", device, name, call,
       cudaGetErrorString(status), cudaGetErrorName(status));
}

int num_cuda_gpus() {
  int count = 0;
  count_gpus(count);
  return count;
}

std::string why_no_cuda_gpu() {
  int count = 0;
  const cudaError_t status = count_gpus(count);
  if (count > 0) return {};
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  const std::string among =
      visible == nullptr ? "" : fmt::format(" with CUDA_VISIBLE_DEVICES=\"{}\"", visible);
  if (status == cudaSuccess) return fmt::format("CUDA sees no GPU{}", among);
  // Without any driver CUDA only says that it is too old.
  const int driver = driver_version();
  std::string why = "libcuda.so.1 is not loaded: is there a driver?";
  if (driver > 0) why = "driver of CUDA " + version_text(driver);
  if (driver > 0 && driver / 1000 < CUDART_VERSION / 1000)
    why += fmt::format(", this program needs one of CUDA {}.0, which is NVIDIA's {} or later",
                       CUDART_VERSION / 1000, kOldestDriver);
  return fmt::format("CUDA finds no GPU{}: \"{}\" ({}; {})", among, cudaGetErrorString(status),
                     cudaGetErrorName(status), why);
}

bool has_cuda_driver() {
  return driver_version() > 0;
}

int compute_capability_of_cuda_gpu(int ordinal) {
  const cudaDeviceProp properties = properties_of(ordinal);
  return 10 * properties.major + properties.minor;
}
std::string uuid_of_cuda_gpu(int ordinal) {
  return uuid_text(properties_of(ordinal).uuid);
}

std::string why_no_code_for_cuda_gpu(int ordinal) {
  return why_no_code(ordinal, properties_of(ordinal));
}

std::shared_ptr<Gpu> open_cuda_gpu(int ordinal) {
  return std::make_shared<CudaGpu>(ordinal);
}

}  // namespace espalier::device
