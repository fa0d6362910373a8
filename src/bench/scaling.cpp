#include "bench/scaling.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <set>

#include "base/error.hpp"
#include "base/integers.hpp"

namespace espalier::bench {
namespace {

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ExitStatus::bad_configuration, message, Met::by_every_rank);
}

/// Ranks of one data rank.
std::int64_t unit_of(const config::Parameters& p) {
  config::Parameters one = p;
  one.parallel.data = 1;
  return config::declared_ranks(one);
}

std::vector<std::int64_t> wished_counts(const config::Parameters& p, int num_ranks) {
  std::vector<std::int64_t> counts = p.bench.ranks;
  if (counts.empty()) {
    const std::int64_t unit = unit_of(p);
    if (unit > num_ranks)
      refuse(
          fmt::format("parallel.tensor x context x pipeline = {} needs as many ranks, and the "
                      "job has {}: start more, or lower parallel.tensor",
                      unit, num_ranks));
    for (std::int64_t count = unit; count < num_ranks; count *= 2) counts.push_back(count);
    counts.push_back(num_ranks);
  }
  std::sort(counts.begin(), counts.end());
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] < 1)
      refuse(fmt::format("bench.ranks has {}: a number of ranks is 1 or more", counts[i]));
    if (counts[i] > num_ranks)
      refuse(fmt::format("bench.ranks has {}, and the job has {} rank{}: start {}, or leave it out",
                         counts[i], num_ranks, num_ranks == 1 ? "" : "s", counts.back()));
    if (i > 0 && counts[i] == counts[i - 1])
      refuse(fmt::format("bench.ranks has {} twice: name it once", counts[i]));
  }
  return counts;
}

std::int64_t times(std::int64_t value, std::int64_t ranks, const char* key) {
  if (value > std::numeric_limits<std::int64_t>::max() / ranks)
    refuse(fmt::format("{} = {} cannot be counted in 64 bits on {} ranks", key, value, ranks));
  return value * ranks;
}

/// The input for `ranks` of them, where `fewest` have the batch that it names. Not resolved.
config::Parameters grown(config::Parameters p, std::int64_t ranks, std::int64_t fewest) {
  p.parallel.data = 0;  // the ranks left over
  if (p.bench.scaling != "weak") return p;
  config::TrainingParameters& t = p.training;
  const std::int64_t sequences = times(t.global_batch_size, ranks, "training.global_batch_size");
  if (sequences % fewest != 0)
    refuse(fmt::format("training.global_batch_size = {} of {} ranks does not grow evenly to {}",
                       t.global_batch_size, fewest, ranks));
  t.global_batch_size = sequences / fewest;
  // As many steps as on the fewest, which [schedule] must fit.
  if (t.steps == 0) t.tokens = times(t.tokens, ranks, "training.tokens") / fewest;
  return p;
}

}  // namespace

ScalingCases scaling_cases(const config::Parameters& p, int num_ranks) {
  ScalingCases result;
  const std::int64_t unit = unit_of(p);
  std::int64_t fewest = 0;
  for (const std::int64_t ranks : wished_counts(p, num_ranks)) {
    if (ranks % unit != 0) {
      result.left_out.push_back(
          {ranks, fmt::format("no multiple of parallel.tensor x context x pipeline = {}", unit)});
      continue;
    }
    if (fewest == 0) fewest = ranks;
    try {
      config::Parameters of_count = grown(p, ranks, fewest);
      config::resolve(of_count, narrow<int>(ranks), config::Use::bench);
      result.cases.push_back({narrow<int>(ranks), std::move(of_count)});
    } catch (const Error& error) {
      std::string why = error.what();
      if (p.bench.scaling == "weak" && ranks != fewest)
        why += fmt::format(" (bench.scaling = \"weak\": the input's {} are of {} rank{})",
                           p.training.global_batch_size, fewest, fewest == 1 ? "" : "s");
      result.left_out.push_back({ranks, why});
    }
  }
  if (!result.cases.empty()) return result;
  std::string reasons;
  for (const LeftOut& left : result.left_out)
    reasons += fmt::format("\n  {} rank{}: {}", left.ranks, left.ranks == 1 ? "" : "s", left.why);
  refuse("none of the numbers of ranks can be measured:" + reasons);
}

double efficiency(const ScalingPoint& point, double seconds, const ScalingPoint& fewest,
                  double fewest_seconds) {
  return (point.tokens / seconds / point.ranks) / (fewest.tokens / fewest_seconds / fewest.ranks);
}

int num_nodes(const std::vector<std::string>& hosts, int ranks) {
  return narrow<int>(std::set<std::string>(hosts.begin(), hosts.begin() + ranks).size());
}

}  // namespace espalier::bench
