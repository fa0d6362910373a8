#pragma once
#include "tokenization/input.hpp"
#include "tokenizer/tokenizer.hpp"
#include "train/document_marks.hpp"

namespace espalier::tokenization {

/// A little of the text, read and encoded on one thread: how many tokens it makes (a function of
/// the input), and how long that takes.
struct CorpusSample {
  double bytes_per_token = 4.0;  ///< this where there is no text, or only streams
  double num_bytes = 0.0;        ///< of text
  double read_s = 0.0;           ///< reading, unpacking, parsing
  double encode_s = 0.0;
};
/// Of at most kSampledFiles files, evenly spaced. Throws as TextSource.
inline constexpr std::size_t kSampledFiles = 8;
CorpusSample sample_corpus(const Files& files, const config::TokenizeParameters& how,
                           const tokenizer::Tokenizer& tokenizer,
                           const train::DocumentMarks& marks);

/// What there is to do (io/corpus_manifest.hpp). Files are cut into parts where they can be
/// (io/text_parts.hpp), and parts in a row make units of about tokenize.shard_tokens tokens; of a
/// small corpus, of a 64th of it, so that several ranks have something to do. Throws Error
/// (bad_configuration) when there would be more than 100,000 units.
io::CorpusManifest plan_corpus(const Files& files, const config::TokenizeParameters& how,
                               const tokenizer::Tokenizer& tokenizer,
                               const train::DocumentMarks& marks, const CorpusSample& sample);

/// Prints what a dry run says: files, bytes, formats, units, and estimates of tokens, space and
/// time, with what limits it.
void print_estimate(const io::CorpusManifest& manifest, const config::TokenizeParameters& how,
                    const CorpusSample& sample, int num_ranks, int num_threads);

}  // namespace espalier::tokenization
