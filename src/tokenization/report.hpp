#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

#include "io/corpus_counts.hpp"
#include "tokenization/input.hpp"

namespace espalier::tokenization {

/// "a.txt, b.txt" or, when there are many, the first and how many.
std::string describe_files(const std::vector<std::string>& paths, std::size_t longest = 1000);

/// The numbers of all ranks so far, and how far that is.
struct TokenizeProgress {
  double documents = 0, text_bytes = 0;
  double fraction = 0;  ///< of the files of this job; below 0: not known, because of a stream
  double seconds = 0;
};
std::string describe_progress(const TokenizeProgress& progress);

/// What was passed over, and a separator that is not there. Rank 0.
void print_skipped(const io::CorpusCounts& counts, const std::string& separator);
/// The closing table: splits, sources, slowest files. Rank 0.
void print_report(const io::CorpusCounts& counts, double seconds, double text_bytes);

}  // namespace espalier::tokenization
