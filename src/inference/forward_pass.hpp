#pragma once
#include "inference/trained_model.hpp"
#include "model/activations.hpp"
#include "model/stage.hpp"

namespace espalier::inference {

/// A trained model ready for whole sequences of one length, without gradients.
class ForwardPass {
 public:
  /// `trained` must outlive it. Sequence parallelism is used where it is asked for and divides the
  /// tokens.
  ForwardPass(TrainedModel& trained, std::int64_t micro_batch_size, std::int64_t sequence_length);
  model::Stage& stage() { return stage_; }

 private:
  model::ActivationShape shape_;
  device::Arena arena_;
  model::Activations activations_;
  model::Stage stage_;
};

}  // namespace espalier::inference
