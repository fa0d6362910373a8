#pragma once
#include <string>

#include "plan/scaling/search.hpp"
#include "report/chart.hpp"

namespace espalier::plan {

/// Loss over N and D as lines of equal loss, what the budget buys (the most tokens that a shape
/// about as large as N can be given, and 6 N D = budget beside it), and the candidates, of which
/// `selected` is named.
report::XyChart loss_chart(const SearchSpace& space, const SearchResult& result,
                           std::size_t selected, const std::string& title);

}  // namespace espalier::plan
