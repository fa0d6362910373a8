#include "base/error.hpp"

namespace espalier {

void assertion_failed(const char* expression, const char* file, int line,
                      const std::string& detail) {
  throw Error(ExitStatus::internal,
              fmt::format("internal error: {}:{}: assertion failed: {}{}{}", file, line, expression,
                          detail.empty() ? "" : ": ", detail));
}

}  // namespace espalier
