#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>

#include "device/gpu.hpp"
#include "device/profiler.hpp"

namespace espalier::device {

/// Work of a stream that is the same in every step, kept as graphs: launching one costs the host as
/// much as launching a few kernels, however many it has.
class GraphCache {
 public:
  GraphCache(std::shared_ptr<Gpu> gpu, Stream stream, Profiler& profiler);
  ~GraphCache();
  GraphCache(const GraphCache&) = delete;
  GraphCache& operator=(const GraphCache&) = delete;

  /// Does what `body` puts into the stream; see Context::replay.
  template <class Body>
  void replay(std::uint64_t key, Body&& body) {
    switch (begin(key)) {
      case Turn::run:
        body();
        return;
      case Turn::capture:
        try {
          body();
        } catch (...) {
          abandon();
          throw;
        }
        end(key);
        return;
      case Turn::launched:
        return;
    }
  }
  /// Graphs are captured again when their keys next come up: after a buffer has moved.
  void forget();

 private:
  enum class Turn { run, capture, launched };
  struct Entry {
    Graph graph = nullptr;  ///< null until the second call
    std::array<PhaseCost, kNumPhases> costs{};
  };
  Turn begin(std::uint64_t key);
  void end(std::uint64_t key);
  void abandon() noexcept;

  std::shared_ptr<Gpu> gpu_;
  Stream stream_;
  Profiler& profiler_;
  std::unordered_map<std::uint64_t, Entry> entries_;
  std::array<PhaseCost, kNumPhases> costs_before_{};
  bool is_capturing_ = false;
};

}  // namespace espalier::device
