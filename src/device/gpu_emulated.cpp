#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>

#include "base/integers.hpp"
#include "device/gemm_engine.hpp"
#include "device/gpu_backends.hpp"

namespace espalier::device {
namespace {

/// All memory of emulated GPUs in this process. Closed (no access) unless somebody is inside.
class Memory {
 public:
  static Memory& of_process() {
    static Memory memory;
    return memory;
  }

  /// Null when there is none.
  void* allocate(std::int64_t bytes) {
    const auto size = static_cast<std::size_t>(round_up(std::max<std::int64_t>(bytes, 1), 4096));
    const std::scoped_lock lock(mutex_);
    void* base = mmap(nullptr, size, num_inside_ > 0 ? PROT_READ | PROT_WRITE : PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return nullptr;
    sizes_[base] = size;
    return base;
  }
  void release(void* base) noexcept {
    if (base == nullptr) return;
    const std::scoped_lock lock(mutex_);
    const auto it = sizes_.find(base);
    munmap(base, it->second);
    sizes_.erase(it);
  }
  void enter() {
    const std::scoped_lock lock(mutex_);
    if (num_inside_++ == 0) protect(PROT_READ | PROT_WRITE);
  }
  void leave() {
    const std::scoped_lock lock(mutex_);
    if (--num_inside_ == 0) protect(PROT_NONE);
  }

 private:
  void protect(int access) {
    for (const auto& [base, size] : sizes_) mprotect(base, size, access);
  }

  std::mutex mutex_;
  std::map<void*, std::size_t> sizes_;
  int num_inside_ = 0;
};

/// Streams and events have no work of their own: they are only told apart, and events know when.
struct Moment {
  std::chrono::steady_clock::time_point at;
};

class EmulatedGpu final : public Gpu {
 public:
  explicit EmulatedGpu(int ordinal) : Gpu(Backend::emulated, ordinal) {
    description_.name = "emulated GPU";
    description_.uuid = fmt::format("emulated-{}", ordinal);
    description_.multiprocessors = 1;
    description_.memory_bytes = free_bytes();
    description_.versions = "kernels on the host, thread by thread";
  }

  const Description& description() const override { return description_; }
  std::int64_t free_bytes() const override { return std::int64_t{1} << 40; }
  void make_current() const override {}

  void* allocate(std::string_view what, std::int64_t bytes) override {
    void* memory = bytes <= free_bytes() ? Memory::of_process().allocate(bytes) : nullptr;
    if (memory == nullptr) refuse_memory(what, bytes);
    return memory;
  }
  void release(void* memory) noexcept override { Memory::of_process().release(memory); }
  void set_zero(void* memory, std::int64_t bytes) override {
    const EmulatedAccess access;
    std::memset(memory, 0, static_cast<std::size_t>(bytes));
  }
  void* allocate_pinned(std::int64_t bytes) override {
    return ::operator new(static_cast<std::size_t>(bytes));
  }
  void release_pinned(void* memory) noexcept override { ::operator delete(memory); }

  void copy_to_device(void* to, const void* from, const Rectangle& r, Stream) override {
    const EmulatedAccess access;
    for (std::int64_t row = 0; row < r.rows; ++row)
      std::memcpy(static_cast<char*>(to) + row * r.to_stride,
                  static_cast<const char*>(from) + row * r.from_stride,
                  static_cast<std::size_t>(r.row_bytes));
  }
  void copy_to_host(void* to, const void* from, const Rectangle& r, Stream stream) override {
    copy_to_device(to, from, r, stream);
  }
  void copy_on_device(void* to, const void* from, const Rectangle& r, Stream stream) override {
    copy_to_device(to, from, r, stream);
  }

  Stream create_stream(bool) override { return reinterpret_cast<Stream>(new Moment); }
  void destroy(Stream stream) noexcept override { delete reinterpret_cast<Moment*>(stream); }
  void synchronize(Stream) override {}
  Event create_event(bool) override { return reinterpret_cast<Event>(new Moment); }
  void destroy(Event event) noexcept override { delete reinterpret_cast<Moment*>(event); }
  void record(Event event, Stream) override {
    reinterpret_cast<Moment*>(event)->at = std::chrono::steady_clock::now();
  }
  void wait(Stream, Event) override {}
  void synchronize(Event) override {}
  bool is_done(Event) override { return true; }
  double elapsed_ms(Event from, Event to) override {
    return std::chrono::duration<double, std::milli>(reinterpret_cast<Moment*>(to)->at -
                                                     reinterpret_cast<Moment*>(from)->at)
        .count();
  }

 private:
  Description description_;
};

class EmulatedGemm final : public GemmEngine {
 public:
  explicit EmulatedGemm(std::shared_ptr<Gpu> gpu)
      : gpu_(std::move(gpu)),
        workspace_(gpu_->allocate("workspace of matrix products", kGemmWorkspaceBytes)) {}
  ~EmulatedGemm() override { gpu_->release(workspace_); }
  EmulatedGemm(const EmulatedGemm&) = delete;
  EmulatedGemm& operator=(const EmulatedGemm&) = delete;
  void multiply(const GemmOperand& c, const GemmOperand& a, const GemmOperand& b, bool accumulate,
                const void* bias) override {
    const EmulatedAccess access;
    host_->multiply(c, a, b, accumulate, bias);
  }
  std::string describe() const override { return host_->describe(); }

 private:
  std::shared_ptr<Gpu> gpu_;
  void* workspace_;  ///< unused: a library's on a real GPU
  std::unique_ptr<GemmEngine> host_ = make_host_gemm();
};

}  // namespace

EmulatedAccess::EmulatedAccess() {
  Memory::of_process().enter();
}
EmulatedAccess::~EmulatedAccess() {
  Memory::of_process().leave();
}

std::shared_ptr<Gpu> open_emulated_gpu(int ordinal) {
  return std::make_shared<EmulatedGpu>(ordinal);
}
std::unique_ptr<GemmEngine> make_emulated_gemm(std::shared_ptr<Gpu> gpu) {
  return std::make_unique<EmulatedGemm>(std::move(gpu));
}

}  // namespace espalier::device
