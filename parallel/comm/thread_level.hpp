#pragma once

namespace espalier::parallel {

/// What MPI lets threads do in this process: "single", "funneled", "serialized" or "multiple".
/// While a MpiSession lives.
const char* thread_level();

}  // namespace espalier::parallel
