#pragma once
#include <fmt/core.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "config/mistakes.hpp"
#include "config/parameters.hpp"

namespace espalier::config {

/// The mistakes that resolve finds, besides those that are known already.
class Problems {
 public:
  explicit Problems(Mistakes known) : mistakes_(std::move(known)) {}

  template <class... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    std::string sentence = fmt::format(format, std::forward<Args>(args)...);
    if (!mistakes_.repeats(sentence)) mistakes_.add(std::move(sentence));
  }
  Mistakes& mistakes() { return mistakes_; }

 private:
  Mistakes mistakes_;
};

/// "1, 2, 4 or 8"
std::string either(const std::vector<std::int64_t>& values);
/// The multiples of `unit` around `value` (only the one above when there is none below).
std::string nearest_multiples(std::int64_t value, std::int64_t unit);

/// Fills head_dim and num_key_value_heads and checks what one rank alone needs.
void resolve_model(ModelParameters& model, Problems& problems);
/// Sizes of experts, and keys of them that a dense family has no use for. Gives a size that is
/// missing the smallest value, so that what is checked next does not fail for its sake.
void check_experts(ModelParameters& model, Problems& problems);
/// [experts], and what training blocks with experts asks of the grid.
void check_balance(const Parameters& parameters, Problems& problems);
/// parallel.expert against the experts and the ranks of a stage, parallel.data being filled in;
/// false when it does not fit.
bool check_expert_ranks(const Parameters& parameters, Problems& problems);
/// Fills parallel.data; false when the grid fits neither model nor job.
bool resolve_grid(Parameters& parameters, bool has_model, std::int64_t num_ranks,
                  Problems& problems);

/// The keys of a pipeline, against each other, the model and the micro-batches. Of a grid that is
/// resolved.
void check_pipeline(const Parameters& parameters, bool has_model, Problems& problems);

// What a command needs.
void check_memory(const Parameters& parameters, Problems& problems);
void check_training(const Parameters& parameters, Use use, Problems& problems);
void check_allowed_changes(const std::vector<std::string>& allowed, Problems& problems);
void check_run(const Parameters& parameters, Problems& problems);
void check_generation(const GenerateParameters& generate, Problems& problems);
void check_evaluation(const EvaluationParameters& evaluation, Problems& problems);
void check_tokenizing(const Parameters& parameters, Use use, Problems& problems);

}  // namespace espalier::config
