#pragma once

namespace espalier {

/// Seconds since this process was started, as the kernel knows it: what comes before main, the
/// start of MPI and all libraries, counts. Where the kernel does not tell, since the program was
/// loaded.
double process_age_s();

}  // namespace espalier
