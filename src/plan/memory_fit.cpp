#include "plan/memory_fit.hpp"

#include <algorithm>
#include <optional>

#include "base/text.hpp"

namespace espalier::plan {

namespace {

std::string human(std::int64_t bytes) {
  return human_bytes(static_cast<double>(bytes));
}

/// What rank `rank` needs with other parameters; none when they do not resolve on their grid.
std::optional<std::int64_t> total_with(config::Parameters p, int rank, device::Backend backend) {
  const parallel::GridShape shape{.tensor = static_cast<int>(p.parallel.tensor),
                                  .context = static_cast<int>(p.parallel.context),
                                  .data = static_cast<int>(p.parallel.data),
                                  .pipeline = static_cast<int>(p.parallel.pipeline)};
  try {
    config::resolve(p, shape.size(), config::Use::bench);  // asks for no data
  } catch (const Error&) {
    return std::nullopt;
  }
  return JobMemory::planned(p, {shape, rank}, Purpose::training, backend).total_bytes();
}

}  // namespace

std::vector<Alternative> alternatives(const config::Parameters& parameters,
                                      const parallel::ProcessGrid& grid, device::Backend backend,
                                      std::int64_t available_bytes) {
  std::vector<Alternative> result;
  const auto total = [&](const config::Parameters& p) {
    return total_with(p, grid.rank(), backend);
  };
  const auto add = [&](const std::string& change, const config::Parameters& p) {
    if (const auto bytes = total(p)) result.push_back({change, *bytes});
  };
  if (parameters.parallel.zero_stage == 0 && grid.shape().data > 1) {
    config::Parameters p = parameters;
    p.parallel.zero_stage = 1;
    add("parallel.zero_stage = 1", p);
  }
  config::Parameters smallest = parameters;
  for (const char* mode : {"selective", "mlp", "full"}) {
    if (model::recompute_from_name(mode) <= model::recompute_from_name(parameters.memory.recompute))
      continue;
    config::Parameters p = parameters;
    p.memory.recompute = smallest.memory.recompute = mode;
    add(fmt::format("memory.recompute = \"{}\"", mode), p);
  }
  /// Of these the first that fits, else the last.
  const auto add_first = [&](const std::vector<Alternative>& candidates) {
    if (candidates.empty()) return;
    const auto fitting =
        std::find_if(candidates.begin(), candidates.end(),
                     [&](const Alternative& a) { return a.total_bytes <= available_bytes; });
    result.push_back(fitting != candidates.end() ? *fitting : candidates.back());
  };
  const auto micro_batches = [&](config::Parameters p, const std::string& beside) {
    std::vector<Alternative> candidates;
    while (--p.training.micro_batch_size > 0)
      if (const auto bytes = total(p))
        candidates.push_back(
            {fmt::format("training.micro_batch_size = {}{}", p.training.micro_batch_size, beside),
             *bytes});
    return candidates;
  };
  add_first(micro_batches(parameters, ""));
  if (smallest.memory.recompute != parameters.memory.recompute)
    add_first(micro_batches(smallest, " with memory.recompute = \"full\""));

  std::vector<Alternative> tensor_sizes;
  for (config::Parameters p = parameters; p.parallel.tensor <= 64;) {
    p.parallel.tensor *= 2;
    // As many ranks as there are while the data axis can give some, more ranks after that.
    if (p.parallel.data % 2 == 0) p.parallel.data /= 2;
    if (const auto bytes = total_with(p, 0, backend))
      tensor_sizes.push_back({fmt::format("parallel.tensor = {} on {} ranks", p.parallel.tensor,
                                          p.parallel.tensor * p.parallel.data),
                              *bytes});
  }
  add_first(tensor_sizes);
  return result;
}

std::string why_not_fitting(const config::Parameters& parameters, const parallel::ProcessGrid& grid,
                            Purpose purpose, const device::Gpu& gpu) {
  const JobMemory plan = JobMemory::planned(parameters, grid, purpose, gpu.backend());
  const std::int64_t available = gpu.free_bytes();
  if (plan.total_bytes() <= available) return {};
  std::string text =
      fmt::format("rank {} needs {}, but GPU {} ({}) has {} free of {}:\n", grid.rank(),
                  human(plan.total_bytes()), gpu.ordinal(), gpu.description().name,
                  human(available), human(gpu.description().memory_bytes));
  for (const JobMemory::Line& line : plan.lines())
    text += fmt::format("  {:<17} {:>12}\n", line.name, human(line.bytes));
  text += "what would help:";
  if (purpose == Purpose::evaluation)
    return text + " a smaller training.micro_batch_size, more tensor ranks (parallel.tensor)";
  for (const Alternative& a : alternatives(parameters, grid, gpu.backend(), available))
    text += fmt::format("\n  {:<58} {:>12}{}", a.change, human(a.total_bytes),
                        a.total_bytes <= available ? "   fits" : "");
  return text;
}

std::string describe_fit(const config::Parameters& parameters, const parallel::GridShape& shape,
                         const device::Gpu& gpu) {
  int largest_rank = 0;
  std::int64_t largest = 0;
  for (const int rank : corner_ranks(shape)) {
    const std::int64_t total =
        JobMemory::planned(parameters, {shape, rank}, Purpose::training, gpu.backend())
            .total_bytes();
    if (total > largest) largest_rank = rank;
    largest = std::max(largest, total);
  }
  const std::string why =
      why_not_fitting(parameters, {shape, largest_rank}, Purpose::training, gpu);
  if (!why.empty()) return "does not fit: " + why;
  return fmt::format(
      "fits: GPU {} ({}) has {} free, a rank needs at most {} and what CUDA and NCCL "
      "take for themselves",
      gpu.ordinal(), gpu.description().name, human(gpu.free_bytes()), human(largest));
}

}  // namespace espalier::plan
