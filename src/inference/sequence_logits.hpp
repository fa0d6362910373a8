#pragma once
#include "base/error.hpp"
#include "inference/trained_model.hpp"
#include "train/run_control.hpp"

namespace espalier::inference {

/// Loss over the sequences of evaluation.tokens, and with evaluation.logits a file of the logits
/// that the model gives for them. Sequences are shared out over the data axis one at a time; what
/// is computed does not depend on the grid. Collective. A dry run only reads the tokens. Asked to
/// stop, it tells the loss so far, leaves no file of logits, and returns stopped_early. Throws
/// Error (internal) when the loss is not finite; the file of logits is kept then, to be looked at.
ExitStatus evaluate_sequences(TrainedModel& trained, parallel::MpiSession& session,
                              const train::RunControl& control, bool dry_run);

}  // namespace espalier::inference
