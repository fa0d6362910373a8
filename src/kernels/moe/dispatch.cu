#include "kernels/moe/dispatch.hpp"

#include "base/error.hpp"
#include "kernels/backends.hpp"

namespace espalier::kernels::ESPALIER_GPU {

void sort_by_expert(const Queue&, const SortByExpert&) {
  fail(ExitStatus::internal, "sort_by_expert does not run on a GPU yet");
}
void count_choices(const Queue&, const CountChoices&) {
  fail(ExitStatus::internal, "count_choices does not run on a GPU yet");
}
void gather_rows(const Queue&, const GatherRows&) {
  fail(ExitStatus::internal, "gather_rows does not run on a GPU yet");
}
void combine_rows(const Queue&, const CombineRows&) {
  fail(ExitStatus::internal, "combine_rows does not run on a GPU yet");
}

}  // namespace espalier::kernels::ESPALIER_GPU
