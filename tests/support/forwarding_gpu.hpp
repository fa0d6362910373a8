#pragma once
#include <memory>

#include "device/gpu.hpp"

namespace espalier::testing {

/// An emulated GPU of which a test overrides a call or two.
class ForwardingGpu : public device::Gpu {
 public:
  ForwardingGpu() : Gpu(device::Backend::emulated, 0) {}

  const Description& description() const override { return gpu_->description(); }
  std::int64_t free_bytes() const override { return gpu_->free_bytes(); }
  void make_current() const override { gpu_->make_current(); }
  void* allocate(std::string_view what, std::int64_t bytes) override {
    return gpu_->allocate(what, bytes);
  }
  void release(void* memory) noexcept override { gpu_->release(memory); }
  void set_zero(void* memory, std::int64_t bytes) override { gpu_->set_zero(memory, bytes); }
  void* allocate_pinned(std::int64_t bytes) override { return gpu_->allocate_pinned(bytes); }
  void release_pinned(void* memory) noexcept override { gpu_->release_pinned(memory); }
  void copy_to_device(void* to, const void* from, const Rectangle& r,
                      device::Stream stream) override {
    gpu_->copy_to_device(to, from, r, stream);
  }
  void copy_to_host(void* to, const void* from, const Rectangle& r,
                    device::Stream stream) override {
    gpu_->copy_to_host(to, from, r, stream);
  }
  void copy_on_device(void* to, const void* from, const Rectangle& r,
                      device::Stream stream) override {
    gpu_->copy_on_device(to, from, r, stream);
  }
  device::Stream create_stream(bool urgent) override { return gpu_->create_stream(urgent); }
  void destroy(device::Stream stream) noexcept override { gpu_->destroy(stream); }
  void synchronize(device::Stream stream) override { gpu_->synchronize(stream); }
  device::Event create_event(bool timed) override { return gpu_->create_event(timed); }
  void destroy(device::Event event) noexcept override { gpu_->destroy(event); }
  void record(device::Event event, device::Stream stream) override { gpu_->record(event, stream); }
  void wait(device::Stream stream, device::Event event) override { gpu_->wait(stream, event); }
  void synchronize(device::Event event) override { gpu_->synchronize(event); }
  bool is_done(device::Event event) override { return gpu_->is_done(event); }
  double elapsed_ms(device::Event from, device::Event to) override {
    return gpu_->elapsed_ms(from, to);
  }

 private:
  std::shared_ptr<device::Gpu> gpu_ = device::Gpu::open(device::Backend::emulated, 0);
};

}  // namespace espalier::testing
