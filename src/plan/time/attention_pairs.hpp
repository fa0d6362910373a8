#pragma once
#include "config/parameters.hpp"

namespace espalier::plan {

/// Tokens that attention reaches at most: a sequence or, with data.document_mask, documents of
/// bench.document_tokens (0: of whole sequences).
double document_length(const config::Parameters& parameters);

/// (query, key) pairs of `queries` queries in sequences of `length` tokens, whose documents have
/// `document` tokens: each query sees itself and what is before it in its document.
double attention_pairs(double queries, double length, double document);

}  // namespace espalier::plan
