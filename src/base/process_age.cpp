#include "base/process_age.hpp"

#include <time.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;
const Clock::time_point kLoaded = Clock::now();

/// Ticks from the boot to the start of this process (proc(5), stat, field 22); 0: unknown.
std::uint64_t start_ticks() {
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  // The name, in parentheses, may hold anything: fields are counted behind it.
  const std::size_t name_end = line.rfind(") ");
  if (name_end == std::string::npos) return 0;
  std::istringstream rest(line.substr(name_end + 2));
  constexpr int kFieldsBefore = 19;  // from the state, field 3
  std::string skipped;
  for (int field = 0; field < kFieldsBefore; ++field) rest >> skipped;
  std::uint64_t ticks = 0;
  rest >> ticks;
  return rest ? ticks : 0;
}

double since_loaded() {
  return std::chrono::duration<double>(Clock::now() - kLoaded).count();
}

/// How old the process was when the program was loaded.
double age_when_loaded() {
  const std::uint64_t ticks = start_ticks();
  timespec now{};
  const long per_second = ::sysconf(_SC_CLK_TCK);
  if (ticks == 0 || per_second <= 0 || ::clock_gettime(CLOCK_BOOTTIME, &now) != 0) return 0.0;
  const double age = static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9 -
                     static_cast<double>(ticks) / static_cast<double>(per_second);
  const double before = age - since_loaded();
  // A container may hide its clock's offset: what cannot be is not believed.
  constexpr double kLongest = 86400.0;
  return before > 0.0 && before < kLongest ? before : 0.0;
}

}  // namespace

double process_age_s() {
  static const double before = age_when_loaded();
  return before + since_loaded();
}

}  // namespace espalier
