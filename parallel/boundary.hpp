#pragma once
#include "device/context.hpp"
#include "device/view.hpp"
#include "parallel/communicator.hpp"

namespace espalier::parallel {

/// The operators at the two boundaries of a tensor-parallel region, each named with its
/// forward/backward pair (Shoeybi et al. 2019, "f" and "g"; Korthikanti et al. 2022, "g" and
/// "g-bar" with sequence parallelism). Between blocks a rank holds T_loc tokens; inside a region
/// all T. At tensor size 1 all are the identity.
///
/// |       | forward, sequence parallel on / off | backward on / off              |
/// |-------|-------------------------------------|--------------------------------|
/// | enter | all-gather of tokens / identity     | reduce-scatter / all-reduce    |
/// | leave | reduce-scatter / all-reduce         | all-gather of tokens / identity|
///
/// Each returns the view that holds the result: `scratch` when data moved, the argument itself
/// when the operator is the identity or works in place. Token split: rank t holds the contiguous
/// rows [t T/n, (t+1) T/n) of the flattened (B*S) tokens.
class TensorBoundary {
 public:
  TensorBoundary(Communicator& tensor, bool sequence_parallel);

  bool splits_tokens() const;  ///< sequence parallel and more than one tensor rank
  std::int64_t local_tokens(std::int64_t tokens) const;  ///< T_loc

  /// x (T_loc, H) -> (T, H) in `scratch` or x itself.
  device::ConstView enter_forward(device::Context& context, device::ConstView x,
                                  device::View scratch) const;
  /// dx (T, H) partial sums -> (T_loc, H): into `local` when tokens are split, else summed in
  /// place.
  device::View enter_backward(device::Context& context, device::View dx, device::View local) const;
  /// y (T, H) partial sums -> (T_loc, H): into `local` when tokens are split, else summed in place.
  device::View leave_forward(device::Context& context, device::View y, device::View local) const;
  /// dy (T_loc, H) -> (T, H) in `scratch` or dy itself.
  device::ConstView leave_backward(device::Context& context, device::ConstView dy,
                                   device::View scratch) const;

 private:
  Communicator& tensor_;
  bool sequence_parallel_;
};

}  // namespace espalier::parallel
