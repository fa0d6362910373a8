#pragma once
#include <string>
#include <utility>

#include "config/parameters.hpp"
#include "support/expect_error.hpp"
#include "support/parameters.hpp"

namespace espalier::testing {

/// small_model in a run that resolves.
inline config::Parameters small_run(config::Parameters p = small_model()) {
  p.training.steps = 10;
  p.data.train = "shards";
  return p;
}

/// What resolve says of it.
inline std::string error_of(config::Parameters p, int num_ranks = 1,
                            config::Use use = config::Use::training) {
  return message_of([&] { config::resolve(p, num_ranks, use); });
}

}  // namespace espalier::testing
