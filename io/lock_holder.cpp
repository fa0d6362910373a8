#include "io/lock_holder.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>

namespace espalier::io {
namespace {

constexpr std::string_view kSlurm = "Slurm job ";

std::string job_of_environment() {
  for (const auto& [variable, system] :
       {std::pair{"SLURM_JOB_ID", kSlurm}, std::pair{"PBS_JOBID", std::string_view("PBS job ")},
        std::pair{"LSB_JOBID", std::string_view("LSF job ")}})
    if (const char* id = std::getenv(variable); id != nullptr && *id != '\0')
      return fmt::format("{}{}", system, id);
  return {};
}

/// Of one line of /proc; empty where there is none.
std::string line_of(const std::filesystem::path& path) {
  std::string line;
  std::getline(std::ifstream(path), line);
  return line;
}

std::string this_machine() {
  std::error_code ignored;
  const auto processes = std::filesystem::read_symlink("/proc/self/ns/pid", ignored);
  return line_of("/proc/sys/kernel/random/boot_id") + " " + processes.string();
}

/// Ticks from the boot to the start of the process (proc(5), stat, field 22); 0: it has ended and
/// only waits for its parent; nothing: /proc does not show it.
std::optional<std::uint64_t> start_of(std::int64_t pid) {
  const std::string stat = line_of(fmt::format("/proc/{}/stat", pid));
  // The name, in parentheses, may hold anything: fields are counted behind it.
  const std::size_t name_end = stat.rfind(") ");
  if (name_end == std::string::npos) return std::nullopt;
  std::string_view rest = std::string_view(stat).substr(name_end + 2);
  if (rest.starts_with('Z') || rest.starts_with('X')) return 0;
  constexpr int kFieldsBetween = 19;  // from the state, field 3
  for (int field = 0; field < kFieldsBetween; ++field) {
    const std::size_t space = rest.find(' ');
    if (space == std::string_view::npos) return std::nullopt;
    rest.remove_prefix(space + 1);
  }
  std::uint64_t ticks = 0;
  std::from_chars(rest.data(), rest.data() + rest.size(), ticks);
  return ticks;
}

template <class Integer>
bool read_number(const std::string& text, Integer& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

}  // namespace

LockHolder LockHolder::this_process() {
  std::array<char, 256> name{};
  const bool named = ::gethostname(name.data(), name.size() - 1) == 0;
  const std::time_t now = std::time(nullptr);
  return {.host = named ? name.data() : "unknown",
          .pid = ::getpid(),
          .job = job_of_environment(),
          .since = fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::localtime(now)),
          .machine = this_machine(),
          .start = start_of(::getpid()).value_or(0)};
}

std::string LockHolder::text() const {
  return fmt::format("host {}\nprocess {}\njob {}\nsince {}\nmachine {}\nstart {}\n", host, pid,
                     job, since, machine, start);
}

std::optional<LockHolder> LockHolder::parse(std::string_view text) {
  std::map<std::string, std::string, std::less<>> values;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const std::size_t space = line.find(' ');
    if (space != std::string_view::npos)
      values.emplace(line.substr(0, space), line.substr(space + 1));
  }
  LockHolder holder;
  holder.host = values["host"];
  holder.job = values["job"];
  holder.since = values["since"];
  holder.machine = values["machine"];
  const bool whole = !holder.host.empty() && read_number(values["process"], holder.pid) &&
                     read_number(values["start"], holder.start);
  if (!whole) return std::nullopt;
  return holder;
}

std::string LockHolder::describe() const {
  return fmt::format("host {}, process {}{}{}, since {}", host, pid, job.empty() ? "" : ", ", job,
                     since);
}

std::string LockHolder::remedy() const {
  if (job.starts_with(kSlurm)) return fmt::format("scancel {}", job.substr(kSlurm.size()));
  return fmt::format("kill {} on {}", pid, host);
}

bool LockHolder::is_on_this_machine() const {
  return machine == this_machine();
}

bool LockHolder::is_dead() const {
  if (!is_on_this_machine()) return false;
  if (::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH) return true;
  // /proc may hide the processes of others (hidepid): what cannot be read is no other start.
  const std::optional<std::uint64_t> start_now = start_of(pid);
  return start_now && *start_now != start;
}

}  // namespace espalier::io
