#include "imitated_cuda.hpp"

#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <vector>

#include "device/gpu_backends.hpp"

// The imitated GPU runs whatever the real kernels are compiled for.
std::string_view espalier::device::cuda_architectures() {
  return "80 90a 100 120";
}

struct Work {
  std::function<void()> body;
  double ms;
};
struct CUgraph_st {
  std::vector<Work> works;
};
struct CUgraphExec_st {
  std::vector<Work> works;
};
struct CUstream_st {
  CUgraph_st* captured = nullptr;  ///< not null while it is captured
  CUstream_st* origin = nullptr;   ///< the stream whose capture it has joined
};
struct CUevent_st {
  bool is_timed = false, is_recorded = false;
  CUstream_st* captured_in = nullptr;
  double ms = 0.0;
};

namespace espalier::testing {
namespace {

CudaCounts counts;
thread_local int device = -1;
thread_local cudaError_t last_error = cudaSuccess;
CUstream_st* capturing = nullptr;
bool capture_is_broken = false;
double clock_ms = 0.0;
std::map<char*, std::size_t> device_blocks, pinned_blocks;

cudaError_t answer(cudaError_t status) {
  if (status != cudaSuccess) last_error = status;
  return status;
}

/// Calls that need a device and are forbidden in a capture's thread.
cudaError_t unless_capturing() {
  if (device != 0) ++counts.mistakes;
  if (capturing == nullptr) return cudaSuccess;
  capture_is_broken = true;
  return cudaErrorStreamCaptureUnsupported;
}

bool lies_in(const std::map<char*, std::size_t>& blocks, const void* data, std::size_t bytes) {
  const auto* begin = static_cast<const char*>(data);
  auto block = blocks.upper_bound(const_cast<char*>(begin));
  if (block == blocks.begin()) return false;
  --block;
  return begin + bytes <= block->first + block->second;
}

/// One side of a copy of `rows` rows.
cudaError_t check_side(bool is_device, const void* data, std::size_t bytes) {
  if (is_device) return lies_in(device_blocks, data, bytes) ? cudaSuccess : cudaErrorInvalidValue;
  if (!lies_in(pinned_blocks, data, bytes)) ++counts.mistakes;
  return cudaSuccess;
}

cudaError_t allocate(std::map<char*, std::size_t>& blocks, void** memory, std::size_t bytes) {
  if (const cudaError_t status = unless_capturing(); status != cudaSuccess) return answer(status);
  std::size_t used = 0;
  for (const auto& [begin, size] : device_blocks) used += size;
  if (&blocks == &device_blocks && used + bytes > kDeviceBytes)
    return answer(cudaErrorMemoryAllocation);
  *memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  std::memset(*memory, 0xA5, bytes);  // nobody promises zeros
  blocks[static_cast<char*>(*memory)] = bytes;
  return cudaSuccess;
}

cudaError_t release(std::map<char*, std::size_t>& blocks, void* memory) {
  if (const cudaError_t status = unless_capturing(); status != cudaSuccess) return answer(status);
  if (blocks.erase(static_cast<char*>(memory)) == 0) return answer(cudaErrorInvalidValue);
  std::free(memory);
  return cudaSuccess;
}

}  // namespace

CudaCounts& cuda_counts() {
  counts.allocations = static_cast<int>(device_blocks.size());
  counts.pinned = static_cast<int>(pinned_blocks.size());
  return counts;
}

CudaMachine& cuda_machine() {
  static CudaMachine machine;
  return machine;
}

}  // namespace espalier::testing

using namespace espalier::testing;

