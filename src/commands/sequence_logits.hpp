#pragma once
#include "commands/trained_model.hpp"

namespace espalier::commands {

/// Loss over the sequences of evaluation.tokens, and with evaluation.logits a file of the logits
/// that the model gives for them. Sequences are shared out over the data axis one at a time; what
/// is computed does not depend on the grid. Collective. A dry run only reads the tokens.
void evaluate_sequences(TrainedModel& trained, parallel::MpiSession& session, bool dry_run);

}  // namespace espalier::commands
