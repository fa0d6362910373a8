#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "device/gemm.hpp"
#include "device/gpu.hpp"
#include "device/graph_cache.hpp"
#include "device/profiler.hpp"
#include "device/queue.hpp"
#include "device/staging.hpp"
#include "device/view.hpp"

namespace espalier::device {

/// Where operators run and what they need for it: the GEMM engine, the profiler and, on a GPU, its
/// streams. One per rank, passed explicitly to every operator.
///
/// The host backend is synchronous: when an operator returns, its result is in memory. On a GPU an
/// operator is put into the compute stream; `download` and `synchronize` wait for what came before.
/// Streams for communication run beside it between fork_communication and join_communication.
class Context {
 public:
  /// The streams beside the compute stream: for gradients and weights (data), and for what the
  /// tensor and the context group exchange, for which the next operator waits and which must not
  /// stand behind a bucket of gradients. Each has its own order.
  enum class CommunicationStream : std::uint8_t { data, tensor, context };

  Context();  ///< the host
  /// No memory and no computation: operators on planned views only tell the profiler what they
  /// would cost. Copies do nothing, downloads bring zeros. `backend` is the one that is planned
  /// for.
  struct Counting {
    Backend backend;
  };
  explicit Context(Counting counting);
  /// Operators run on `gpu`; null is the host. `workspace_elements` floats of device memory are
  /// taken for partial results of the compute stream, and as many for the communication stream of
  /// gradients and weights; the others run no kernels of ours.
  explicit Context(std::shared_ptr<Gpu> gpu, std::int64_t workspace_elements = 0);
  /// Bytes of device memory that this takes.
  static std::int64_t workspace_bytes(std::int64_t workspace_elements) {
    return kWorkspaces * workspace_elements * static_cast<std::int64_t>(sizeof(float));
  }
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  Backend backend() const { return backend_; }
  bool on_host() const { return backend_ == Backend::host; }
  bool is_counting() const { return is_counting_; }
  Gpu* gpu() const { return gpu_.get(); }  ///< null on the host, and where nothing is computed
  const std::shared_ptr<Gpu>& shared_gpu() const { return gpu_; }
  Gemm& gemm() { return *gemm_; }
  Profiler& profiler() { return profiler_; }

  /// Of the compute stream and of a communication stream; empty on the host. A communication
  /// stream's kernels go first: communication takes few multiprocessors, and what waits for it
  /// would take all.
  const Queue& queue() const { return queue_; }
  const Queue& communication_queue(CommunicationStream stream = CommunicationStream::data) const {
    return lane(stream).queue;
  }
  /// What is put into the communication stream from now on waits for what the compute stream has so
  /// far.
  void fork_communication(CommunicationStream stream = CommunicationStream::data);
  /// And the other way round.
  void join_communication(CommunicationStream stream = CommunicationStream::data);
  /// join_communication in two steps: what the compute stream has after wait_communication waits
  /// for what the side stream had at mark_communication, and not for what it was given in between.
  void mark_communication(CommunicationStream stream);
  void wait_communication(CommunicationStream stream);

  /// Does what `body()` does, and from the third call of `key` on by launching a CUDA graph in the
  /// compute stream, without calling `body`: the first call runs it, the second captures it. For
  /// this, every call must put the same operators with the same arguments, buffers included, into
  /// the compute stream and, between fork_communication and join_communication, into the
  /// communication stream; whatever differs belongs in `key`.
  ///
  /// Not inside: collectives of MPI, upload, download, synchronize, allocations, anything that the
  /// host reads or decides by results, a first call of a shape that the first `body` did not have.
  /// Costs of a graph go to the phases of `body`, its time to the phase that is running here.
  ///
  /// Without graphs (see use_graphs) it is `body()`.
  template <class Body>
  void replay(std::uint64_t key, Body&& body) {
    if (graphs_ == nullptr)
      body();
    else
      graphs_->replay(key, body);
  }
  /// The first of 2^32 keys that nobody else is given.
  std::uint64_t reserve_graph_keys() { return num_reserved_++ << 32; }
  /// Whether replay makes graphs, where the GPU has them; off until this is called. Graphs that
  /// there are are forgotten: call it after a buffer has moved.
  void use_graphs(bool wanted);
  bool uses_graphs() const { return graphs_ != nullptr; }

  /// Copies between host memory and memory that operators see, of the view's shape; the host side
  /// is contiguous. Ordered after what the compute stream has; `from` may be reused and `to` read
  /// on return. On the host both are plain copies; on a GPU an upload does not wait (Staging). For
  /// one thread at a time.
  void upload(View to, const void* from);
  void download(void* to, ConstView from);
  template <class T>
  std::vector<T> download(ConstView from) {
    std::vector<T> values(static_cast<std::size_t>(from.size()));
    download(values.data(), from);
    return values;
  }
  /// A copy from and to where operators run, in the compute stream. The views do not overlap.
  void copy(View to, ConstView from);
  /// Waits for all streams. Errors of kernels appear here, as Error (internal).
  void synchronize();

  /// Rate of a square matrix product of `dtype`, FLOP/s: the peak that MFU is measured against.
  /// Takes about `seconds`; every rank of a node should measure at the same time.
  double measure_gemm_peak(DType dtype, double seconds = 0.5);
  /// "host, 2 threads, SIMD level avx2, oneDNN 2.6.3 avx2"; "cuda, NVIDIA H100 80GB HBM3, ..."
  std::string describe() const;
  /// Host memory for a host operator's partial results, valid until the next call; it grows to the
  /// largest request and stays. Not zeroed.
  float* workspace(std::int64_t elements);

 private:
  static constexpr std::int64_t kWorkspaces = 2;  ///< compute stream and CommunicationStream::data
  struct Lane {
    Queue queue;
    Event forked = nullptr, joined = nullptr;
  };
  Lane& lane(CommunicationStream stream) { return lanes_[static_cast<std::size_t>(stream)]; }
  const Lane& lane(CommunicationStream stream) const {
    return lanes_[static_cast<std::size_t>(stream)];
  }

  Backend backend_ = Backend::host;
  bool is_counting_ = false;
  std::shared_ptr<Gpu> gpu_;
  Queue queue_;
  std::array<Lane, 3> lanes_;
  void* device_workspace_ = nullptr;
  Profiler profiler_;
  std::unique_ptr<Staging> staging_;
  std::unique_ptr<Gemm> gemm_;
  std::unique_ptr<GraphCache> graphs_;  ///< null: off
  std::uint64_t num_reserved_ = 0;      ///< ranges of keys
  std::vector<float> workspace_;
};

}  // namespace espalier::device
