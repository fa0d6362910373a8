#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "device/backend.hpp"
#include "device/queue.hpp"

namespace espalier::device {

/// A GPU as one rank sees it: memory, copies, streams and events. Calls come from any thread. A
/// call of CUDA that fails is Error (internal) that names the call, the device and CUDA's words.
///
/// On the emulated GPU everything is done when a call returns, in whatever stream.
class Gpu {
 public:
  /// How many GPUs of a kind this process can open: 0 without a driver, and for cuda in a program
  /// that was built without it. The emulated backend has as many as one asks for.
  static int count(Backend backend);
  /// Why there is none: "this program was built without CUDA", "no CUDA driver", ... ; empty if
  /// count > 0.
  static std::string why_none(Backend backend);
  /// Whether a driver of the backend cuda is loaded, be it too old for this program.
  static bool has_driver();
  /// Tell GPUs apart on a node, by ordinal; of the backend cuda. Empty for a GPU that this program
  /// has no code for.
  static std::vector<std::string> uuids();
  /// Why GPU `ordinal` of the backend cuda cannot be used: the program has no code for it, and for
  /// which architecture it must be built. Empty where it can.
  static std::string why_without_code(int ordinal);
  /// The same for GPUs of a compute capability, which need not be here.
  static std::string why_without_code_for(int compute_capability);
  /// Of the first GPU of this process, without opening it: 90, 100; 0 where there is none.
  static int first_compute_capability(Backend backend);
  /// Throws Error (bad_configuration) when `ordinal` cannot be had, with why_none, or when the
  /// kernels were not compiled for its architecture.
  static std::shared_ptr<Gpu> open(Backend backend, int ordinal);
  virtual ~Gpu() = default;
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  Backend backend() const { return backend_; }
  int ordinal() const { return ordinal_; }

  struct Description {
    std::string name;     ///< "NVIDIA H100 80GB HBM3"
    std::string uuid;     ///< tells whether two ranks of a node share it
    std::string pci_bus;  ///< "0000:1b:00.0"
    int numa_node = -1;   ///< -1: not known
    std::string nics;     ///< network devices under the same PCI root: "mlx5_0"; may be empty
    int compute_capability = 0;  ///< 90, 100; 0 on the emulated GPU
    int multiprocessors = 0;
    std::int64_t memory_bytes = 0;
    std::string versions;  ///< "driver 13.0, runtime 13.0"
  };
  virtual const Description& description() const = 0;
  virtual std::int64_t free_bytes() const = 0;
  /// For libraries and launches that work on the calling thread's device. The other functions here
  /// do it themselves.
  virtual void make_current() const = 0;

  /// Zeroed memory aligned to 256 bytes; `what` is named when it cannot be had, which is Error
  /// (bad_configuration) that says on which rank and GPU, how much is free and what to change.
  virtual void* allocate(std::string_view what, std::int64_t bytes) = 0;
  virtual void release(void* memory) noexcept = 0;
  /// Also memory that was not allocated here. Done on return.
  virtual void set_zero(void* memory, std::int64_t bytes) = 0;
  /// Host memory that copies to and from the GPU reach at full speed.
  virtual void* allocate_pinned(std::int64_t bytes) = 0;
  virtual void release_pinned(void* memory) noexcept = 0;

  /// `rows` rows of `row_bytes`, `*_stride` bytes from one to the next. Asynchronous in `stream`:
  /// host memory must be pinned to overlap and must stay until the stream has come past.
  struct Rectangle {
    std::int64_t rows, row_bytes, to_stride, from_stride;
  };
  virtual void copy_to_device(void* to, const void* from, const Rectangle& r, Stream stream) = 0;
  virtual void copy_to_host(void* to, const void* from, const Rectangle& r, Stream stream) = 0;
  virtual void copy_on_device(void* to, const void* from, const Rectangle& r, Stream stream) = 0;

  /// `urgent`: its kernels go before those of other streams.
  virtual Stream create_stream(bool urgent) = 0;
  virtual void destroy(Stream stream) noexcept = 0;
  virtual void synchronize(Stream stream) = 0;  ///< waits on the host; reports errors of kernels
  /// `timed`: for elapsed_ms; slower to record.
  virtual Event create_event(bool timed) = 0;
  virtual void destroy(Event event) noexcept = 0;
  virtual void record(Event event, Stream stream) = 0;
  virtual void wait(Stream stream, Event event) = 0;  ///< the stream waits, not the host
  virtual void synchronize(Event event) = 0;          ///< the host waits
  virtual bool is_done(Event event) = 0;
  /// Between two events that are done.
  virtual double elapsed_ms(Event from, Event to) = 0;

  /// Graphs: what is put into `stream` between begin_capture and end_capture is not done but kept,
  /// and is done by each launch, with the same arguments. Only from one thread at a time; what
  /// other threads do goes on undisturbed. Other streams join the capture by waiting for an event
  /// of `stream`, and must be joined back.
  virtual bool is_graph_supported() const { return false; }
  virtual void begin_capture(Stream stream);
  virtual Graph end_capture(Stream stream);
  /// Ends a capture whose work cannot be used, after an error; throws nothing.
  virtual void abandon_capture(Stream stream) noexcept;
  virtual void launch(Graph graph, Stream stream);
  virtual void destroy(Graph graph) noexcept;

 protected:
  Gpu(Backend backend, int ordinal) : backend_(backend), ordinal_(ordinal) {}
  [[noreturn]] void refuse_memory(std::string_view what, std::int64_t bytes) const;

 private:
  Backend backend_;
  int ordinal_;
};

/// Memory of the emulated GPU is out of reach, so that host code that touches it by mistake ends
/// in SIGSEGV as it would with CUDA, except while one of these lives. Nests; for any thread.
class EmulatedAccess {
 public:
  EmulatedAccess();
  ~EmulatedAccess();
  EmulatedAccess(const EmulatedAccess&) = delete;
  EmulatedAccess& operator=(const EmulatedAccess&) = delete;
};

}  // namespace espalier::device
