#pragma once
#include <string>

#include "config/parameters.hpp"
#include "plan/scaling/search.hpp"

namespace espalier::plan {

/// "qwen3-1.83b-l24-h2048-a16": what a candidate's files and run are called.
std::string name_of(const Candidate& candidate);

/// The input of a run of the candidate: model and tokens are its own, everything else is as the
/// input of the search says. Not resolved.
config::Parameters run_of(const config::Parameters& search, const Candidate& candidate);

/// Its documents, as those in inputs: a model file, and a run input that names it.
struct CandidateInput {
  std::string name;        ///< name_of
  std::string model_file;  ///< text of <name>.toml
  std::string run_file;    ///< text of <name>-run.toml
};
/// `run`: run_of, whatever a layout has changed of it. `remarks`: lines for the head of the run
/// input, each "Memory:    ..." or the like.
CandidateInput candidate_input(const config::Parameters& run, const Candidate& candidate,
                               const SearchSpace& space, const std::string& remarks = {});

/// Writes both into the folder, which is made. Throws Error (bad_configuration) when one of them is
/// there: nothing is overwritten, and then neither is written; (io_error) when it cannot write.
void write_candidate_input(const std::string& folder, const CandidateInput& input);

}  // namespace espalier::plan
