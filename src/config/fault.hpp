#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace espalier::config {

/// A fault that a job injects into itself (debug.faults), to try what becomes of it.
struct Fault {
  enum class Kind : std::uint8_t {
    nan_gradient,  ///< the rank's gradient of that step is not a number
    loss_spike,    ///< loss and gradient of that step are 1000 times too large, on every rank
    flip_weight,   ///< one bit of a weight on the rank, before it is used in that step
    stop_rank,     ///< SIGSTOP
    kill_rank,     ///< SIGKILL
  };
  Kind kind = Kind::nan_gradient;
  std::int64_t step = 0;  ///< from 1
  std::int64_t rank = 0;
};

/// Of "nan-gradient@12" or "nan-gradient@12:3" (rank 3); nothing when it is no fault.
std::optional<Fault> parse_fault(std::string_view text);

/// "nan-gradient, loss-spike, ...", for messages.
std::string_view fault_kinds();

}  // namespace espalier::config
