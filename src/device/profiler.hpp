#pragma once
#include <array>
#include <chrono>
#include <cstdint>
#include <string_view>

namespace espalier::device {

/// What a rank may be spending its time on. The table at the end of a run has one line per phase.
enum class Phase : std::uint8_t {
  data,         ///< gathering the tokens of a batch
  embedding,    ///< look-up and its gradient
  norm,         ///< norms and residual additions
  projections,  ///< GEMMs of QKV and o_proj
  rope,         ///< QK-norm and RoPE
  attention,
  mlp,                     ///< GEMMs of gate, up and down
  activation,              ///< SwiGLU or GELU
  head,                    ///< GEMMs of the LM head
  loss,                    ///< softmax and cross-entropy
  tensor_communication,    ///< collectives of the tensor axis
  gradient_communication,  ///< reduce-scatter over the data axis
  weight_communication,    ///< all-gather of updated weights
  clipping,                ///< gradient norm and the step's small all-reduce
  optimizer,               ///< AdamW
  validation,
  checkpoint,
  other,
  count
};
std::string_view name_of(Phase phase);
constexpr std::size_t kNumPhases = static_cast<std::size_t>(Phase::count);

/// Exclusive wall time per phase: an inner scope's time is not counted in the outer one, except
/// inside validation and checkpoint, which keep all of theirs.
class Profiler {
 public:
  class Scope {
   public:
    Scope(Profiler& profiler, Phase phase);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Profiler& profiler_;
    Phase outer_;
  };
  [[nodiscard]] Scope scope(Phase phase) { return Scope(*this, phase); }

  /// Seconds spent in each phase since construction or reset, the running phase included.
  std::array<double, kNumPhases> seconds() const;
  void reset();

  /// What operators have been asked to do: FLOPs, and bytes that they must move at least.
  struct PhaseCost {
    double flops = 0.0;
    double bytes = 0.0;
    std::int64_t calls = 0;
  };
  void add_cost(double flops, double bytes) {
    PhaseCost& cost = costs_[static_cast<std::size_t>(current_)];
    cost.flops += flops;
    cost.bytes += bytes;
    ++cost.calls;
  }
  std::array<PhaseCost, kNumPhases> costs() const { return costs_; }

 private:
  using Clock = std::chrono::steady_clock;
  void enter(Phase phase);
  std::array<double, kNumPhases> seconds_{};
  std::array<PhaseCost, kNumPhases> costs_{};
  Phase current_ = Phase::other;
  Clock::time_point since_ = Clock::now();
};

}  // namespace espalier::device
