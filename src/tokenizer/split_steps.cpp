#include "tokenizer/split_steps.hpp"

#include <fmt/core.h>

namespace espalier::tokenizer {
namespace {

std::string_view name_of(SplitBehavior behavior) {
  switch (behavior) {
    case SplitBehavior::isolated:
      return "isolated";
    case SplitBehavior::removed:
      return "removed";
    case SplitBehavior::contiguous:
      return "contiguous";
    case SplitBehavior::merged_with_previous:
      return "merged_with_previous";
    case SplitBehavior::merged_with_next:
      return "merged_with_next";
  }
  return "";
}

}  // namespace

std::string name_of(const SplitStep& step) {
  switch (step.kind) {
    case SplitStep::Kind::scanner:
      return std::string(name_of(step.scanner));
    case SplitStep::Kind::digits:
      return fmt::format("digits {}", name_of(step.behavior));
    case SplitStep::Kind::regex:
      return fmt::format("regex {} {}{}", step.expression, step.invert ? "inverted " : "",
                         name_of(step.behavior));
    case SplitStep::Kind::marks:
      return "";  // does not change an id
  }
  return "";
}

}  // namespace espalier::tokenizer