extern "C" {

ImitatedCublasLt* imitated_cublaslt() {
  static ImitatedCublasLt instance;
  return &instance;
}

cudaError_t imitated_launch(cudaStream_t stream, const std::function<void()>& work, double ms) {
  if (device != 0) ++counts.mistakes;
  CUgraph_st* graph = nullptr;
  if (stream->captured != nullptr) graph = stream->captured;
  if (stream->origin != nullptr) graph = stream->origin->captured;
  if (graph != nullptr) {
    graph->works.push_back({work, ms});
    return cudaSuccess;
  }
  work();
  clock_ms += ms;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = cuda_machine().status == cudaSuccess ? 1 : 0;
  return answer(cuda_machine().status);
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  std::strcpy(properties->name, "imitated GPU");
  properties->major = cuda_machine().major;
  properties->minor = cuda_machine().minor;
  properties->multiProcessorCount = 132;
  properties->totalGlobalMem = kDeviceBytes;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* ordinal) {
  *ordinal = device;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int ordinal) {
  if (ordinal != 0) return answer(cudaErrorInvalidDevice);
  device = ordinal;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetPCIBusId(char* bus, int length, int) {
  std::strncpy(bus, "0000:FF:00.0", static_cast<std::size_t>(length));
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = cuda_machine().driver;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}
cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}
const char* cudaGetErrorName(cudaError_t status) {
  return status == cudaErrorMemoryAllocation           ? "cudaErrorMemoryAllocation"
         : status == cudaErrorStreamCaptureUnsupported ? "cudaErrorStreamCaptureUnsupported"
                                                       : "cudaError";
}
const char* cudaGetErrorString(cudaError_t) {
  return "CUDA's words";
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  std::size_t used = 0;
  for (const auto& [begin, size] : device_blocks) used += size;
  *free = kDeviceBytes - used;
  *total = kDeviceBytes;
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  return allocate(device_blocks, memory, bytes);
}
cudaError_t cudaFree(void* memory) {
  return release(device_blocks, memory);
}
cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned) {
  return allocate(pinned_blocks, memory, bytes);
}
cudaError_t cudaFreeHost(void* memory) {
  return release(pinned_blocks, memory);
}
cudaError_t cudaMemset(void* memory, int value, std::size_t bytes) {
  if (const cudaError_t status = unless_capturing(); status != cudaSuccess) return answer(status);
  if (!lies_in(device_blocks, memory, bytes)) return answer(cudaErrorInvalidValue);
  std::memset(memory, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from,
                              std::size_t from_pitch, std::size_t width, std::size_t height,
                              cudaMemcpyKind kind, cudaStream_t stream) {
  constexpr std::size_t kMaxPitch = (std::size_t{1} << 31) - 1;
  if (width > to_pitch || width > from_pitch || to_pitch > kMaxPitch || from_pitch > kMaxPitch)
    return answer(cudaErrorInvalidPitchValue);
  const bool to_device = kind != cudaMemcpyDeviceToHost;
  const bool from_device = kind != cudaMemcpyHostToDevice;
  for (const cudaError_t status :
       {check_side(to_device, to, (height - 1) * to_pitch + width),
        check_side(from_device, from, (height - 1) * from_pitch + width)})
    if (status != cudaSuccess) return answer(status);
  return imitated_launch(
      stream,
      [=] {
        for (std::size_t row = 0; row < height; ++row)
          std::memcpy(static_cast<char*>(to) + row * to_pitch,
                      static_cast<const char*>(from) + row * from_pitch, width);
      },
      0.01);
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  const bool to_device = kind != cudaMemcpyDeviceToHost;
  const bool from_device = kind != cudaMemcpyHostToDevice;
  for (const cudaError_t status :
       {check_side(to_device, to, bytes), check_side(from_device, from, bytes)})
    if (status != cudaSuccess) return answer(status);
  return imitated_launch(
      stream, [=] { std::memcpy(to, from, bytes); }, 0.01);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int priority) {
  if (flags != cudaStreamNonBlocking || priority > 0 || priority < -5) ++counts.mistakes;
  *stream = new CUstream_st;
  ++counts.streams;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  --counts.streams;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) {
  return answer(unless_capturing());
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (event->captured_in == nullptr) {
    if (stream->captured == nullptr && stream->origin == nullptr) return cudaSuccess;
    return answer(cudaErrorStreamCaptureIsolation);  // what came before the capture
  }
  if (event->captured_in->captured == nullptr) return answer(cudaErrorCapturedEvent);
  if (stream != event->captured_in) stream->origin = event->captured_in;
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  *event = new CUevent_st{.is_timed = (flags & cudaEventDisableTiming) == 0};
  ++counts.events;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  --counts.events;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->is_recorded = true;
  event->captured_in = stream->captured != nullptr ? stream : stream->origin;
  event->ms = clock_ms;
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (event->captured_in != nullptr) return answer(cudaErrorCapturedEvent);
  return answer(unless_capturing());
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return cudaEventQuery(event);
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t from, cudaEvent_t to) {
  if (!from->is_timed || !to->is_timed || !from->is_recorded || !to->is_recorded ||
      from->captured_in != nullptr || to->captured_in != nullptr)
    return answer(cudaErrorInvalidResourceHandle);
  *ms = static_cast<float>(to->ms - from->ms);
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  if (capturing != nullptr || mode != cudaStreamCaptureModeThreadLocal)
    return answer(cudaErrorIllegalState);
  capturing = stream;
  capture_is_broken = false;
  stream->captured = new CUgraph_st;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  if (capturing != stream) return answer(cudaErrorIllegalState);
  capturing = nullptr;
  CUgraph_st* captured = stream->captured;
  stream->captured = nullptr;
  if (capture_is_broken) {
    delete captured;
    return answer(cudaErrorStreamCaptureInvalidated);
  }
  *graph = captured;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new CUgraphExec_st{graph->works};
  ++counts.graphs;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  for (const Work& work : exec->works) imitated_launch(stream, work.body, work.ms);
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  --counts.graphs;
  return cudaSuccess;
}

}  // extern "C"
