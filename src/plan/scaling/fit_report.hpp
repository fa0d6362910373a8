#pragma once
#include <span>
#include <string>

#include "plan/scaling/fit.hpp"
#include "report/chart.hpp"
#include "report/table.hpp"

namespace espalier::plan {

/// A fit with what it was made from, for people and programs.
struct FitReport {
  std::span<const FitPoint> points;     ///< fitted
  std::span<const FitPoint> held_back;  ///< to predict, and compare with what was measured
  std::span<const FitPoint> asked;      ///< to predict; their loss is not known
  const LawFit& fit;
  std::string what_n_counts;  ///< "all" or "without_embedding", as loss_law.counts
  std::size_t rows;           ///< of the table of points for people: the worst ones; 0: all
};

/// Constants with intervals, what they say of the best division of FLOPs, measured beside fitted,
/// and predictions. CSV: one table, its column `kind` says what a row is (constant, optimum,
/// fitted, held_back, predicted). JSON: an object of lists.
std::string print_fit(const FitReport& report, report::Format format);

/// A file that loss_law.file of another input may name. `made_of`: a line that says where the
/// points are from.
std::string law_file(const FitReport& report, const std::string& made_of);

/// Loss over D, measured points and the law for each N; measured over fitted loss where there are
/// more than eight N.
report::XyChart fit_chart(const FitReport& report);

}  // namespace espalier::plan
