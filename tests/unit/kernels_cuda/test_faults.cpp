// Mistakes made on purpose in the kernels as they are: the cases that pass without must fail with
// each of them.
#include <algorithm>
#include <map>

#include "base/error.hpp"
#include "cases.hpp"
#include "emulation/faults.hpp"

namespace espalier::testing {
namespace {

using emulation::barriers_reached;
using emulation::Faults;
using emulation::settings;
using emulation::Site;

/// Faults of one scope.
class WithFaults {
 public:
  explicit WithFaults(const Faults& faults) { settings().faults = faults; }
  ~WithFaults() { settings().faults = {}; }
};

/// What shows that something is wrong; empty when nothing does.
std::string complaints_of(const Case& example) {
  try {
    return example.run().complaints;
  } catch (const Error& error) {
    return error.what();
  }
}

std::string operator_of(const Case& example) {
  return example.name.substr(0, example.name.find_first_of(" ,"));
}

}  // namespace

TEST_CASE("every barrier that is left out is found, in every operator and order of threads",
          "[faults]") {
  // A barrier of an operator may have nothing to do in its smallest cases: one of the cases must
  // find it.
  std::map<std::pair<std::string, Site>, std::vector<Case>> cases_with_barrier;
  for (const Case& example : all_cases()) {
    barriers_reached().clear();
    example.run();
    for (const Site& site : barriers_reached())
      cases_with_barrier[{operator_of(example), site}].push_back(example);
  }
  CHECK(cases_with_barrier.size() >= 10);
  for (const auto& [barrier, cases] : cases_with_barrier)
    for (std::uint64_t seed : {1, 2, 3}) {
      CAPTURE(barrier.first, barrier.second.describe(), seed);
      settings().order_seed = seed;
      const WithFaults with({.skipped_barrier = barrier.second});
      CHECK(std::any_of(cases.begin(), cases.end(),
                        [](const Case& example) { return complaints_of(example) != ""; }));
    }
}

TEST_CASE("a thread that misses its barriers is found, and too little shared memory", "[faults]") {
  for (const Case& example : all_cases()) {
    barriers_reached().clear();
    example.run();
    if (barriers_reached().empty()) continue;
    CAPTURE(example.name);
    {
      const WithFaults with({.absent_thread = 5});
      CHECK(complaints_of(example).find("emulation:") != std::string::npos);
    }
    const WithFaults with({.missing_shared_bytes = 16});
    CHECK(complaints_of(example).find("bytes of shared memory") != std::string::npos);
  }
}

TEST_CASE("a wait that leaves one more group of copies under way is found", "[faults]") {
  int num_found = 0;
  for (const Case& example : all_cases()) {
    const std::string name = operator_of(example);
    if (name != "attention" && name != "grouped_mma") continue;
    CAPTURE(example.name);
    const WithFaults with({.extra_pending_copies = 1});
    CHECK(complaints_of(example).find("is still copying") != std::string::npos);
    ++num_found;
  }
  CHECK(num_found > 0);
}

TEST_CASE("a row that seems one column longer is found", "[faults]") {
  for (const char* name : {"adamw", "add_losses", "attention", "attention_reference", "bias",
                           "cast", "cross_entropy", "embedding", "expert", "gelu", "layernorm",
                           "positions", "rmsnorm", "set_zero", "sums_of_squares", "swiglu"}) {
    int num_found = 0;
    for (const Case& example : all_cases()) {
      if (operator_of(example) != name) continue;
      CAPTURE(example.name);
      const WithFaults with({.extra_tail_columns = 1});
      if (complaints_of(example) != "") ++num_found;
    }
    CAPTURE(name);
    CHECK(num_found >= 2);
  }
}

}  // namespace espalier::testing
