#pragma once
#include "config/parameters.hpp"
#include "plan/scaling/search.hpp"

namespace espalier::plan {

LossLaw loss_law_of(const config::LossLawParameters& parameters);

/// The space that [search], [loss_law], [model] and training.sequence_length describe. [model] says
/// what shapes share and has none of the sizes that the search chooses. Throws one Error
/// (bad_configuration, met by every rank) with a line for each thing that contradicts another,
/// makes the space empty or is out of reason, and what to set instead.
SearchSpace space_of(const config::Parameters& parameters);

/// [model] of a candidate: what the shapes share, with its sizes.
config::ModelParameters model_of(const config::Parameters& parameters,
                                 const model::Architecture& architecture);

}  // namespace espalier::plan
