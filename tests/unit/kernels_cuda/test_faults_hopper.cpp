// Mistakes made on purpose in attention by warpgroups as it is: one of the cases must find each, in
// every order of threads.
#include <algorithm>

#include "base/error.hpp"
#include "cases.hpp"
#include "emulation/faults.hpp"

namespace espalier::testing {
namespace {

using emulation::barriers_reached;
using emulation::Faults;
using emulation::settings;
using emulation::Site;
using emulation::waits_reached;

std::vector<Case> cases_with_warpgroups() {
  std::vector<Case> cases;
  add_attention_wgmma_cases(cases);
  add_attention_wgmma_blocks_cases(cases);
  return cases;
}

/// What a case complains of with the fault; empty when it notices nothing.
std::string complaints_with(const Faults& faults, const Case& example) {
  settings().faults = faults;
  std::string complaints;
  try {
    complaints = example.run().complaints;
  } catch (const Error& error) {
    complaints = error.what();
  }
  settings().faults = {};
  return complaints;
}

/// Whether one of the cases finds the fault, in three orders of threads.
void check_found(const Faults& faults, const std::vector<Case>& cases = cases_with_warpgroups()) {
  for (std::uint64_t seed : {1, 2, 3}) {
    CAPTURE(seed);
    set_order(seed);
    CHECK(std::any_of(cases.begin(), cases.end(),
                      [&](const Case& example) { return complaints_with(faults, example) != ""; }));
  }
  set_order(0);
}
/// Whether every case finds it.
void check_found_everywhere(const Faults& faults,
                            const std::vector<Case>& cases = cases_with_warpgroups()) {
  for (const Case& example : cases)
    for (std::uint64_t seed : {1, 2, 3}) {
      CAPTURE(example.name, seed);
      set_order(seed);
      CHECK(complaints_with(faults, example) != "");
    }
  set_order(0);
}

}  // namespace

TEST_CASE("every wait for a barrier's phase that is left out is found", "[faults]") {
  waits_reached().clear();
  for (const Case& example : cases_with_warpgroups()) example.run();
  const std::set<Site> sites = waits_reached();
  // Queries, own tiles of the gradients' three kernels, a ring's tiles and its free places, tiles
  // of dQ and their free places, and all of them before dQ is rounded.
  CHECK(sites.size() == 9);
  for (const Site& site : sites) {
    CAPTURE(site.describe());
    check_found({.skipped_wait = site});
  }
}

TEST_CASE(
    "consumers that do not meet between gradients of scores and the product with them are "
    "found",
    "[faults]") {
  barriers_reached().clear();
  for (const Case& example : cases_with_warpgroups()) example.run();
  int num_sites = 0;
  for (const Site& site : barriers_reached()) {
    if (site.file.find("attention_wgmma_ordered.cu") == std::string_view::npos) continue;
    CAPTURE(site.describe());
    check_found({.skipped_barrier = site});
    ++num_sites;
  }
  // The beginning, the product's, and before results take the place of keys.
  CHECK(num_sites == 3);
}

TEST_CASE("a block that adds before its turn, or passes it on too early, is found", "[faults]") {
  check_found({.without_turns = true});
  check_found({.early_turns = true});
  check_found({.incomplete_stores = true});
}

TEST_CASE("consumers that do not wait for their turn, or do not pass it on, are found",
          "[faults]") {
  barriers_reached().clear();
  for (const Case& example : cases_with_warpgroups()) example.run();
  int num_waits = 0, num_arrivals = 0;
  for (const Site& site : barriers_reached()) {
    if (site.file.find("attention_warpgroups.hpp") == std::string_view::npos) continue;
    CAPTURE(site.describe());
    for (const Case& example : cases_with_warpgroups()) {
      const std::string complaints = complaints_with({.skipped_barrier = site}, example);
      // It arrives again where there is another turn, else its arrival is left when the block ends.
      num_waits += complaints.find("again at attention_warpgroups.hpp") != std::string::npos ||
                   complaints.find("have arrived at attention_warpgroups.hpp") != std::string::npos;
      num_arrivals +=
          complaints.find("128 threads wait at attention_warpgroups.hpp") != std::string::npos;
    }
  }
  // Three cases have turns to alternate.
  CHECK(num_waits >= 3);
  CHECK(num_arrivals >= 3);
}

TEST_CASE("a barrier that expects too few or too many bytes is found", "[faults]") {
  check_found_everywhere({.missing_transaction_bytes = 16});
  check_found_everywhere({.missing_transaction_bytes = -16});
}

TEST_CASE("a wait that leaves one more group of products under way is found", "[faults]") {
  check_found_everywhere({.extra_pending_products = 1});
}

TEST_CASE("fences that are left out are found", "[faults]") {
  check_found_everywhere({.without_product_fences = true});
  check_found_everywhere({.without_proxy_fences = true});
}

TEST_CASE("tensor maps that end one row too early are found", "[faults]") {
  check_found_everywhere({.missing_tail_rows = 1});
}

TEST_CASE("mistakes in grouped products by warpgroups are found", "[faults]") {
  std::vector<Case> cases;
  add_grouped_wgmma_cases(cases);
  waits_reached().clear();
  barriers_reached().clear();
  for (const Case& example : cases) example.run();
  const std::set<Site> waits = waits_reached(), barriers = barriers_reached();
  // A part has come, for a warpgroup that multiplies and for one that does not; its place is free.
  CHECK(waits.size() == 3);
  for (const Site& site : waits) {
    CAPTURE(site.describe());
    check_found({.skipped_wait = site}, cases);
  }
  // The beginning, and before the products of a part of which rows were cleared.
  CHECK(barriers.size() == 2);
  for (const Site& site : barriers) {
    CAPTURE(site.describe());
    check_found({.skipped_barrier = site}, cases);
  }
  check_found({.without_proxy_fences = true}, cases);
  check_found_everywhere({.missing_transaction_bytes = 16}, cases);
  check_found_everywhere({.extra_pending_products = 1}, cases);
  check_found_everywhere({.without_product_fences = true}, cases);
  check_found_everywhere({.missing_tail_rows = 1}, cases);
}

}  // namespace espalier::testing
