#include "report/chart.hpp"

#include "base/error.hpp"

namespace espalier::report {

std::string XyChart::svg() const {
  fail(ExitStatus::internal, "not here yet");
}
std::string StackedBars::svg() const {
  fail(ExitStatus::internal, "not here yet");
}
void write_svg(const std::string&, const std::string&) {
  fail(ExitStatus::internal, "not here yet");
}

}  // namespace espalier::report
