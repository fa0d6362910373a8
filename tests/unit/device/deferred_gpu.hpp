#pragma once
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <vector>

#include "device/gpu.hpp"

namespace espalier::testing {

/// A GPU that does nothing until somebody waits: it shows who waits for what. All streams are one.
/// Its clock is the number of copies done, in milliseconds.
class DeferredGpu final : public device::Gpu {
 public:
  DeferredGpu() : Gpu(device::Backend::emulated, 0) { description_.name = "deferred GPU"; }
  ~DeferredGpu() override {
    for (void* memory : owned_) std::free(memory);
  }

  int num_waits = 0;   ///< of the host
  int num_copies = 0;  ///< that were done
  int num_pinned = 0;  ///< pinned blocks that are alive
  int num_events = 0;  ///< that are alive
  int num_graphs = 0;
  int num_launches = 0;
  std::size_t num_pending() const { return pending_.size(); }

  const Description& description() const override { return description_; }
  std::int64_t free_bytes() const override { return std::int64_t{1} << 40; }
  void make_current() const override {}
  void* allocate(std::string_view, std::int64_t bytes) override {
    owned_.push_back(std::calloc(static_cast<std::size_t>(bytes), 1));
    return owned_.back();
  }
  void release(void*) noexcept override {}
  void set_zero(void* memory, std::int64_t bytes) override {
    std::memset(memory, 0, static_cast<std::size_t>(bytes));
  }
  void* allocate_pinned(std::int64_t bytes) override {
    ++num_pinned;
    return std::malloc(static_cast<std::size_t>(bytes));
  }
  void release_pinned(void* memory) noexcept override {
    --num_pinned;
    std::free(memory);
  }
  void copy_to_device(void* to, const void* from, const Rectangle& r, device::Stream) override {
    put([=, this] {
      for (std::int64_t row = 0; row < r.rows; ++row)
        std::memcpy(static_cast<char*>(to) + row * r.to_stride,
                    static_cast<const char*>(from) + row * r.from_stride,
                    static_cast<std::size_t>(r.row_bytes));
      ++num_copies;
    });
  }
  void copy_to_host(void* to, const void* from, const Rectangle& r, device::Stream s) override {
    copy_to_device(to, from, r, s);
  }
  void copy_on_device(void* to, const void* from, const Rectangle& r, device::Stream s) override {
    copy_to_device(to, from, r, s);
  }

  device::Stream create_stream(bool) override { return nullptr; }
  void destroy(device::Stream) noexcept override {}
  void synchronize(device::Stream) override {
    ++num_waits;
    while (!pending_.empty()) do_next();
  }
  device::Event create_event(bool) override {
    ++num_events;
    return reinterpret_cast<device::Event>(new Moment);
  }
  void destroy(device::Event event) noexcept override {
    if (event == nullptr) return;
    --num_events;
    delete moment(event);
  }
  void record(device::Event event, device::Stream) override {
    if (!is_capturing_) ++moment(event)->num_recorded;
    put([=, this] {
      ++moment(event)->num_done;
      moment(event)->at = num_copies;
    });
  }
  void wait(device::Stream, device::Event) override {}
  void synchronize(device::Event event) override {
    ++num_waits;
    while (!is_done(event)) do_next();
  }
  bool is_done(device::Event event) override {
    return moment(event)->num_done >= moment(event)->num_recorded;
  }
  double elapsed_ms(device::Event from, device::Event to) override {
    return moment(to)->at - moment(from)->at;
  }

  bool is_graph_supported() const override { return true; }
  void begin_capture(device::Stream) override { is_capturing_ = true; }
  device::Graph end_capture(device::Stream) override {
    is_capturing_ = false;
    ++num_graphs;
    return reinterpret_cast<device::Graph>(new std::vector(std::exchange(captured_, {})));
  }
  void abandon_capture(device::Stream) noexcept override {
    is_capturing_ = false;
    captured_.clear();
  }
  void launch(device::Graph graph, device::Stream) override {
    ++num_launches;
    for (const auto& work : *reinterpret_cast<Work*>(graph)) put(work);
  }
  void destroy(device::Graph graph) noexcept override {
    if (graph == nullptr) return;
    --num_graphs;
    delete reinterpret_cast<Work*>(graph);
  }

 private:
  using Work = std::vector<std::function<void()>>;
  struct Moment {
    int num_recorded = 0, num_done = 0;
    double at = 0.0;
  };
  static Moment* moment(device::Event event) { return reinterpret_cast<Moment*>(event); }
  void put(std::function<void()> work) {
    if (is_capturing_)
      captured_.push_back(std::move(work));
    else
      pending_.push_back(std::move(work));
  }
  void do_next() {
    const auto work = std::move(pending_.front());
    pending_.pop_front();
    work();
  }

  Description description_;
  std::deque<std::function<void()>> pending_;
  Work captured_;
  bool is_capturing_ = false;
  std::vector<void*> owned_;
};

}  // namespace espalier::testing
